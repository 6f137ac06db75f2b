"""A training that was stopped goes on to the same bits, whatever its model carries along."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from genbench.training.checkpoints import Workspace, workspace
from tests.fitted import (
    BOTH,
    FIRST_SECOND,
    PLAIN,
    Everything,
    Linear,
    Normed,
    TwoPhases,
    labelled,
    run,
)


class Stopped(Exception):
    """Raised in the middle of a run in place of a kill."""


@pytest.mark.parametrize("make", [Linear, TwoPhases, lambda: TwoPhases(overlap=True), Normed])
@pytest.mark.parametrize("stop", [1, 3, 7, 13])
def test_a_stopped_run_resumes_to_the_same_bits(
    tmp_path: Path, make: Callable[[], Any], stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENBENCH_CHECKPOINT_SECONDS", "0")
    optim = BOTH if isinstance(make(), TwoPhases) else {"loss": PLAIN}
    whole = make()
    expected = run(whole, optim=optim).history

    saved = 0
    original = Workspace.save

    def save(self: Workspace, name: str, value: Any) -> None:
        nonlocal saved
        original(self, name, value)
        saved += 1
        if saved == stop:
            raise Stopped

    monkeypatch.setattr(Workspace, "save", save)
    with workspace(tmp_path, "w", {}) as work, pytest.raises(Stopped):
        run(make(), optim=optim, checkpoints=work)
    resumed = make()
    with workspace(tmp_path, "w", {}) as work:
        history = run(resumed, optim=optim, checkpoints=work).history
    for (name, value), other in zip(
        whole.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
    timings = ("seconds", "images_per_second")
    assert [{k: v for k, v in row.items() if k not in timings} for row in history] == [
        {k: v for k, v in row.items() if k not in timings} for row in expected
    ]


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("stop", [2, 9, 10, 11, 17])
def test_labels_dropout_batch_norm_and_carried_state_resume_to_the_same_bits(
    tmp_path: Path, stop: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENBENCH_CHECKPOINT_SECONDS", "0")
    options = {
        "optim": {phase: {**given, "name": name} for phase, given in FIRST_SECOND.items()},
        "arithmetic": {"cpu": {"precision": "bfloat16", "channels_last": True}},
        "data": labelled(),
    }
    torch.manual_seed(0)
    whole, resumed = Everything(), Everything()
    resumed.load_state_dict(whole.state_dict())
    fresh = copy.deepcopy(resumed)
    run(whole, **options)
    saved, original = 0, Workspace.save

    def save(self: Workspace, name: str, value: Any) -> None:
        nonlocal saved
        original(self, name, value)
        saved += 1
        if saved == stop:
            raise Stopped

    monkeypatch.setattr(Workspace, "save", save)
    with workspace(tmp_path, "w", {}) as work, pytest.raises(Stopped):
        run(fresh, checkpoints=work, **options)
    with workspace(tmp_path, "w", {}) as work:
        run(resumed, checkpoints=work, **options)
    for (name, value), other in zip(
        whole.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
