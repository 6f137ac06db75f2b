"""submitit without a cluster: what a job does, how many there are at once, and when one that is
preempted is queued again.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from genbench.errors import UserError
from genbench.launchers.base import State, Task, growth
from genbench.launchers.slurm_jobs import Remote
from genbench.launchers.slurm_rehearsal import SlurmRehearsal
from genbench.processes import signals
from tests.overlapping import overlap

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("submitit"), reason="submitit is not installed (genbench[slurm])"
)


def fail(how: str) -> None:
    if how == "exit":
        sys.exit(7)
    raise ValueError("no good")


def test_no_more_run_at_once_than_asked_for(tmp_path: Path) -> None:
    tasks = [Task(str(i), overlap, (str(tmp_path), str(i), 2)) for i in range(5)]
    launcher = SlurmRehearsal(tmp_path / "jobs", 2)
    seen = [change for changes in launcher.launch(tasks) for change in changes]
    counts = [change.result for change in seen if change.state is State.FINISHED]
    assert len(counts) == 5
    assert max(counts) == 2


def test_failures_have_reasons(tmp_path: Path) -> None:
    tasks = [Task("exit", fail, ("exit",)), Task("raise", fail, ("raise",))]
    launcher = SlurmRehearsal(tmp_path / "jobs", 2)
    last = {c.task.key: c for changes in launcher.launch(tasks) for c in changes}
    assert (last["exit"].state, last["exit"].code) == (State.FAILED, 7)
    assert last["raise"].state is State.FAILED
    assert last["raise"].reason.endswith("ValueError: no good")


def test_a_preempted_task_is_queued_again_as_long_as_it_gets_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from submitit.helpers import DelayedSubmission

    # The end is announced for the whole process, which here goes on.
    monkeypatch.setattr(signals, "_ending", False)
    path = tmp_path / "made-train-0" / "train.pt"
    path.parent.mkdir()
    remote = Remote(Task("made", fail, grows=(f"{tmp_path}/made-train-*/*",)))
    for seconds in range(1, 6):
        path.touch()
        os.utime(path, (seconds, seconds))
        assert isinstance(remote.checkpoint(), DelayedSubmission)
    assert signals.is_ending(), "submitit's sys.exit is no failure"
    assert isinstance(remote.checkpoint(), DelayedSubmission), "it may have had bad luck"
    with pytest.raises(UserError, match="2 times without getting on; ask for more time"):
        remote.checkpoint()


def test_growth_is_of_files_that_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", str(tmp_path))
    for name, seconds in (("a/train.pt", 5), ("a/lock", 9), ("b/train.pt", 7)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (seconds, seconds))
    assert growth([]) == 0
    assert growth(["$PLACE/a/*"]) == 5
    assert growth([f"{tmp_path}/a/*", f"{tmp_path}/b/*"]) == 7
