"""`like` and `defaults`: what an entry inherits, how mistakes in it are told, and which stages of
which entries run again when it moves.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.origins import as_yaml, heirs
from genbench.config.params import Params
from genbench.config.stages import ENTRY_STAGES
from genbench.errors import UserError
from genbench.pipeline.validate import check_params
from pipelines import fingerprints as stage
from tests.params_factory import dump, written_entry, written_protocol

Raw = dict[str, Any]

SAMPLING = {"sample", "pictures"}
TRAINING = {"train", "probe"}  # what the run has seen is part of the probe
SCORE = {"score_likelihood", "probe"}

DEFAULTS: Raw = {
    "slow": {"train": {"steps": 9, "ema": 0.5, "optim": {"loss": {"lr": 0.1, "warmup": 0.2}}}},
    "slower": {"like": "slow", "train": {"steps": 99}},
}
ENTRIES: Raw = {
    "copy": {"model": "train_copy", "dataset": "mnist"},
    "made": {
        "like": "slower",
        "model": "made",
        "dataset": "mnist",
        "arch": {"hidden": [8, 8], "head": "logistic_mixture", "mixtures": 2},
        "train": {"batch_size": 4, "optim": {"loss": {"betas": [0.5, 0.6], "clip": 2.0}}},
        "seed": 5,
    },
    "twin": {
        "like": "made",
        "dataset": "mnist",
        "arch": {"hidden": [3]},
        "train": {"optim": {"loss": {"clip": None, "betas": [0.7, 0.8]}}},
    },
    "alone": {
        "model": "made",
        "dataset": "mnist",
        "arch": {"hidden": [8], "head": "logistic_mixture", "mixtures": 2},
        "train": {"steps": 1, "optim": {"loss": {"lr": 0.1}}},
    },
}


def project(root: Path, change: Callable[[Raw], object] = lambda raw: None) -> Path:
    """A project with these entries and defaults, after a change."""
    raw: Raw = {
        "root": ".",
        "profile": "quick",
        "params_file": "params.yaml",
        "datasets": ["mnist", "binary_mnist"],
        "metrics": ["fid"],
        "protocol": written_protocol(),
        "compute": {},
        "defaults": json.loads(json.dumps(DEFAULTS)),
        "entries": json.loads(json.dumps(ENTRIES)),
    }
    change(raw)
    (root / "profiles").mkdir(exist_ok=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "params.yaml").write_text(dump(raw))
    return root


def entry(**values: Any) -> Callable[[Raw], object]:
    """The change that adds an entry `new` with these values."""
    return lambda raw: raw["entries"].update(new=values)


def default(**values: Any) -> Callable[[Raw], object]:
    """The change that adds a default `new` with these values."""
    return lambda raw: raw["defaults"].update(new=values)


def loaded(root: Path, change: Callable[[Raw], object] = lambda raw: None) -> Params:
    return load_params(root=project(root, change))


# ---------------------------------------------------------------------- what is inherited


def test_mappings_are_merged_level_by_level_and_all_else_is_replaced(tmp_path: Path) -> None:
    params = loaded(tmp_path)
    optim = {"lr": 0.1, "warmup": 0.2, "betas": [0.5, 0.6], "clip": 2.0}
    assert params.entry("made").train == {
        "steps": 99,
        "ema": 0.5,
        "batch_size": 4,
        "optim": {"loss": optim},
    }
    twin = params.entry("twin")
    assert twin.train == {
        **params.entry("made").train,
        "optim": {"loss": {**optim, "betas": [0.7, 0.8], "clip": None}},
    }
    assert twin.arch == {"hidden": [3], "head": "logistic_mixture", "mixtures": 2}
    assert twin.model == "made"


def test_seed_and_data_set_are_each_entrys_own(tmp_path: Path) -> None:
    params = loaded(tmp_path, entry(like="made", dataset="binary_mnist", seed=7))
    assert [params.entry(name).seed for name in ("made", "twin", "new")] == [5, 0, 7]
    assert params.entry("new").dataset == "binary_mnist"
    for key, value in (("dataset", "mnist"), ("seed", 1)):
        with pytest.raises(UserError, match=rf"defaults\.new\.{key}: .* each entry has by itself"):
            loaded(tmp_path, default(**{key: value}))
    with pytest.raises(UserError, match=r"entries\.new: missing the key 'dataset', which is never"):
        loaded(tmp_path, entry(like="made"))


def test_what_is_left_out_is_empty_and_the_seed_is_0(tmp_path: Path) -> None:
    copy = loaded(tmp_path).entry("copy")
    assert (copy.seed, copy.arch, copy.train, copy.sample, copy.score) == (0, {}, {}, {}, {})
    whole = {"seed": 0, "arch": {}, "train": {}, "sample": {}, "score": {}}
    spelled = entry(model="train_copy", dataset="mnist", **whole)
    params = loaded(tmp_path, spelled)
    for key in whole:
        assert getattr(params.entry("new"), key) == getattr(copy, key)


def test_an_entry_that_says_nothing_inherits_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path).entry("alone").train == ENTRIES["alone"]["train"]


def test_each_option_is_that_of_the_nearest_in_a_long_chain(tmp_path: Path) -> None:
    def chain(raw: Raw) -> None:
        for i in range(1, 20):
            own = {"train": {"steps": i}, "score": {f"o{i}": i}, "sample": {"s": i}}
            raw["entries"][f"e{i}"] = {"like": f"e{i - 1}", "dataset": "mnist", **own}
        raw["entries"]["e0"] = {"model": "made", "dataset": "mnist", "train": {"ema": 0.0}}
        raw["entries"]["last"] = {"like": "e19", "dataset": "mnist", "sample": {}}

    last = loaded(tmp_path, chain).entry("last")
    assert last.train == {"ema": 0.0, "steps": 19}
    assert last.score == {f"o{i}": i for i in range(1, 20)}
    assert last.sample == {"s": 19}, "an empty mapping removes nothing"


def test_no_two_entries_hold_the_same_object(tmp_path: Path) -> None:
    params = loaded(tmp_path)
    lists = [params.entry(name).arch["hidden"] for name in ("made", "alone")]
    optim = [params.entry(name).train["optim"]["loss"] for name in ("made", "twin")]
    assert lists[0] is not lists[1]
    assert optim[0] is not optim[1]
    params.entry("made").train["optim"]["loss"]["lr"] = 7.0
    assert params.entry("twin").train["optim"]["loss"]["lr"] == 0.1


def test_order_in_the_file_does_not_matter(tmp_path: Path) -> None:
    before = loaded(tmp_path)

    def turn(raw: Raw) -> None:
        for group in ("entries", "defaults"):
            raw[group] = dict(reversed(raw[group].items()))

    after = loaded(tmp_path, turn)
    assert list(after.entries) == list(reversed(before.entries)), "rows stand as the file has them"
    assert {name: after.entry(name) for name in before.entries} == before.entries


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            entry(like="maed", dataset="mnist"),
            "entries.new.like: 'maed' is no entry, and not in defaults; did you mean 'made'",
        ),
        (default(like="slo"), "defaults.new.like: 'slo' is no entry, and not in defaults; did you"),
        (entry(like="new", dataset="mnist"), "entries.new.like: leads back to itself (new is like"),
        (entry(like=3, dataset="mnist"), "entries.new.like: must be a name, got 3"),
        (entry(like=None, dataset="mnist"), "entries.new.like: must be a name, got None"),
        (entry(like="slow", dataset="mnist"), "entries.new: missing the key 'model', and none is"),
        (lambda raw: raw["defaults"].update(made={}), "entries.made: defaults has this name"),
        (lambda raw: raw["defaults"].update({"a b": {}}), "defaults: 'a b' cannot be a name"),
        (lambda raw: raw.update(defaults=[]), "defaults: must be a mapping, got []"),
        (default(trian={}), "defaults.new.trian: unknown parameter; did you mean 'train'"),
        (default(arch=None), "defaults.new.arch: must be a mapping"),
        (default(train={"optim": {"loss": 1}}), "defaults.new.train.optim.loss: must be a mapping"),
        (default(train={"arithmetic": {"cpu": None}}), "defaults.new.train.arithmetic.cpu: must"),
        (lambda raw: raw.pop("defaults"), "missing the key 'defaults' (write defaults: {} where"),
        (lambda raw: raw.update(entries={}), "entries: must have at least one entry"),
    ],
)
def test_a_mistake_is_told_where_it_is_written(
    tmp_path: Path, change: Callable[[Raw], object], message: str
) -> None:
    with pytest.raises(UserError) as error:
        loaded(tmp_path, change)
    told = str(error.value).removeprefix(f"{tmp_path / 'params.yaml'}: ")
    assert told.startswith(message), told


def test_a_circle_is_named_once_for_each_of_its_entries_alone(tmp_path: Path) -> None:
    def change(raw: Raw) -> None:
        raw["defaults"]["slow"]["like"] = "slower"

    with pytest.raises(UserError) as error:
        loaded(tmp_path, change)
    told = str(error.value).split("\n  ")[1:]
    assert told == [
        "defaults.slower.like: leads back to itself (slow is like slower is like slow)",
        "defaults.slow.like: leads back to itself (slower is like slow is like slower)",
    ]


def test_a_mistake_that_many_inherit_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        loaded(tmp_path, lambda raw: raw["defaults"]["slow"].update(like="nobody"))
    assert str(error.value).count("nobody") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda raw: raw["defaults"]["slow"]["train"].update(esteps=3),
            r"entries\.twin\.train\.esteps: .* \(it is inherited from defaults\.slow\)",
        ),
        (
            lambda raw: raw["entries"]["made"]["arch"].update(hiden=[3]),
            r"entries\.twin\.arch\.hiden: .* \(it is inherited from entries\.made\)",
        ),
        (
            lambda raw: raw["defaults"]["slow"]["train"]["optim"].update(gen={"lr": 0.1}),
            r"entries\.twin\.train\.optim\.gen: .* \(it is inherited from defaults\.slow\)",
        ),
        (
            lambda raw: raw["entries"]["twin"]["arch"].update(hiden=[3]),
            r"entries\.twin\.arch\.hiden: [^(]*$",
        ),
    ],
)
def test_a_wrong_option_names_where_it_comes_from(
    tmp_path: Path, change: Callable[[Raw], object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_params(loaded(tmp_path, change), ["twin"])


# ---------------------------------------------------------------------- what is shown


def test_the_whole_entry_is_shown_with_the_places_of_what_it_inherits(tmp_path: Path) -> None:
    assert as_yaml(loaded(tmp_path), "twin").split("\n") == [
        "model: made               # entries.made",
        "dataset: mnist",
        "seed: 0",
        "arch:",
        "  hidden: [3]",
        "  head: logistic_mixture  # entries.made",
        "  mixtures: 2             # entries.made",
        "train:",
        "  optim:",
        "    loss:",
        "      clip: null",
        "      betas: [0.7, 0.8]",
        "      lr: 0.1             # defaults.slow",
        "      warmup: 0.2         # defaults.slow",
        "  batch_size: 4           # entries.made",
        "  steps: 99               # defaults.slower",
        "  ema: 0.5                # defaults.slow",
    ]
    assert heirs(loaded(tmp_path), "made") == ["twin"]
    assert heirs(loaded(tmp_path), "twin") == []


@pytest.mark.parametrize("profile", ["quick", "smoke", "full"])
def test_what_is_shown_can_stand_in_the_file(profile: str) -> None:
    params = load_params(profile, root=Path(__file__).resolve().parents[1])
    for name, entry in params.entries.items():
        shown = yaml.safe_load(as_yaml(params, name))
        assert shown == {key: v for key, v in written_entry(entry).items() if v != {}}


# ---------------------------------------------------------------------- what runs again


def fingerprints(params: Params) -> dict[tuple[str, str], str]:
    """What DVC compares for each stage of each entry."""
    stage.run(params)
    return {
        (path.parent.name, path.stem): path.read_text()
        for path in Layout.of(params).fingerprints.rglob("*.json")
        if path.parent.name != "_stages"
    }


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (
            lambda raw: raw["defaults"]["slow"]["train"].update(ema=0.4),
            {(name, stage) for name in ("made", "twin") for stage in TRAINING},
        ),
        (
            lambda raw: raw["defaults"]["slow"].update(sample={"chunk": 3}),
            {(name, stage) for name in ("made", "twin") for stage in SAMPLING},
        ),
        (
            lambda raw: raw["defaults"]["slow"].update(score={"draws": 3}),
            {(name, stage) for name in ("made", "twin") for stage in SCORE},
        ),
        (lambda raw: raw["defaults"]["slow"]["train"].update(steps=3), set()),
        (
            lambda raw: raw["entries"]["made"]["arch"].update(mixtures=3),
            {("made", "train"), ("twin", "train")},
        ),
        (lambda raw: raw["entries"]["made"]["arch"].update(hidden=[9]), {("made", "train")}),
        (
            lambda raw: raw["entries"]["made"].update(seed=6),
            {("made", stage) for stage in ENTRY_STAGES if stage != "score_samples"},
        ),
        (lambda raw: raw["defaults"].update(unused={"train": {"steps": 3}}), set()),
    ],
)
def test_a_default_runs_the_stages_that_read_it_of_the_entries_that_inherit_it(
    tmp_path: Path, change: Callable[[Raw], object], moved: set[tuple[str, str]]
) -> None:
    before = fingerprints(loaded(tmp_path))
    after = fingerprints(loaded(tmp_path, change))
    assert before.keys() == after.keys()
    assert {key for key in before if before[key] != after[key]} == moved


def test_moving_a_value_into_defaults_runs_nothing(tmp_path: Path) -> None:
    before = fingerprints(loaded(tmp_path))

    def write_out(raw: Raw) -> None:
        params = load_params(root=tmp_path)
        raw["defaults"] = {}
        raw["entries"] = {name: written_entry(entry) for name, entry in params.entries.items()}

    assert fingerprints(loaded(tmp_path, write_out)) == before
