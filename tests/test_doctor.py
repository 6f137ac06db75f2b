"""`genbench doctor` where things are broken, which is what it is for: each check says what is wrong
with its own, and all others are made.
"""

from __future__ import annotations

import errno
import importlib.metadata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genbench.cli import (
    doctor,
    doctor_cluster,
    doctor_data,
    doctor_installation,
    doctor_machine,
    doctor_project,
)
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.data import splits
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.hardware import speed
from genbench.pipeline import dvc_files

CHECKS = {
    "entries": (doctor_project, "entries"),
    "dvc": (doctor_project, "dvc"),
    "dvc files": (doctor_project, "dvc_files"),
    "outputs": (doctor_project, "outputs"),
    "git": (doctor_project, "git"),
    "disk": (doctor_project, "disk"),
    "permission": (doctor_project, "permission"),
    "mnist": (doctor_data, "data_set"),
    "feature net": (doctor_installation, "feature_net"),
    "compiler": (doctor_installation, "compiler"),
    "compute": (doctor_machine, "compute"),
    "speed": (doctor_machine, "speed"),
}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("what, where, how"), "what, where, how"),
        (OSError(errno.EIO, "Input/output error", "/x"), "cannot use /x: the disk reports a fault"),
        (RuntimeError("odd"), "cannot be checked: RuntimeError: odd"),
        (KeyError("odd"), "cannot be checked: KeyError: 'odd'"),
    ],
)
def test_a_check_that_cannot_be_made_fails_and_the_others_go_on(
    params: Params, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.chdir(params.root)
    for module, function in CHECKS.values():
        monkeypatch.setattr(module, function, fails)
    found = [
        (check.level, check.what)
        for check in doctor.checks("quick")
        if check.level == "fail" and check.found.startswith(said)
    ]
    assert found == [
        ("fail", what) for what in (*list(CHECKS)[:8], "binary_mnist", *list(CHECKS)[8:])
    ]


def test_params_that_cannot_be_read_are_told(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_text = Path.read_text

    def fails(self: Path, *arguments: Any, **more: Any) -> str:
        if self.name == "params.yaml":
            raise PermissionError(errno.EACCES, "denied", str(self))
        return read_text(self, *arguments, **more)

    monkeypatch.chdir(params.root)
    monkeypatch.setattr(Path, "read_text", fails)
    *_, last = doctor.checks("quick")
    assert (last.level, last.what) == ("fail", "project")
    assert last.found.startswith(f"cannot use {params.root / 'params.yaml'}: no permission")


def test_data_that_cannot_be_read_are_told(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, name: str) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(splits, "load", fails)
    (check,) = doctor.attempt("mnist", lambda: doctor_data.data_set(params, "mnist"))
    assert check.level == "fail"
    assert check.found.startswith(
        f"cannot use {Layout.of(params).data('mnist')}: the disk reports a fault"
    )


@pytest.mark.parametrize(
    ("launcher", "options", "told"),
    [
        ("slurmm", {}, r"--launcher: unknown 'slurmm'.*slurm"),
        ("slurm", {"address": "a:1"}, "--address belongs to --launcher ray, and the launcher is s"),
        ("local", {"options": Path("x")}, "--launcher-options belongs to --launcher slurm"),
        ("ray", {"options": Path("x")}, "--launcher-options belongs to --launcher slurm"),
    ],
)
def test_what_a_run_would_refuse_is_refused(
    launcher: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        doctor.print_checks("quick", launcher, **options)


def test_how_long_a_profile_on_a_device_takes_is_not_known_and_fails_nothing(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = dict.fromkeys(("convolution", "matrix_product", "small_operations"), 1.0)
    both = dict.fromkeys(("float32", "bfloat16"), speeds)
    monkeypatch.setattr(speed, "speeds", lambda threads, *, emulated: both)
    on_device = replace(params, profile="full", compute=replace(params.compute, device="cuda:1"))
    *_, last = doctor_machine.speed(params, [params, on_device])
    told = "profile full: on cuda:1; how long that takes is not known"
    assert (last.level, last.found) == ("ok", told)


def test_packages_of_clusters_are_installed_by_their_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    check = doctor_cluster._package("submitit")
    assert (check.level, check.what) == ("fail", "submitit")
    assert check.remedy.startswith("`make install-cluster`")


LOCK = b"""\
schema: '2.0'
stages:
  train@made:
    cmd: genbench train made
    outs:
    - path: runs/quick/made/weights.safetensors
      hash: md5
      md5: 11111111111111111111111111111111
      size: 5
"""


@pytest.mark.parametrize(
    "config", ["[core\n", "[core]\n    analytics = false\n"], ids=["broken", "no git"]
)
def test_outputs_that_dvc_cannot_be_asked_about_are_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(project / "site"))
    write_bytes(project / ".dvc" / "config", config.encode())
    write_bytes(project / "dvc.lock", LOCK)
    write_bytes(project / "runs" / "quick" / "made" / "weights.safetensors", b"other")
    params = load_params(root=project)
    (check,) = doctor.attempt("outputs", lambda: doctor_project.outputs(params))
    assert check.level == "fail"
    assert check.found.startswith(f"DVC cannot open the project in {project}: ")


def test_a_lock_that_is_held_is_told(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(root: Path) -> None:
        raise UserError("it is held by process 7, which is stopped")

    monkeypatch.setattr(dvc_files, "problems", held)
    (check,) = doctor.attempt("dvc files", lambda: doctor_project.dvc_files(params.root))
    assert (check.level, check.what, check.found) == (
        "fail",
        "dvc files",
        "it is held by process 7, which is stopped",
    )
