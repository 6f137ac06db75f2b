"""Params files are checked when they are loaded: names, blocks and numbers, all mistakes in one
error that names every place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from genbench.config.params import load_params, profiles
from genbench.errors import Mistakes, UserError
from genbench.hardware.compute import MAX_THREADS, Compute
from genbench.pipeline.validate import check_params
from tests.params_file import protocol, written_protocol

TRAIN = {"steps": 1, "optim": {"loss": {"lr": 0.1}}}
MADE = {
    "model": "made",
    "dataset": "mnist",
    "seed": 0,
    "arch": {"hidden": [8], "head": "categorical"},
    "train": TRAIN,
    "sample": {},
    "score": {},
}
COPY = {
    "model": "train_copy",
    "dataset": "mnist",
    "seed": 0,
    "arch": {},
    "train": {},
    "sample": {},
    "score": {},
}
PROTOCOL = written_protocol()
PARAMS: dict[str, Any] = {
    "root": ".",
    "profile": "quick",
    "params_file": "params.yaml",
    "datasets": ["mnist"],
    "metrics": ["fid"],
    "protocol": PROTOCOL,
    "compute": {"device": "cpu", "threads": 1},
    "entries": {"made": MADE, "copy": COPY},
}
LOSS = "entries.made.train.optim.loss"


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
    block: dict[str, Any] = raw["entries"]["made"]["train"]
    return block


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: train(raw)["optim"]["loss"].update(weight_decay=float("nan")), f"{LOSS}.weight_decay: must be a finite number, got .nan"),
        (lambda raw: train(raw)["optim"]["loss"].update(clip=float("inf")), (f"{LOSS}.clip: must be "
                                                                            "a finite number, got .inf")),
        (lambda raw: train(raw).update(arithmetic=None), ("entries.made.train.arithmetic: must be a "
                                                      "mapping (write {} for an empty one), got None")),
        (lambda raw: train(raw).update(arithmetic={"cpu": None}), ("entries.made.train.arithmetic.cpu: "
                                                               "must be a mapping")),
        (lambda raw: train(raw).update(optim=None), "entries.made.train.optim: must be a mapping"),
        (lambda raw: train(raw)["optim"].update(loss=None), ("entries.made.train.optim.loss: must "
                                                            "be a mapping")),
        (lambda raw: raw["entries"]["made"].update(arch=None), ("entries.made.arch: must be a "
                                                               "mapping")),
        (lambda raw: raw.update(protocol=None), "protocol: must be a mapping"),
        (lambda raw: raw.update(compute=[]), "compute: must be a mapping"),
        (lambda raw: raw["entries"]["made"]["arch"].update({1: 2}), ("entries.made.arch.1: a key "
                                                                    "must be text")),
        (lambda raw: raw["entries"].update({True: MADE}), "entries.true: a key must be text"),
        (lambda raw: raw["compute"].update(threads=MAX_THREADS + 1), ("compute.threads: must be 1 "
                                                                     "to 1024, got 1025")),
        (lambda raw: raw["compute"].update(threads=0), "compute.threads: must be 1 to 1024, got 0"),
        (lambda raw: raw["compute"].update(device="cuda:x"), ("compute.device: must be cpu, cuda or "
                                                             "cuda:N, got 'cuda:x'")),
        (lambda raw: raw["protocol"].update(samples=10**9), ("protocol.samples: must be at most "
                                                            "1000000, got 1000000000")),
        (lambda raw: raw["datasets"].append("mnist"), "datasets[1]: 'mnist' is there twice"),
    ],
)  # fmt: skip
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
