"""Profiles of further seeds: what is written for them, what may be written in them, and that they
are the entries that they repeat but for the seed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from genbench.config.further_seeds import FurtherSeeds, check_same_settings, differences, seeds_of
from genbench.config.layout import Layout
from genbench.config.load import load_params, load_seeds, profiles
from genbench.config.origins import as_yaml
from genbench.config.stages import STAGES
from genbench.errors import UserError
from genbench.pipeline.pending import whole
from genbench.pipeline.seed_profile import dvc_yaml, write_seeds
from tests.params_factory import dump, written_protocol

REPOSITORY = Path(__file__).resolve().parents[1]
PARAMS: dict[str, Any] = {
    "root": ".",
    "profile": "quick",
    "params_file": "params.yaml",
    "datasets": ["mnist", "binary_mnist"],
    "metrics": ["fid"],
    "protocol": written_protocol(),
    "compute": {"device": "cpu", "threads": 1},
    "defaults": {"slow": {"train": {"steps": 2, "optim": {"loss": {"lr": 0.5}}}}},
    "entries": {
        "copy": {"model": "train_copy", "dataset": "mnist"},
        "made": {"like": "slow", "model": "made", "dataset": "mnist", "seed": 3},
        "wide": {"like": "made", "dataset": "binary_mnist", "arch": {"hidden": [9]}},
        "wide-s1": {"like": "wide", "dataset": "binary_mnist", "seed": 1},
    },
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(dump(PARAMS), encoding="utf-8")
    (tmp_path / "dvc.yaml").write_bytes((REPOSITORY / "dvc.yaml").read_bytes())
    (tmp_path / "profiles").mkdir()
    return tmp_path


def written(root: Path, count: int = 3, patterns: str | None = None) -> FurtherSeeds:
    """The profile after further seeds have been written."""
    params = load_params("quick", root=root)
    write_seeds(params, count, patterns)
    found = load_seeds(params)
    assert isinstance(found, FurtherSeeds)
    return found


def edit(root: Path, **entries: dict[str, Any]) -> str:
    """Write these further seeds by hand; the error that they are."""
    path = root / "profiles" / "quick-seeds" / "params.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(dump(raw | {"entries": entries}), encoding="utf-8")
    with pytest.raises(UserError) as error:
        load_params("quick-seeds", root=root)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


# ---------------------------------------------------------------------- what is written


def test_further_seeds_are_the_entries_but_for_name_and_seed(root: Path) -> None:
    seeds, base = written(root), load_params("quick", root=root)
    assert (seeds.profile, seeds_of(seeds), seeds_of(base)) == ("quick-seeds", "quick", "")
    # Neither controls nor seeds of others; wide-s1 is among the entries already.
    assert {name: entry.seed for name, entry in seeds.entries.items()} == {
        "made-s4": 4,
        "made-s5": 5,
        "wide-s2": 2,
    }
    for name, entry in seeds.entries.items():
        repeated = base.entry(seeds.repeated[name])
        assert entry == replace(repeated, name=name, seed=entry.seed)
    assert (seeds.protocol, seeds.metrics, seeds.compute) == (
        base.protocol,
        base.metrics,
        base.compute,
    )


def test_what_is_set_in_an_entry_is_set_in_its_further_seeds(root: Path) -> None:
    written(root, 2, "made")
    raw = PARAMS | {"defaults": {"slow": {"train": {"steps": 77}}}}
    (root / "params.yaml").write_text(dump(raw), encoding="utf-8")
    assert load_params("quick-seeds", root=root).entry("made-s4").train == {"steps": 77}


def test_the_place_where_a_value_is_written_is_told(root: Path) -> None:
    seeds = written(root, 3, "wide")
    told = [line.split("  # ") for line in as_yaml(seeds, "wide-s2").splitlines() if "#" in line]
    assert {text.split(":")[0].strip(): place for text, place in told} == {
        "model": "entries.made",
        "arch": "entries.wide",
        "train": "defaults.slow",
    }


def test_more_are_put_beside_those_that_are_there(root: Path) -> None:
    params = load_params("quick", root=root)
    assert write_seeds(params, 3, "wide") == ["wide-s2"]
    assert write_seeds(params, 3, "made") == ["made-s4", "made-s5"]
    path = root / "profiles" / "quick-seeds" / "params.yaml"
    text = path.read_text(encoding="utf-8")
    raw = yaml.safe_load(text)
    assert list(raw["entries"]) == ["made-s4", "made-s5", "wide-s2"]
    assert raw["datasets"] == ["mnist", "binary_mnist"]
    # What somebody has written by hand stays.
    path.write_text(text.replace("seed: 4", "seed: 44"), encoding="utf-8")
    assert write_seeds(params, 2, "made") == ["made-s4"]
    assert load_params("quick-seeds", root=root).entry("made-s4").seed == 44
    assert path.read_text(encoding="utf-8").count("made") == text.count("made")
    assert profiles(root) == ["quick", "quick-seeds"]


@pytest.mark.parametrize(
    ("count", "patterns", "told"),
    [
        (1, None, "at least 2"),
        (10**6, None, "at most 1000"),
        (2, "copy", "copy: none of them is trained"),
        (2, "wide-s1", "none of them"),
        (2, "mode", "did you mean 'made'"),
    ],
)
def test_seeds_that_cannot_be_are_refused(
    root: Path, count: int, patterns: str | None, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        write_seeds(load_params("quick", root=root), count, patterns)
    assert not (root / "profiles" / "quick-seeds").exists()


def test_further_seeds_have_none_themselves(root: Path) -> None:
    with pytest.raises(UserError, match="holds further seeds; name 'quick'"):
        write_seeds(written(root), 2)


# ---------------------------------------------------------------------- what may be written


MADE = {"like": "made", "dataset": "mnist", "seed": 1}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (
            MADE | {"train": {"steps": 5}},
            "entries.other.train.steps: is 5, and 2 in 'made' of profile 'quick'",
        ),
        (
            MADE | {"train": {"optim": {"loss": {"warmup": 0.1}}}},
            "entries.other.train.optim.loss.warmup: is 0.1, and nothing in 'made'",
        ),
        (MADE | {"model": "vae"}, "entries.other.model: is vae, and made in 'made'"),
        (
            MADE | {"dataset": "binary_mnist"},
            "entries.other.dataset: is binary_mnist, and mnist in 'made'",
        ),
        (MADE | {"seed": 3}, "entries.other.seed: 'made' has the seed 3 already"),
        ({"model": "made", "dataset": "mnist"}, "entries.other.like: must name the entry"),
        (MADE | {"like": "mode"}, "did you mean 'made'"),
        (MADE | {"like": "slow"}, "entries.other.like: 'slow' is no entry"),
        (MADE | {"steps": 5}, "entries.other.steps: unknown parameter"),
    ],
)
def test_a_further_seed_with_other_settings_is_refused_by_name(
    root: Path, entry: dict[str, Any], told: str
) -> None:
    written(root)
    assert told in edit(root, other=entry)


def test_two_further_seeds_are_not_the_same(root: Path) -> None:
    written(root)
    assert "entries.b.seed: 'a' has the seed 1 already" in edit(root, a=MADE, b=MADE)
    assert "entries.made: defaults has this name" in edit(root, made=MADE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seeds_of": "slow"}, "seeds_of: 'slow' must be a profile"),
        ({"settings_file": "other.yaml"}, "settings_file: must be 'params.yaml'"),
        ({"metrics": ["fid"]}, "metrics: unknown parameter"),
    ],
)
def test_a_file_that_is_none_of_further_seeds_is_refused(
    root: Path, change: dict[str, Any], told: str
) -> None:
    written(root)
    path = root / "profiles" / "quick-seeds" / "params.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(dump(raw | change), encoding="utf-8")
    with pytest.raises(UserError) as error:
        load_params("quick-seeds", root=root)
    assert told in str(error.value)


# ---------------------------------------------------------------------- settings of two entries


def test_settings_that_differ_are_named_with_both_values(root: Path) -> None:
    base = load_params("quick", root=root)
    made, wide = base.entry("made"), base.entry("wide")
    assert differences(made, replace(made, name="other", seed=9)) == {}
    assert differences(made, wide) == {
        "dataset": ("mnist", "binary_mnist"),
        "arch.hidden": ("nothing", [9]),
    }
    check_same_settings([made, replace(made, seed=9), replace(made, seed=10)])
    with pytest.raises(UserError, match="'made' and 'wide' are no seeds of one entry: dataset is"):
        check_same_settings([made, replace(made, seed=9), wide])


# ---------------------------------------------------------------------- what DVC knows


def test_dvc_has_the_stages_of_further_seeds_and_sees_their_settings() -> None:
    whole_file = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))
    found = yaml.safe_load(dvc_yaml(REPOSITORY))
    assert set(found) == {"stages"}
    assert list(found["stages"]) == [name for name in STAGES if name not in ("report", "track")]
    for name, stage in found["stages"].items():
        if name != "fingerprints":
            assert stage == whole_file["stages"][name]
    own, theirs = (stages["stages"]["fingerprints"]["params"] for stages in (found, whole_file))
    assert own[0] == {"${settings_file}": theirs[0]["${params_file}"]}
    assert own[1] == {"${params_file}": ["datasets", "entries"]}


def test_the_stages_are_of_folders_of_their_own(root: Path) -> None:
    seeds = written(root, 2, "made")
    layout, base = Layout.of(seeds), Layout.of(load_params("quick", root=root))
    assert not layout.runs.is_relative_to(base.runs)
    assert layout.dvc_file == root / "profiles" / "quick-seeds" / "dvc.yaml"
    assert layout.dvc_file.read_text(encoding="utf-8") == dvc_yaml(root)
    assert {key for _, key in whole(seeds)} == {"made-s4", "mnist"}
