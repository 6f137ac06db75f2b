"""The launcher of Slurm on a real one of two nodes: results and failures come back, arrays are cut,
nothing is submitted twice, and what is left goes on.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genbench.errors import UserError
from genbench.launchers.base import State, Task
from genbench.launchers.slurm import SlurmLauncher
from genbench.launchers.slurm_options import SlurmOptions
from tests import slurm_cluster
from tests.cluster_project import wait_for
from tests.slurm_cluster import SlurmCluster

WHY_NOT = slurm_cluster.why_not() or (
    "" if importlib.util.find_spec("submitit") else "submitit is not installed (genbench[slurm])"
)
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    # Arrays of three tasks at most: a fourth needs another one.
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        slurm_cluster.cluster(Path(folder) / "s", max_array=4) as running,
    ):
        yield running


def nothing() -> int:
    return 42


def fail(how: str) -> None:
    if how == "exit":
        sys.exit(7)
    raise ValueError("no good")


def sleep() -> None:
    time.sleep(300)


def linger(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.1)
    return Path(path).read_text()


def launcher_in(folder: Path, *, leave: bool = False, **options: Any) -> SlurmLauncher:
    return SlurmLauncher(
        folder / "jobs",
        lambda key: SlurmOptions(memory_gb=1, **options),
        leave=lambda arrays: leave,
    )


@pytest.fixture
def launcher(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmLauncher]:
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    yield launcher_in(tmp_path)
    # A job is seen in the queue for a moment after its result, and those of a failed test for ever.
    cluster.clear()


def test_results_and_failures_come_back_and_arrays_are_cut(launcher: SlurmLauncher) -> None:
    tasks = [Task(f"good{i}", nothing) for i in range(2)]
    tasks += [Task("exits", fail, ("exit",)), Task("raises", fail, ("raise",))]
    last, jobs = {}, set()
    for changes in launcher.launch(tasks):
        for change in changes:
            last[change.task.key] = change
            jobs.add(change.where.split()[1].partition("_")[0])
    assert {key: change.state for key, change in last.items()} == {
        "good0": State.FINISHED,
        "good1": State.FINISHED,
        "exits": State.FAILED,
        "raises": State.FAILED,
    }
    assert last["good1"].result == 42
    assert last["exits"].code == 7
    assert len(jobs) == 2, "no array has more than three tasks here"


def test_jobs_are_cancelled_if_they_are_not_to_be_left(
    launcher: SlurmLauncher, cluster: SlurmCluster
) -> None:
    changes = launcher.launch([Task(f"long{i}", sleep) for i in range(4)])
    while not any(change.state is State.RUNNING for change in next(changes)):
        pass
    assert cluster.jobs()
    changes.close()
    wait_for(lambda: not cluster.jobs(), "an empty queue")


def begin(launcher: SlurmLauncher, task: Task) -> Any:
    """Launch a task, and wait until it runs."""
    changes = launcher.launch([task])
    while not any(change.state is State.RUNNING for change in next(changes)):
        pass
    return changes


def test_what_is_left_is_adopted_and_not_submitted_again(
    launcher: SlurmLauncher,
    cluster: SlurmCluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "go"
    task = Task("lingers", linger, (str(path),), fingerprint="one")
    changes = begin(launcher_in(tmp_path, leave=True), task)
    (job,) = cluster.jobs()
    changes.close()
    assert f"the jobs go on; `scancel {job}` would cancel them" in capsys.readouterr().err
    changes = begin(launcher_in(tmp_path, leave=True), task)
    assert "1 jobs of an earlier run are queued or running: they go on" in capsys.readouterr().out
    assert list(cluster.jobs()) == [job]
    path.write_text("the first one")
    (*_, last) = (change for new in changes for change in new)
    assert (last.state, last.result) == (State.FINISHED, "the first one")


@pytest.mark.parametrize("number", [1, 3])
def test_what_was_submitted_in_the_instant_of_a_kill_is_adopted(
    launcher: SlurmLauncher, cluster: SlurmCluster, tmp_path: Path, number: int
) -> None:
    """Slurm has taken the array, and who submitted it could not yet note its number."""
    paths = {f"t{i}": tmp_path / f"go{i}" for i in range(number)}
    tasks = [Task(key, linger, (str(path),), fingerprint=key) for key, path in paths.items()]
    next(launcher.submit(tasks))  # the generator does not go on
    jobs = set(cluster.jobs())
    assert len(jobs) == number
    assert not (tmp_path / "jobs" / "jobs.json").exists()
    changes = launcher_in(tmp_path, leave=True).launch(tasks)
    next(changes)
    assert set(cluster.jobs()) == jobs
    for key, path in paths.items():
        path.write_text(key)
    last = {change.task.key: change for new in changes for change in new}
    assert {key: change.result for key, change in last.items()} == {key: key for key in paths}
    assert {change.where.split()[1] for change in last.values()} == jobs


def test_of_an_array_only_what_is_out_of_date_is_cancelled(
    launcher: SlurmLauncher, cluster: SlurmCluster, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    tasks = [Task(f"t{i}", linger, (str(path),), fingerprint="one") for i in range(3)]
    changes = launcher_in(tmp_path, leave=True).launch(tasks)
    while not any(change.state is State.RUNNING for change in next(changes)):
        pass
    jobs = set(cluster.jobs())
    changes.close()
    # Of three one has changed, and one is not asked for this time.
    asked = [tasks[0], Task("t1", nothing, fingerprint="other")]
    changes = launcher_in(tmp_path, leave=True).launch(asked)
    next(changes)
    kept = json.loads((tmp_path / "jobs" / "jobs.json").read_text())
    wait_for(lambda: len(jobs & set(cluster.jobs())) == 2, "one of the array cancelled")
    assert set(kept) == {"t0", "t1", "t2"}
    assert kept["t1"]["job"] not in jobs
    assert {kept["t0"]["job"], kept["t2"]["job"]} <= jobs
    path.write_text("done")
    last = {change.task.key: change for new in changes for change in new}
    assert (last["t0"].result, last["t1"].result) == ("done", 42)


def test_what_slurm_has_taken_in_spite_of_an_error_runs(
    launcher: SlurmLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """submitit has not left the jobs what they are to do, nor told us their numbers."""
    real, stub = shutil.which("sbatch"), tmp_path / "bin" / "sbatch"
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\n{real} $*\necho Socket timed out on send/recv >&2\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    paths = [tmp_path / key for key in ("a", "b")]
    for path in paths:
        path.write_text(f"of {path.name}")
    tasks = [Task(path.name, linger, (str(path),)) for path in paths]
    last = {change.task.key: change for new in launcher.launch(tasks) for change in new}
    assert {key: change.result for key, change in last.items()} == {"a": "of a", "b": "of b"}
    assert len({change.where.partition("_")[0] for change in last.values()}) == 1


def test_a_job_whose_time_is_up_before_it_begins_is_submitted_again(
    launcher: SlurmLauncher, cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is there to hear the signal, which Slurm sends to what `srun` has started."""
    monkeypatch.setattr(SlurmLauncher, "grace", 1.0)
    once = tmp_path / "once"
    slow = launcher_in(tmp_path, setup=(f"[ -e {once} ] || {{ touch {once}; sleep 300; }}",))
    changes = slow.launch([Task("one", nothing)])
    while not once.exists():
        next(changes)
    (job,) = cluster.jobs()
    cluster.say("scontrol", "update", f"JobId={job}", "EndTime=now+1")  # it looks twice a minute
    seen = [change for new in changes for change in new]
    assert seen[-1].result == 42
    (lost,) = (change for change in seen if change.reason)
    assert (lost.state, lost.reason) == (
        State.WAITING,
        f"job {job} ended as TIMEOUT, and left no result",
    )


