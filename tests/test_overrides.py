"""`dvc exp run -S`: what it sets holds for the named entry or default and for all that are like it,
and for nothing else.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.exceptions import InvalidArgumentError
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml

from genbench.cli.scaffold import add_seeds
from genbench.config.further_seeds import seeds_of
from genbench.config.load import load_params, params_path, profiles

REPOSITORY = Path(__file__).resolve().parents[1]

SMALL = """\
root: .
profile: quick
params_file: params.yaml
datasets: [mnist]
metrics: [fid]
protocol:
  samples: 64
  sample_chunk: 64
  likelihood_images: [{from_passes: 1, images: 64}, {from_passes: 10, images: 16}]
  feature_reference_images: 64
compute: {}
defaults:
  slow: {train: {ema: 0.9, validations: 3}} # shared
entries:
  made: # the first
    like: slow
    model: made
    dataset: mnist
    arch: {hidden: [8]}
    train: {steps: 5, optim: {loss: {lr: 0.1}}}
  made_wide: {like: made, dataset: mnist, arch: {hidden: [99]}}
  made_short: {like: made, dataset: mnist, train: {steps: 2}}
  other: {like: slow, model: made, dataset: mnist, arch: {hidden: [8]}, train: {validations: 8}}
  alone: {model: made, dataset: mnist, arch: {hidden: [8]}}
"""


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the committed params files."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    shutil.copytree(REPOSITORY / "profiles", tmp_path / "profiles")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the entries of SMALL."""
    (tmp_path / "params.yaml").write_text(SMALL, encoding="utf-8")
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "profiles").mkdir()
    monkeypatch.chdir(tmp_path)
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


def values(root: Path, profile: str) -> dict[str, Any]:
    """All values that a profile resolves to."""
    loaded = asdict(load_params(profile, root=root))
    return {key: value for key, value in loaded.items() if key != "inherited"}


def override(root: Path, *overrides: str, profile: str = "quick") -> dict[str, Any]:
    """What differs in the loaded parameters after DVC has set some."""
    before = values(root, profile)
    apply_overrides(params_path(profile, root), list(overrides))
    return changed(before, values(root, profile))


# ---------------------------------------------------------------------- what is set


def test_what_is_set_in_an_entry_is_set_in_those_like_it(root: Path) -> None:
    assert override(root, "entries.made.train.steps=11") == {
        "entries.made.train.steps": 11,
        "entries.made_wide.train.steps": 11,
    }
    assert override(root, "entries.made.train.optim.loss.lr=5e-05") == {
        f"entries.{name}.train.optim.loss.lr": 0.00005
        for name in ("made", "made_wide", "made_short")
    }
    assert override(root, "entries.made_short.train.steps=3") == {
        "entries.made_short.train.steps": 3
    }
    assert override(root) == {}


def test_an_inherited_value_is_set_with_two_plus_signs(root: Path) -> None:
    """Without them DVC refuses what the file does not write, and says so; nothing is set
    elsewhere.
    """
    with pytest.raises(InvalidArgumentError) as error:
        apply_overrides(root / "params.yaml", ["entries.made_short.train.ema=0.5"])
    assert "append to your config use +entries.made_short.train.ema=0.5" in str(
        error.value.__cause__
    )
    assert (root / "params.yaml").read_text(encoding="utf-8") == SMALL
    assert override(root, "++entries.made_short.train.ema=0.5", "++entries.alone.seed=3") == {
        "entries.made_short.train.ema": 0.5,
        "entries.alone.seed": 3,
    }
    assert override(root, "++entries.made_short.train.ema=0.6") == {
        "entries.made_short.train.ema": 0.6
    }
    text = (root / "params.yaml").read_text(encoding="utf-8")
    assert "made: # the first" in text
    assert "# shared" in text


