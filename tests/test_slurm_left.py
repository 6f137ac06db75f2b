"""Jobs of Slurm that are lost, left, cancelled or withdrawn; by programs that answer as its own."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

from genbench.errors import UserError
from genbench.launchers import slurm_programs
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


def kept(launcher: SlurmLauncher) -> dict[str, str]:
    """Which job does which task, for the next run."""
    found = json.loads((launcher.folder / "jobs.json").read_text())
    return {key: one["job"] for key, one in found.items()}


def losses(stub: SlurmStub, launcher: SlurmLauncher, task: Task, ending: str) -> list[Change]:
    """What is said of a task all of whose jobs end so, until it fails."""
    said, changes = list[Change](), launcher.launch([task])
    for new in changes:
        said += new
        for job in stub.jobs:
            stub.lose(job, ending)
    return said


@pytest.mark.parametrize(("ending", "times"), [("TIMEOUT", 2), ("NODE_FAIL", 5)])
def test_what_is_lost_is_submitted_again_but_not_for_ever(
    stub: SlurmStub, launcher: SlurmLauncher, ending: str, times: int
) -> None:
    *before, last = losses(stub, launcher, Task("made", int), ending)
    assert [change.state for change in before] == [State.WAITING] * times
    assert last.state is State.FAILED
    number = times + 1
    assert stub.asked == [1] * number
    assert last.reason.startswith(f"job {number} ended as {ending}, and left no result")
    assert (f"{times} times without getting on; ask for more time" in last.reason) is (
        ending == "TIMEOUT"
    )


def test_after_a_time_out_it_goes_on_as_long_as_its_work_grows(
    stub: SlurmStub, launcher: SlurmLauncher, tmp_path: Path
) -> None:
    path = tmp_path / "train.pt"
    path.touch()
    changes = launcher.launch([Task("made", int, grows=(str(path),))])
    next(changes)
    for seconds in range(1, 9):
        os.utime(path, (seconds, seconds))
        (job,) = stub.jobs
        stub.lose(job, "TIMEOUT")
        (change,) = next(changes)
        assert change.state is State.WAITING
        assert stub.jobs == [str(seconds + 1)]
    stub.finish(launcher, "9")
    (last,) = next(changes)
    assert last.state is State.FINISHED


def test_what_fails_by_itself_is_not_submitted_again(
    stub: SlurmStub, launcher: SlurmLauncher
) -> None:
    (last,) = losses(stub, launcher, Task("made", int), "OUT_OF_MEMORY")
    assert (last.state, stub.asked) == (State.FAILED, [1])


def test_jobs_that_are_not_cancelled_are_not_said_to_be(
    stub: SlurmStub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = launcher_in(tmp_path, leave=False)
    changes = launcher.launch([Task("a", int), Task("b", int)])
    next(changes)
    stub.be("stubborn")
    changes.close()
    assert capsys.readouterr().err == (
        "2 jobs are not cancelled, 1_0 among them: scancel: error: Kill job error on job id 1_0: "
        "Access/permission denied; the jobs go on; `scancel 1` would cancel them\n"
    )
    assert launcher.has_left
    assert kept(launcher) == {"a": "1_0", "b": "1_1"}


def test_jobs_that_are_cancelled_are_known_no_more(stub: SlurmStub, tmp_path: Path) -> None:
    launcher = launcher_in(tmp_path, leave=False)
    changes = launcher.launch([Task("a", int), Task("b", int)])
    next(changes)
    changes.close()
    assert stub.jobs == []
    assert not launcher.has_left
    assert kept(launcher) == {}


def test_that_some_have_ended_meanwhile_is_no_error(
    stub: SlurmStub, launcher: SlurmLauncher
) -> None:
    next(launcher.submit([Task(str(i), int) for i in range(3)]))
    stub.leave("1_1")
    slurm_programs.cancel(["1_0", "1_1"])
    assert stub.jobs == ["1_2"]
    stub.be("stubborn")
    with pytest.raises(UserError, match="1 jobs are not cancelled, 1_2 among them"):
        slurm_programs.cancel(["1_1", "1_2"])


def test_nothing_is_submitted_beside_what_cannot_be_cancelled(
    stub: SlurmStub, launcher: SlurmLauncher, tmp_path: Path
) -> None:
    changes = launcher.launch([Task("a", int, fingerprint="before")])
    next(changes)
    stub.be("stubborn")
    with pytest.raises(UserError, match="1 jobs are not cancelled, 1 among them"):
        next(launcher_in(tmp_path).launch([Task("a", int, fingerprint="after")]))
    assert stub.asked == [1]


def test_what_is_withdrawn_has_ended(stub: SlurmStub, launcher: SlurmLauncher) -> None:
    changes = launcher.launch([Task(key, int) for key in "abc"])
    next(changes)
    launcher.withdraw(["a", "c", "d"])
    rows = (stub.folder / "queue").read_text().splitlines()
    assert [row.partition("|")[0] for row in rows] == ["1_1"]
    launcher.withdraw(["a"])
    stub.be("undead")
    launcher.dying = 0.0
    with pytest.raises(UserError, match="1 jobs are cancelled, 1_1 among them, and have not ended"):
        launcher.withdraw(["b"])