def test_what_is_left_and_out_of_date_is_cancelled(
    launcher: SlurmLauncher,
    cluster: SlurmCluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin(launcher_in(tmp_path, leave=True), Task("same", sleep, fingerprint="before")).close()
    (before,) = cluster.jobs()
    after = Task("same", nothing, fingerprint="after")
    (*_, last) = (change for new in launcher.launch([after]) for change in new)
    assert last.result == 42
    assert "1 jobs of an earlier run are out of date: cancelled" in capsys.readouterr().out
    assert before not in cluster.jobs()


def test_what_slurm_does_not_take_is_told(launcher: SlurmLauncher, tmp_path: Path) -> None:
    greedy = launcher_in(tmp_path, partition="nowhere")
    with pytest.raises(UserError, match=r"Slurm does not take the job of one.* partition"):
        list(greedy.launch([Task("one", nothing)]))


def test_a_job_that_is_killed_tells_how_it_ended(
    launcher: SlurmLauncher, cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlurmLauncher, "grace", 1.0)
    changes = begin(launcher, Task("long", sleep))
    (job,) = cluster.jobs()
    cluster.say("scancel", job)
    (*_, last) = (change for new in changes for change in new)
    assert last.state is State.FAILED
    assert last.reason == f"job {job} ended as CANCELLED, and left no result"


def test_slurm_may_be_away_for_a_while(
    launcher: SlurmLauncher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([None, UserError("squeue does not answer: connection refused")])
    queue = launcher.queue

    def sometimes() -> dict[str, tuple[str, str]]:
        error = next(answers, None)
        if error is not None:
            raise error
        return queue()

    monkeypatch.setattr(launcher, "queue", sometimes)
    (*_, last) = (change for new in launcher.launch([Task("one", nothing)]) for change in new)
    assert last.result == 42
    assert capsys.readouterr().err.count("squeue does not answer") == 1
