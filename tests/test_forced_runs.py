"""A run that begins everything anew: what an earlier one has left ends first, and what it leaves
itself counts for the next one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.files import write_json
from genbench.launchers.base import Task
from genbench.launchers.local import LocalLauncher
from genbench.pipeline import entries
from genbench.pipeline.chain import Chain
from genbench.pipeline.record import Due
from genbench.pipeline.stage_runner import call_stage
from genbench.pipeline.transport import SharedFolder

CHAIN = Chain("made", ("train",), {})


class Hands:
    """Instead of those that launch: the tasks are kept."""

    given: Sequence[Task] = ()

    def __init__(self, *_: object) -> None:
        pass

    def follow(self, launcher: object, tasks: Sequence[Task], board: object) -> list[str]:
        Hands.given = tasks
        return []

    def tell_failures(self, begun: float, *, besides: Sequence[str]) -> list[str]:
        return []


class Watched(LocalLauncher):
    """Keeps what it is told to withdraw, and whether there was a receipt then."""

    def __init__(self, params: Params) -> None:
        super().__init__(1)
        self._receipt = Layout.of(params).done("made", "train")
        self.seen: list[tuple[list[str], bool]] = []

    def withdraw(self, keys: Sequence[str]) -> None:
        self.seen.append((list(keys), self._receipt.exists()))


@pytest.mark.parametrize("force", [True, False])
def test_what_is_left_ends_before_its_receipts_are_removed(
    params: Params, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """Else it would write another, with which the work would not begin anew."""
    monkeypatch.setattr(entries, "Books", lambda params: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(entries, "Board", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(entries, "_due", lambda *_: Due((CHAIN,), ()))
    monkeypatch.setattr(entries, "_Hands", Hands)
    call_stage("fingerprints", params)
    receipt = Layout.of(params).done("made", "train")
    write_json(receipt, {})
    launcher = Watched(params)
    entries.run_entries(params, ["made"], launcher, {}, force=force)
    assert [task.key for task in Hands.given] == ["made"]
    assert launcher.seen == ([(["made"], True)] if force else [])
    assert receipt.exists() is not force


def test_what_a_forced_run_leaves_is_what_another_one_would_do(params: Params) -> None:
    call_stage("fingerprints", params)
    transport = SharedFolder(params)
    forced, after = (transport.task(CHAIN, at_once=1, fresh=fresh) for fresh in (True, False))
    assert forced.fingerprint == after.fingerprint
    assert transport.task(Chain("vae", ("train",), {}), at_once=1, fresh=False) != forced
