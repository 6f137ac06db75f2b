"""Which launcher a run uses, how many entries at once, on which devices, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.errors import UserError
from genbench.files import write_json
from genbench.launchers.local import LocalLauncher
from genbench.pipeline import jobs, launching
from genbench.pipeline.jobs import default_jobs, environments
from genbench.pipeline.launching import make_launcher


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "usable_cores", lambda: 9.0)
    monkeypatch.setattr(jobs, "memory_left", lambda: 40e9)


def on(params: Params, device: str = "cpu", threads: int = 1) -> Params:
    compute = dataclasses.replace(params.compute, device=device, threads=threads)
    return dataclasses.replace(params, compute=compute)


@pytest.mark.usefixtures("machine")
def test_as_many_at_once_as_cores_allow(params: Params) -> None:
    assert default_jobs(on(params)) == 9
    assert default_jobs(on(params, threads=2)) == 4
    assert default_jobs(on(params, threads=20)) == 1


@pytest.mark.usefixtures("machine")
def test_no_more_at_once_than_memory_allows(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An entry that was never run may take 2 GB.
    monkeypatch.setattr(jobs, "memory_left", lambda: 7e9)
    assert default_jobs(on(params)) == 3
    write_json(Layout.of(params).run_dir("made").cost, {"peak_memory_mb": 3200})
    assert default_jobs(on(params)) == 2
    monkeypatch.setattr(jobs, "memory_left", lambda: 1e9)
    assert default_jobs(on(params)) == 1


@pytest.mark.usefixtures("machine")
def test_on_cuda_no_more_than_devices(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert default_jobs(on(params, "cuda")) == 3
    assert default_jobs(on(params, "cuda:1")) == 1
    assert default_jobs(on(params, "cuda", threads=4)) == 2, "nine cores"
    monkeypatch.setattr(jobs, "memory_left", lambda: 5e9)
    assert default_jobs(on(params, "cuda")) == 2, "an entry that was never run may take 2 GB"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert default_jobs(on(params, "cuda")) == 1


def test_each_at_once_has_a_device(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert environments(on(params, "cuda"), 3) == [{"CUDA_VISIBLE_DEVICES": n} for n in "012"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 7")
    assert environments(on(params, "cuda"), 3) == [{"CUDA_VISIBLE_DEVICES": n} for n in "575"]
    assert environments(on(params), 3) == []


def test_jobs_reach_the_launcher(params: Params) -> None:
    launcher = make_launcher(params, jobs=5)
    assert isinstance(launcher, LocalLauncher)
    assert launcher.at_once == 5


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "slurmm"}, r"--launcher: unknown 'slurmm'.*slurm"),
        ({"name": "ray", "jobs": 2}, "--jobs belongs to --launcher local, and this run has ray"),
        ({"options": Path("x")}, "--launcher-options belongs to --launcher slurm"),
        ({"address": "x"}, "--address belongs to --launcher ray"),
        ({"name": "slurm", "clones": "x"}, "--clones belongs to --launcher ray"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    params: Params, given: dict[str, object], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        make_launcher(params, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("is_terminal", "answer", "leaves"),
    [(False, "n", True), (True, "n", False), (True, "", True), (True, "Y", True)],
)
def test_somebody_at_the_terminal_says_whether_jobs_are_left(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, answer: str, leaves: bool
) -> None:
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: is_terminal)
    monkeypatch.setattr("builtins.input", lambda *_: answer)
    assert launching._leave(["12"]) is leaves