def test_what_is_set_in_defaults_reaches_all_that_inherit_it(root: Path) -> None:
    assert override(root, "defaults.slow.train.validations=77") == {
        f"entries.{name}.train.validations": 77 for name in ("made", "made_wide", "made_short")
    }
    assert override(root, "defaults.slow.train.ema=0.8") == {
        f"entries.{name}.train.ema": 0.8 for name in ("made", "made_wide", "made_short", "other")
    }


def test_the_numbers_of_test_images_are_set_by_their_place(root: Path) -> None:
    override(root, "protocol.likelihood_images.1.images=17")
    assert load_params().protocol.plain()["likelihood_images"] == [
        {"from_passes": 1, "images": 64},
        {"from_passes": 10, "images": 17},
    ]
    override(root, "protocol.likelihood_images=[{from_passes: 1, images: 5}]")
    assert load_params().protocol.images_for(1000) == 5


def test_null_and_text_survive(root: Path) -> None:
    """DVC writes null as an empty value, and text that YAML 1.1 reads as a truth value without
    quotes.
    """
    override(root, "++entries.made.train.optim.loss.clip=null")
    assert load_params().entry("made").train["optim"]["loss"]["clip"] is None
    assert override(root, "+entries.alone.arch.note=yes", "+entries.alone.arch.number=5e-05") == {
        "entries.alone.arch.note": "yes",
        "entries.alone.arch.number": 0.00005,
    }


def test_what_is_set_after_seeds_is_set_in_all_of_them_or_in_one(root: Path) -> None:
    add_seeds("quick", 3, ["alone"])
    assert override(root, "entries.alone.arch.hidden=[7]") == {
        f"entries.alone{seed}.arch.hidden": [7] for seed in ("", "-s1", "-s2")
    }
    assert override(root, "++entries.alone-s1.arch.hidden=[6]") == {
        "entries.alone-s1.arch.hidden": [6]
    }
    assert override(root, "entries.alone.arch.hidden=[5]") == {
        f"entries.alone{seed}.arch.hidden": [5] for seed in ("", "-s2")
    }
    assert override(root, "entries.alone-s2.seed=9") == {"entries.alone-s2.seed": 9}


# ---------------------------------------------------------------------- committed files


def heirs(entries: Mapping[str, Any], name: str, option: str) -> list[str]:
    """The entries whose option of training is that of another one."""
    found = []
    for heir, written in entries.items():
        at = heir
        while at != name and option not in written.get("train", {}) and written.get("like"):
            at, written = written["like"], entries.get(written["like"], {})
        if at == name:
            found.append(heir)
    return found


@pytest.mark.parametrize(
    "profile",
    [name for name in profiles(REPOSITORY) if not seeds_of(load_params(name, root=REPOSITORY))],
)
def test_what_is_set_in_a_committed_profile_is_set_alone(committed: Path, profile: str) -> None:
    entries = yaml.safe_load(params_path(profile, committed).read_text())["entries"]
    names = [name for name in entries if load_params(profile).entry(name).train]
    for name in (names[0], names[len(names) // 2], names[-1]):
        assert override(committed, f"++entries.{name}.train.steps=12345", profile=profile) == {
            f"entries.{heir}.train.steps": 12345 for heir in heirs(entries, name, "steps")
        }
    assert override(committed, "protocol.samples=7", profile=profile) == {"protocol.samples": 7}


# ---------------------------------------------------------------------- why not by aliases

SHARED = """
one: &one {arch: {size: 10}, seed: 0}
two: {<<: *one, seed: 1}
"""


@pytest.mark.parametrize(("name", "size"), [("one", 10), ("two", 12)])
def test_dvc_itself_sets_what_an_alias_shares_in_all_places_or_in_none(
    tmp_path: Path, name: str, size: int
) -> None:
    """Why aliases are refused; if this fails, DVC has learnt it, and they need not be any more."""
    path = tmp_path / "params.yaml"
    path.write_text(SHARED, encoding="utf-8")
    apply_overrides(path, [f"{name}.arch.size=12"])
    raw = load_yaml(path)
    assert [raw[each]["arch"]["size"] for each in ("one", "two")] == [size, size]
