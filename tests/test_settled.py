"""What a run does about its entries when a launcher tells of them: whatever goes wrong with one, or
at the end, all else is done; and what another process has made meanwhile is not taken for success.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import STAGES
from genbench.errors import UserError
from genbench.files import read_json, write_json
from genbench.launchers.base import Change, State, Task
from genbench.pipeline import entries
from genbench.pipeline.chain import Chain
from genbench.pipeline.receipts import Receipt, content_of, write_receipt
from genbench.pipeline.stage_runner import stage_places
from genbench.results.status import note_failure

FULL = OSError(errno.ENOSPC, "No space left on device")


class Launcher:
    """Tells of a task at a time; before it does, something happens."""

    where, at_once, has_left = "here", 1, False

    def __init__(self, happens: Callable[[str], None]) -> None:
        self.happens, self.closed = happens, False

    def launch(self, tasks: Sequence[Task]) -> Generator[list[Change]]:
        try:
            for task in tasks:
                self.happens(task.key)
                yield [Change(task, State.FINISHED, code=0)]
        finally:
            self.closed = True


class Project:
    """What surrounds the entries of a run: DVC's notes, the transport, the board and the live page,
    none of which does anything unless it is told to fail.
    """

    def __init__(self, params: Params, patch: pytest.MonkeyPatch) -> None:
        self.params, self.noted = params, list[str]()
        self.unbrought: dict[str, OSError | UserError] = {}
        self.closing: OSError | None = None
        self.showing: BaseException | None = None
        patch.setattr(entries, "LivePage", lambda params: self)

    def note(self, names: Sequence[str], *, patient: bool = True) -> None:
        self.noted += names

    def bring(self, chain: Chain, result: Any) -> None:
        if chain.entry in self.unbrought:
            raise self.unbrought[chain.entry]

    def show(self) -> None:
        if self.showing is not None:
            raise self.showing

    def close(self) -> None:
        if self.closing is not None:
            raise self.closing

    def hands(
        self, *names: str, stages: tuple[str, ...] = ("sample",)
    ) -> tuple[entries._Hands, list[Task]]:
        chains = [Chain(name, stages, {}) for name in names]
        hands = entries._Hands(self.params, chains, self, self)  # type: ignore[arg-type]
        return hands, [Task(name, print) for name in names]

    def run(self, *names: str, happens: Callable[[str], None]) -> list[str]:
        """As a run does; the entries of which some stage has failed."""
        hands, tasks = self.hands(*names)
        lacking = hands.follow(Launcher(happens), tasks, self)  # type: ignore[arg-type]
        return [*lacking, *hands.tell_failures(0.0, besides=lacking)]

    def finish(self, name: str, stage: str = "sample") -> None:
        """Leave what a stage of an entry leaves."""
        table, places = STAGES[stage], stage_places(self.params, STAGES[stage], name)
        fingerprint = Layout.of(self.params).fingerprint(name, stage)
        for path in (fingerprint, *(places[part] for part in (*table.reads, *table.writes))):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(f"{path.name} of {name}")
        reads, writes = (
            {part: content_of(places[part]) for part in parts}
            for parts in (table.reads, table.writes)
        )
        own = content_of(fingerprint)
        write_receipt(self.params, Receipt(stage, name, own, reads, writes, "elsewhere", 1.0, 2.0))

    def fail(self, name: str, stage: str, reason: str) -> Path:
        path = Layout.of(self.params).status(name, stage)
        note_failure(path, stage, name, reason)
        return path


@pytest.fixture
def project(params: Params, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(params, monkeypatch)


def test_entries_that_end_well_are_noted(project: Project) -> None:
    assert project.run("made", "vae", happens=project.finish) == []
    assert project.noted == ["sample@made", "sample@vae"]


@pytest.mark.parametrize("error", [FULL, UserError("the remote does not answer")])
def test_results_that_cannot_be_put_here_are_the_failure_of_their_entry(
    project: Project, error: OSError | UserError, capsys: pytest.CaptureFixture[str]
) -> None:
    project.unbrought["made"] = error

    def happens(name: str) -> None:
        if name != "made":
            project.finish(name)

    assert project.run("made", "vae", happens=happens) == ["made"]
    assert project.noted == ["sample@vae"]
    why = "the disk is full" if error is FULL else "the remote does not answer"
    assert why in read_json(Layout.of(project.params).status("made", "sample"))["error"]
    assert f"made: {'No space left' if error is FULL else why}" in capsys.readouterr().err


def test_whatever_fails_at_the_end_tasks_are_stopped_and_results_noted(project: Project) -> None:
    project.closing = OSError(errno.ENOSPC, "No space left on device")
    project.showing = KeyboardInterrupt()
    hands, tasks = project.hands("made", "vae")
    status = Layout.of(project.params).status("vae", "sample")
    write_json(status, {"process": "1:2"})
    launcher = Launcher(project.finish)
    with pytest.raises(OSError, match="No space left"):
        hands.follow(launcher, tasks, project)  # type: ignore[arg-type]
    assert launcher.closed
    assert not status.exists()
    assert project.noted == ["sample@made"]


def test_a_stage_that_failed_is_told_though_another_process_has_made_its_results(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    def happens(name: str) -> None:
        project.finish(name)
        if name == "made":
            project.fail(name, "sample", "sample of made ran twice, here on a and on b")

    assert project.run("made", "vae", happens=happens) == ["made"]
    said = capsys.readouterr().err
    assert "sample of made has results, but was also run where it failed" in said
    assert "ran twice, here on a and on b" in said
    assert project.noted == ["sample@made", "sample@vae"], "the first one's results count"


def test_what_an_earlier_run_has_left_of_other_stages_is_not_told_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    hands, _ = project.hands("made")
    path = project.fail("made", "train", "ran twice")
    os.utime(path, (50, 50))
    assert hands.tell_failures(60, besides=[]) == []
    assert hands.tell_failures(40, besides=["made"]) == []
    assert hands.tell_failures(40, besides=[]) == ["made"]
    assert capsys.readouterr().err.count("train of made has results") == 2


def test_what_lacks_results_has_a_reason_though_an_earlier_stage_has_one(project: Project) -> None:
    hands, tasks = project.hands("made", stages=("train", "sample"))

    def happens(name: str) -> None:
        project.finish(name, "train")
        project.fail(name, "train", "ran twice")

    assert hands.follow(Launcher(happens), tasks, project) == ["made"]  # type: ignore[arg-type]
    status = read_json(Layout.of(project.params).status("made", "sample"))
    assert "has ended before it was done" in status["error"]
