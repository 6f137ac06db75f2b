"""Params files are checked when they are loaded: names, blocks and numbers, all mistakes in one
error that names every place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from genbench.config.load import load_params, profiles
from genbench.config.params import Protocol
from genbench.config.profile import asks_for_memorisation, plain_protocol
from genbench.errors import Mistakes, UserError
from genbench.hardware.compute import MAX_THREADS, Compute
from genbench.pipeline.validate import check_params
from tests.params_factory import protocol, written_protocol

TRAIN = {"steps": 1, "optim": {"loss": {"lr": 0.1}}}
MADE = {
    "model": "made",
    "dataset": "mnist",
    "arch": {"hidden": [8], "head": "categorical"},
    "train": TRAIN,
}
COPY = {"model": "train_copy", "dataset": "mnist", "seed": 0, "arch": {}}
PARAMS: dict[str, Any] = {
    "root": ".",
    "profile": "quick",
    "params_file": "params.yaml",
    "datasets": ["mnist"],
    "metrics": ["fid"],
    "protocol": written_protocol(),
    "compute": {"device": "cpu", "threads": 1},
    "defaults": {},
    "entries": {"made": MADE, "copy": COPY},
}
LOSS = "entries.made.train.optim.loss"
COUNTS = "protocol.likelihood_images"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose params.yaml is PARAMS."""
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    (tmp_path / "profiles").mkdir()
    for name in ("GENBENCH_DEVICE", "GENBENCH_THREADS", "GENBENCH_ISA", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    write(tmp_path)
    return tmp_path


def write(root: Path, change: Callable[[dict[str, Any]], object] = lambda raw: None) -> None:
    raw = copy.deepcopy(PARAMS)
    change(raw)
    (root / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")


def mistake(root: Path) -> str:
    with pytest.raises(UserError) as error:
        load_params(root=root)
    text = str(error.value)
    assert text.startswith(f"{root / 'params.yaml'}: ")
    return text.removeprefix(f"{root / 'params.yaml'}: ")


def train(raw: dict[str, Any]) -> dict[str, Any]:
    return raw["entries"]["made"]["train"]


def loss(raw: dict[str, Any]) -> dict[str, Any]:
    return train(raw)["optim"]["loss"]


def counts(*counts: Any) -> Callable[[dict[str, Any]], object]:
    """The change that puts these in the place of the numbers of test images."""
    return lambda raw: raw["protocol"].update(likelihood_images=list(counts))


def count(from_passes: Any, images: Any) -> dict[str, Any]:
    return {"from_passes": from_passes, "images": images}


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda raw: loss(raw).update(weight_decay=float("nan")),
            f"{LOSS}.weight_decay: must be a finite number, got .nan",
        ),
        (
            lambda raw: loss(raw).update(clip=float("inf")),
            f"{LOSS}.clip: must be a finite number, got .inf",
        ),
        (
            lambda raw: train(raw).update(arithmetic=None),
            "entries.made.train.arithmetic: must be a mapping (write {} for an empty one), got No",
        ),
        (
            lambda raw: train(raw).update(arithmetic={"cpu": None}),
            "entries.made.train.arithmetic.cpu: must be a mapping",
        ),
        (lambda raw: train(raw).update(optim=None), "entries.made.train.optim: must be a mapping"),
        (
            lambda raw: train(raw)["optim"].update(loss=None),
            "entries.made.train.optim.loss: must be a mapping",
        ),
        (
            lambda raw: raw["entries"]["made"].update(arch=None),
            "entries.made.arch: must be a mapping",
        ),
        (lambda raw: raw["entries"].update(made=None), "entries.made: must be a mapping"),
        (
            lambda raw: raw["entries"]["made"].update(seed="one"),
            "entries.made.seed: must be an integer, got 'one'",
        ),
        (lambda raw: raw.update(protocol=None), "protocol: must be a mapping"),
        (lambda raw: raw.update(compute=[]), "compute: must be a mapping"),
        (
            lambda raw: raw["entries"]["made"]["arch"].update({1: 2}),
            "entries.made.arch.1: a key must be text",
        ),
        (lambda raw: raw["entries"].update({True: MADE}), "entries.true: a key must be text"),
        (
            lambda raw: raw["compute"].update(threads=MAX_THREADS + 1),
            "compute.threads: must be 1 to 1024, got 1025",
        ),
        (lambda raw: raw["compute"].update(threads=0), "compute.threads: must be 1 to 1024, got 0"),
        (
            lambda raw: raw["compute"].update(device="cuda:x"),
            "compute.device: must be cpu, cuda or cuda:N, got 'cuda:x'",
        ),
        (
            lambda raw: raw["protocol"].update(samples=10**9),
            "protocol.samples: must be at most 1000000, got 1000000000",
        ),
        (
            lambda raw: raw["protocol"].update(feature_reference_images=0),
            "protocol.feature_reference_images: must be at least 1, got 0",
        ),
        (lambda raw: raw["datasets"].append("mnist"), "datasets[1]: 'mnist' is there twice"),
        (counts(), f"{COUNTS}: must have at least {{from_passes: 1, images: N}}"),
        (counts(count(2, 10)), f"{COUNTS}[0].from_passes: must be 1, got 2"),
        (
            counts(count(1, 10), count(9, 5), count(9, 4)),
            f"{COUNTS}[2].from_passes: must be above the 9 before it, got 9",
        ),
        (counts(count(1, 10), count(9, 0)), f"{COUNTS}[1].images: must be at least 1, got 0"),
        (counts(count(1, "all")), f"{COUNTS}[0].images: must be int, got 'all'"),
        (counts({"from_passes": 1}), f"{COUNTS}[0]: missing images"),
        (
            counts({**count(1, 10), "image": 3}),
            f"{COUNTS}[0].image: unknown parameter; did you mean 'images'",
        ),
        (counts(5), f"{COUNTS}[0]: must be a mapping"),
        (
            lambda raw: raw["protocol"].update(likelihood_images={"from_passes": 1}),
            f"{COUNTS}: the numbers of test images are one list; write likelihood_images: [{{from_",
        ),
        (lambda raw: raw["protocol"].pop("likelihood_images"), "protocol: missing likelihood_imag"),
    ],
)
def test_a_bad_value_is_refused_when_loaded_with_its_path(
    root: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    write(root, change)
    assert mistake(root).startswith(message)


def test_a_key_that_is_there_twice_is_refused(root: Path) -> None:
    text = (root / "params.yaml").read_text(encoding="utf-8")
    (root / "params.yaml").write_text(text.replace("  copy:", "  made:"), encoding="utf-8")
    assert mistake(root).startswith("entries.made: given twice, in lines ")


def test_all_mistakes_are_told_at_once(root: Path) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["protocol"]["samples"] = 0
        raw["metrics"] = ["fid", "../x"]
        raw["entries"]["made"]["arch"] = None
        raw["entries"]["copy"]["sed"] = raw["entries"]["copy"].pop("seed")
        raw["entries"]["-x"] = dict(COPY)

    write(root, change)
    told = mistake(root).split("\n  ")
    assert told[0] == "5 mistakes:"
    for i, part in enumerate(
        (
            "metrics[1]: '../x'",
            "protocol.samples",
            "entries.made.arch",
            "entries.copy.sed",
            "entries: '-x'",
        ),
        1,
    ):
        assert told[i].startswith(part)


def test_mistakes_in_options_of_several_entries_are_told_at_once(root: Path) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["entries"]["other"] = copy.deepcopy(MADE)
        raw["entries"]["made"]["arch"]["hiden"] = 1
        raw["entries"]["other"]["train"]["ema"] = 2.0
        raw["metrics"] = ["fdi"]

    write(root, change)
    with pytest.raises(UserError) as error:
        check_params(load_params(root=root))
    told = str(error.value).split("\n  ")
    assert told[0] == "3 mistakes:"
    assert "'fdi'" in told[1]
    assert told[2].startswith("entries.made.arch.hiden")
    assert told[3].startswith("entries.other.train.ema")


def test_very_many_mistakes_are_counted() -> None:
    mistakes = Mistakes()
    mistakes.note(*map(str, range(100)))
    with pytest.raises(UserError, match=r"(?s)^100 mistakes:\n  0\n.*\n  19\n  and 80 more$"):
        mistakes.tell()


def test_a_number_as_dvc_writes_it_is_a_number(root: Path) -> None:
    text = (root / "params.yaml").read_text(encoding="utf-8")
    (root / "params.yaml").write_text(text.replace("lr: 0.1", "lr: 5e-05"), encoding="utf-8")
    assert load_params(root=root).entry("made").train["optim"]["loss"]["lr"] == 0.00005
    check_params(load_params(root=root))


def test_a_file_in_another_encoding_is_named(root: Path) -> None:
    (root / "params.yaml").write_bytes(
        (root / "params.yaml").read_bytes() + "# für".encode("latin-1")
    )
    assert "must be UTF-8" in mistake(root)


@pytest.mark.parametrize("threads", ["0", "1025", "-1", "1000000000"])
def test_threads_of_the_environment_are_bounded(
    root: Path, monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("GENBENCH_THREADS", threads)
    assert f"compute.threads: must be 1 to 1024, got {threads}" in mistake(root)


def test_as_many_threads_as_a_large_machine_has_are_allowed() -> None:
    assert Compute(threads=MAX_THREADS).threads == 1024
    assert protocol(samples=1_000_000).samples == 1_000_000


# ---------------------------------------------------------------------- former names

FORMER = {
    "likelihood_images": 300,
    "likelihood_images_many_passes": 20,
    "many_passes": 7,
    "likelihood_images_very_many_passes": 3,
    "very_many_passes": 50,
}


def test_the_former_numbers_of_test_images_are_told_in_the_present_form(root: Path) -> None:
    write(root, lambda raw: raw["protocol"].update(FORMER))
    told = mistake(root)
    assert told.startswith("protocol.likelihood_images_many_passes: the numbers of test images are")
    present = yaml.safe_load(told[told.index("[") : told.index("]") + 1])
    write(root, lambda raw: raw["protocol"].update(likelihood_images=present))
    assert [protocol_of(root).images_for(n) for n in (1, 6, 7, 49, 50, 999)] == [
        300,
        300,
        20,
        20,
        3,
        3,
    ]


def protocol_of(root: Path) -> Protocol:
    return load_params(root=root).protocol


@pytest.mark.parametrize("former", FORMER)
def test_each_former_key_alone_is_refused(root: Path, former: str) -> None:
    write(root, lambda raw: raw["protocol"].update({former: FORMER[former]}))
    assert mistake(root).startswith(f"protocol.{former}: the numbers of test images are one list")


@pytest.mark.parametrize(
    ("model", "dataset", "former", "present"),
    [
        ("ddpm", "mnist", "steps", "timesteps"),
        ("ddpm", "mnist", "first", "beta_start"),
        ("ddpm", "mnist", "last", "beta_end"),
        ("ddpm_vlb", "mnist", "steps", "timesteps"),
        ("ddpm_vlb", "mnist", "first", "log_snr_max"),
        ("ddpm_vlb", "mnist", "last", "log_snr_min"),
        ("glow", "mnist", "steps", "flow_steps"),
        ("ebm", "mnist", "chains", "buffer_size"),
        ("ebm", "mnist", "fresh", "reinit_probability"),
        ("ebm", "mnist", "moves", "mcmc_steps"),
        ("ebm", "mnist", "step", "step_size"),
        ("ebm", "mnist", "block", "block_size"),
        ("ebm", "mnist", "scale", "energy_scale"),
        ("rbm", "binary_mnist", "chains", "persistent_chains"),
        ("rbm", "binary_mnist", "moves", "mcmc_steps"),
    ],
)
def test_a_former_option_of_a_model_is_refused_with_its_present_name(
    root: Path, model: str, dataset: str, former: str, present: str
) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["datasets"] = ["mnist", "binary_mnist"]
        raw["entries"] = {"one": {"model": model, "dataset": dataset, "arch": {former: 3}}}

    write(root, change)
    with pytest.raises(UserError) as error:
        check_params(load_params(root=root))
    assert str(error.value) == f"entries.one.arch.{former}: is now called {present!r}"


def test_a_former_option_of_training_is_refused_with_its_present_name(root: Path) -> None:
    write(root, lambda raw: train(raw).update(backend={"cpu": {"precision": "auto"}}))
    with pytest.raises(UserError) as error:
        check_params(load_params(root=root))
    assert str(error.value) == "entries.made.train.backend: is now called 'arithmetic'"


def test_a_former_name_that_is_an_option_still_is_one(root: Path) -> None:
    """`steps` of training, `last` of a Row LSTM, `chains` of annealed importance sampling."""

    def change(raw: dict[str, Any]) -> None:
        arch = {"last": 8, "layers": 1, "hidden": 8, "head": "categorical"}
        rows = {"model": "row_lstm", "arch": arch, "train": copy.deepcopy(TRAIN)}
        machine = {"model": "rbm", "score": {"chains": 50}, "train": copy.deepcopy(TRAIN)}
        raw["datasets"] = ["mnist", "binary_mnist"]
        raw["entries"] |= {
            "rows": {**rows, "dataset": "mnist"},
            "machine": {**machine, "dataset": "binary_mnist"},
        }

    write(root, change)
    assert check_params(load_params(root=root)) == {}


@pytest.mark.parametrize(
    ("asked", "of_controls", "of_others"),
    [(None, False, False), ("none", False, False), ("controls", True, False), ("all", True, True)],
)
def test_memorisation_is_asked_for_of_some_entries(
    root: Path, asked: str | None, of_controls: bool, of_others: bool
) -> None:
    given = {} if asked is None else {"memorisation": asked}
    write(root, lambda raw: raw["protocol"].update(given))
    params = load_params(root=root)
    found = [asks_for_memorisation(params, control=control) for control in (True, False)]
    assert found == [of_controls, of_others]
    assert plain_protocol(params)["memorisation"] == (asked or "none")
    again = replace(params, metrics=("fid",))
    assert asks_for_memorisation(again, control=True) == of_controls


@pytest.mark.parametrize("asked", ["some", True, None, ["all"], {}])
def test_memorisation_of_other_entries_is_refused(root: Path, asked: object) -> None:
    write(root, lambda raw: raw["protocol"].update(memorisation=asked))
    told = f"protocol.memorisation: must be one of none, controls, all, got {asked!r}"
    assert told in mistake(root)


# ---------------------------------------------------------------------- names

BAD = [
    "",
    "-x",
    "_x",
    "--force",
    "a b",
    "a;b",
    "$(x)",
    "`x`",
    "a/b",
    "../a",
    "a.b",
    "ü",
    "²",
    "a\nb",
    "x" * 65,
    "a'b",
    'a"b',
    "a&b",
    "a*",
]
GOOD = ["a", "A", "0", "binary-made", "made_s1", "made-s1", "9-_", "x" * 64]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_a_shell_or_a_path_could_misread_is_refused(root: Path, name: str) -> None:
    for change in (
        lambda raw: raw["entries"].update({name: COPY}),
        lambda raw: raw["datasets"].append(name),
        lambda raw: raw["metrics"].append(name),
    ):
        write(root, change)
        assert f"{name!r} cannot be a name" in mistake(root)


@pytest.mark.parametrize("name", GOOD)
def test_other_names_are_fine(root: Path, name: str) -> None:
    write(root, lambda raw: raw["entries"].update({name: COPY}))
    assert name in load_params(root=root).entries


@pytest.mark.parametrize("name", [n for n in BAD if n and "/" not in n] + ["quick", ".hidden"])
def test_a_folder_of_a_profile_follows_the_same_rule(root: Path, name: str) -> None:
    folder = root / "profiles" / name
    folder.mkdir()
    assert profiles(root) == ["quick"], "a folder without params.yaml is no profile"
    (folder / "params.yaml").write_text("", encoding="utf-8")
    with pytest.raises(UserError) as error:
        load_params(root=root)
    assert repr(name) in str(error.value)
    assert str(root / "profiles") in str(error.value)
