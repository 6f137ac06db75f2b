"""Slurm is given as much as it takes, and nothing twice that it has taken, whatever it says; by
programs that answer as its own.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from genbench.errors import UserError
from genbench.launchers import slurm_arrays
from genbench.launchers.base import Change, State, Task
from genbench.launchers.slurm import SlurmLauncher
from tests.slurm_stub import SlurmStub, launcher_in

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("submitit"), reason="submitit is not installed (genbench[slurm])"
)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmStub:
    return SlurmStub(tmp_path / "stub", monkeypatch)


@pytest.fixture
def launcher(stub: SlurmStub, tmp_path: Path) -> SlurmLauncher:
    return launcher_in(tmp_path)


def tasks(number: int) -> list[Task]:
    return [Task(f"t{i}", int, fingerprint=f"work {i}") for i in range(number)]


def finish(
    stub: SlurmStub, launcher: SlurmLauncher, changes: Iterator[list[Change]], at_once: int = 1000
) -> tuple[dict[str, object], int]:
    """Let some jobs end at each look; returns the results by key, and the most that were queued."""
    results, most = dict[str, object](), 0
    while True:
        jobs = stub.jobs
        most = max(most, len(jobs))
        for job in jobs[:at_once]:
            stub.finish(launcher, job)
        try:
            new = next(changes)
        except StopIteration:
            return results, most
        results |= {c.task.key: c.result for c in new if c.state is State.FINISHED}


def own_keys(number: int) -> dict[str, object]:
    """Each task has the result that is its own."""
    return {task.key: task.key for task in tasks(number)}


def test_how_much_slurm_takes_is_found_by_halves(
    stub: SlurmStub, launcher: SlurmLauncher, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.limit(10)
    changes = launcher.launch(tasks(25))
    next(changes)
    assert stub.asked == [25, 12, 6, 6, 3, 3, 1, 1], "10 of them are taken: 6, 3 and 1"
    assert len(stub.jobs) == 10
    # submitit would leave a file for each task that was refused.
    assert len(list(launcher.folder.glob("*.pkl"))) == 10
    results, most = finish(stub, launcher, changes, at_once=3)
    assert results == own_keys(25)
    assert most == 10
    told = capfd.readouterr().err
    assert told.count("QOSMaxSubmitJobPerUserLimit; 15 wait until others have ended") == 1
    assert told.count("QOSMax") == 1, "the table on the terminal is not torn"


def test_a_limit_that_is_raised_is_noticed(stub: SlurmStub, launcher: SlurmLauncher) -> None:
    stub.limit(4)
    changes = launcher.launch(tasks(30))
    next(changes)
    stub.limit(1000)
    results, most = finish(stub, launcher, changes, at_once=1)
    assert results == own_keys(30)
    assert most == 16, "twice 4, and twice that"


def test_what_is_refused_by_ones_stops_the_run(stub: SlurmStub, launcher: SlurmLauncher) -> None:
    stub.limit(0)
    with pytest.raises(
        UserError,
        match=r"Slurm does not take the job of t0: .*QOSMaxSubmit.*; change --launcher-options",
    ):
        list(launcher.launch(tasks(8)))
    assert stub.asked == [8, 4, 2, 1]


@pytest.mark.parametrize("number", [1, 3])
def test_what_was_taken_in_spite_of_an_error_is_known(
    stub: SlurmStub, launcher: SlurmLauncher, number: int
) -> None:
    stub.be("unsure")
    changes = launcher.launch(tasks(number))
    next(changes)
    assert len(stub.jobs) == number
    kept = json.loads((launcher.folder / "jobs.json").read_text())
    assert [one["job"] for one in kept.values()] == stub.jobs
    assert finish(stub, launcher, changes)[0] == own_keys(number)
    assert stub.asked == [number]


def test_it_is_known_as_soon_as_slurm_answers(
    stub: SlurmStub, launcher: SlurmLauncher, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.be("unsure")
    stub.be("broken")
    changes = launcher.launch(tasks(3))
    next(changes)
    next(changes)
    stub.be("silent", end=True)
    next(changes)
    assert finish(stub, launcher, changes)[0] == own_keys(3)
    assert stub.asked == [3]
    assert "squeue does not answer" in capsys.readouterr().err


def test_what_is_seen_late_is_taken_or_cancelled(
    stub: SlurmStub, launcher: SlurmLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.be("late")
    stub.limit(1)
    changes = launcher.launch(tasks(4))
    next(changes)
    assert stub.asked == [4, 2, 1, 1]
    (third,) = stub.jobs
    stub.show()
    next(changes)
    assert stub.jobs == [third, "1_1", "1_2", "1_3"], "what 1_0 would do is done by another"
    monkeypatch.setattr(slurm_arrays, "_LATE", -1.0)
    next(changes)
    submitting = json.loads((launcher.folder / "submitting.json").read_text())
    assert submitting == [], "the others were refused in earnest"
    assert finish(stub, launcher, changes)[0] == own_keys(4)
    assert stub.asked == [4, 2, 1, 1]


def test_what_a_killed_run_was_about_to_submit_is_kept_before_more_is_submitted(
    stub: SlurmStub, launcher: SlurmLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.be("unsure")
    stub.be("broken")
    with pytest.raises(UserError, match="squeue does not answer"):
        next(launcher.submit(tasks(2)))
    stub.be("silent", end=True)
    after, kept = launcher_in(tmp_path), list[set[str]]()
    submit = after.submit

    def noted(some: list[Task]) -> Iterator[dict[str, str]]:
        kept.append(set(json.loads((after.folder / "jobs.json").read_text())))
        return submit(some)

    monkeypatch.setattr(after, "submit", noted)
    changes = after.launch(tasks(3))
    next(changes)
    assert kept == [{"t0", "t1"}]
    assert finish(stub, after, changes)[0] == own_keys(3)
    assert stub.asked == [2, 1]
