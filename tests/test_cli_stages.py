"""Stages by the command line: status files, checks of fingerprints, options that reach them."""

from __future__ import annotations

import importlib
import json
import os
from datetime import datetime
from pathlib import Path

import pytest

from genbench.config.load import load_params
from genbench.files import write_json
from genbench.pipeline.fingerprints import fingerprint_files
from tests import shell_stages
from tests.shell_stages import call


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stages are shell commands, without DVC."""
    return shell_stages.project(tmp_path, monkeypatch)


@pytest.fixture
def repository(root: Path) -> Path:
    """The same under git and DVC."""
    return shell_stages.repository(root)


@pytest.fixture
def calls(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Replaces the stages `fingerprints` and `train`; `train` raises what stands under `error`."""
    seen: list[object] = []

    def train(params: object, entry: str, **places: Path) -> None:
        seen.append(
            ("train", entry, os.environ.get("GENBENCH_DEVICE"), os.environ.get("GENBENCH_THREADS"))
        )
        for wanted in seen:
            if isinstance(wanted, BaseException):
                raise wanted

    monkeypatch.setattr(
        importlib.import_module("pipelines.fingerprints"),
        "run",
        lambda params: seen.append("fingerprints"),
    )
    monkeypatch.setattr(importlib.import_module("pipelines.train"), "run", train)
    return seen


def test_a_failing_stage_leaves_its_error_and_a_success_removes_it(
    root: Path, calls: list[object]
) -> None:
    calls.append(FloatingPointError("made/loss: the loss is nan at step 7"))
    assert call("train", "made", "--profile", "smoke")[0] == 1
    path = root / ".status" / "smoke" / "made-train.json"
    status = json.loads(path.read_text())
    assert set(status) == {"stage", "entry", "error", "type", "time", "log"}
    assert (status["stage"], status["entry"], status["type"]) == (
        "train",
        "made",
        "FloatingPointError",
    )
    assert status["error"] == "made/loss: the loss is nan at step 7"
    assert "Traceback" in status["log"]
    assert datetime.fromisoformat(status["time"]).tzinfo is not None
    calls.clear()
    assert call("train", "made", "--profile", "smoke")[0] == 0
    assert not path.exists()


def test_an_interrupted_stage_has_not_failed(root: Path, calls: list[object]) -> None:
    calls.append(ValueError("no good"))
    assert call("train", "made")[0] == 1
    path = root / ".status" / "quick" / "made-train.json"
    assert path.is_file()
    calls[:] = [KeyboardInterrupt()]
    assert call("train", "made")[0] == 130
    assert not path.exists(), "the report would give the reason of an earlier failure"


def test_a_stage_refuses_sources_other_than_those_of_its_fingerprint(
    root: Path, calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", "train@made")
    path = root / "runs" / "quick" / "fingerprints" / "made" / "train.json"
    written = fingerprint_files(load_params())[path]
    write_json(path, written)
    assert call("train", "made")[0] == 0
    write_json(
        path, {**written, "hash": "0", "files": {**written["files"], "genbench/base.py": "0"}}
    )
    calls.clear()
    code, _, stderr = call("train", "made")
    assert code == 1
    assert "sources changed since this run began (genbench/base.py)" in stderr
    assert calls == []
    assert (
        "sources changed"
        in json.loads((root / ".status" / "quick" / "made-train.json").read_text())["error"]
    )


def test_outside_dvc_the_fingerprints_are_written_first(
    root: Path, calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    call("train", "made")
    assert [c if isinstance(c, str) else c[0] for c in calls] == ["fingerprints", "train"]  # type: ignore[index]
    calls.clear()
    monkeypatch.setenv("DVC_STAGE", "train@made")
    call("train", "made")
    assert [c if isinstance(c, str) else c[0] for c in calls] == ["train"]  # type: ignore[index]


@pytest.mark.parametrize("asked", [False, True])
def test_scoring_probes_too_and_looks_for_memorisation_on_request(
    root: Path, calls: list[object], monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    for name in ("score_likelihood", "score_samples", "probe"):

        def stage(
            params: object, entry: str, *, name: str = name, memorisation: bool = False, **_: Path
        ) -> None:
            calls.append((name, entry, memorisation))

        monkeypatch.setattr(importlib.import_module(f"pipelines.{name}"), "run", stage)
    assert call("score", "made", *(["--memorisation"] if asked else []))[0] == 0
    assert [one for one in calls if one != "fingerprints"] == [
        ("score_likelihood", "made", False),
        ("score_samples", "made", False),
        ("probe", "made", asked),
    ]


def test_device_and_threads_reach_the_stage(root: Path, calls: list[object]) -> None:
    assert call("train", "vae", "--device", "cpu", "--threads", "3")[0] == 0
    assert calls[-1] == ("train", "vae", "cpu", "3")
    assert load_params().compute.threads == 3
