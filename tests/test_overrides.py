"""`dvc exp run -S`: what it sets is the named value of the named entry, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides

from genbench.cli import doctor_project
from genbench.cli.scaffold import add_seeds
from genbench.config.params import load_params, params_path, profiles
from genbench.errors import UserError
from genbench.pipeline import run, validate

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the committed params files."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    shutil.copytree(REPOSITORY / "profiles", tmp_path / "profiles")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    return tmp_path


def changed(before: Mapping[str, Any], after: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The values that differ, by their path."""
    found = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found |= changed(old, new, f"{where}{key}.")
        elif repr(old) != repr(new):
            found[f"{where}{key}"] = new
    return found


def override(root: Path, profile: str, *overrides: str) -> dict[str, Any]:
    """What differs in the loaded parameters after DVC has set some."""
    before = asdict(load_params(profile, root=root))
    apply_overrides(params_path(profile, root), list(overrides))
    return changed(before, asdict(load_params(profile, root=root)))


@pytest.mark.parametrize("profile", profiles(REPOSITORY))
def test_what_is_set_in_a_committed_profile_is_set_alone(root: Path, profile: str) -> None:
    wanted = {"made": 0.00005, "vae": 7e-4}
    overrides = [f"entries.{name}.train.optim.loss.lr={value}" for name, value in wanted.items()]
    steps = [f"entries.{name}.train.steps=11" for name in ("ddpm", "gated_pixel_cnn_cond")]
    assert override(root, profile, *overrides, *steps, "protocol.samples=7") == {
        "entries.made.train.optim.loss.lr": 0.00005,
        "entries.vae.train.optim.loss.lr": 0.0007,
        "entries.ddpm.train.steps": 11,
        "entries.gated_pixel_cnn_cond.train.steps": 11,
        "protocol.samples": 7,
    }
    assert override(root, profile) == {}


def test_what_is_set_after_seeds_is_set_alone(root: Path) -> None:
    add_seeds("smoke", 3, ["made", "vae"])
    assert override(root, "smoke", "entries.made.train.steps=11") == {
        "entries.made.train.steps": 11
    }
    assert override(root, "smoke", "entries.made-s1.train.steps=12") == {
        "entries.made-s1.train.steps": 12
    }
    assert override(root, "smoke", "entries.vae.arch.latent=3", "entries.made-s2.seed=9") == {
        "entries.vae.arch.latent": 3,
        "entries.made-s2.seed": 9,
    }


def test_null_and_text_survive(root: Path) -> None:
    """DVC writes null as an empty value, and text that YAML 1.1 reads as a truth value without
    quotes.
    """
    override(root, "smoke", "+entries.made.train.optim.loss.clip=null")
    assert load_params("smoke").entry("made").train["optim"]["loss"]["clip"] is None
    assert override(
        root, "smoke", "+entries.made.arch.note=yes", "+entries.made.arch.number=5e-05"
    ) == {
        "entries.made.arch.note": "yes",
        "entries.made.arch.number": 0.00005,
    }


SHARED = """
  one: &one {model: train_copy, dataset: mnist, seed: 0, arch: {size: 10}, train: {}, sample: {}, score: {}}
  two: {<<: *one, seed: 1}
"""


def test_dvc_itself_sets_a_shared_block_elsewhere_too(root: Path) -> None:
    """Why aliases are refused in an experiment; if this fails, DVC has learnt it, and they need not
    be any more.
    """
    with (root / "params.yaml").open("a", encoding="utf-8") as file:
        file.write(SHARED)
    assert override(root, "quick", "entries.one.arch.size=11") == {}
    assert set(override(root, "quick", "entries.two.arch.size=12")) == {
        "entries.one.arch.size",
        "entries.two.arch.size",
    }


def test_aliases_are_refused_in_an_experiment_and_elsewhere_not(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (root / "params.yaml").open("a", encoding="utf-8") as file:
        file.write(SHARED)
    assert load_params().entry("two").arch == {"size": 10}
    monkeypatch.setenv("DVC_EXP_NAME", "name-of-it")
    with pytest.raises(
        UserError,
        match=(
            r"entries\.two, entries\.two\.arch.*: shared .* `dvc exp run -S` cannot .*git "
            r"diff.*genbench seeds"
        ),
    ):
        load_params()
    assert load_params("smoke").profile == "smoke"


def test_a_run_and_doctor_warn_of_aliases_beforehand(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An experiment that changes nothing starts nothing that could say so."""
    monkeypatch.setattr(validate, "check_params", lambda *_: {})
    monkeypatch.setattr(validate, "emulating", lambda *_: [])
    assert run._check(load_params(), []) == {}
    assert list(doctor_project.aliases([load_params(name) for name in profiles(root)])) == []
    assert capsys.readouterr().err == ""
    with (root / "params.yaml").open("a", encoding="utf-8") as file:
        file.write(SHARED)
    run._check(load_params(), [])
    said = (
        f"{root / 'params.yaml'}: entries.two, entries.two.arch, entries.two.train, "
        "entries.two.sample, entries.two.score: shared"
    )
    warned = capsys.readouterr().err
    assert warned.startswith(f"warning: {said}")
    assert "`genbench seeds`" in warned
    (warning,) = doctor_project.aliases([load_params(name) for name in profiles(root)])
    assert (warning.level, f"warning: {warning.found}\n") == ("warn", warned)
