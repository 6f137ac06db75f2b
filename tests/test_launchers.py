"""Launchers: every task is run once in a process of its own, no more at once than asked, and how
it ended is told; who stops, or is killed, leaves nobody behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from genbench.launchers.base import State, Task
from genbench.launchers.local import LocalLauncher
from tests.overlapping import overlap


def note(folder: str, key: str) -> None:
    Path(folder, key).write_text(str(os.getpid()))


def fail(how: str) -> None:
    if how == "raise":
        raise ValueError("no good")
    if how == "exit":
        sys.exit(7)
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(folder: str) -> None:
    Path(folder, "begun").write_text(str(os.getpid()))
    time.sleep(60)


def outcome(
    launcher: LocalLauncher, tasks: list[Task]
) -> dict[str, list[tuple[State, int | None]]]:
    seen: dict[str, list[tuple[State, int | None]]] = {}
    for changes in launcher.launch(tasks):
        for change in changes:
            seen.setdefault(change.task.key, []).append((change.state, change.code))
    return seen


def test_each_task_is_run_once_in_a_process_of_its_own(tmp_path: Path) -> None:
    tasks = [Task(str(i), note, (str(tmp_path), str(i))) for i in range(5)]
    seen = outcome(LocalLauncher(2, preload=[]), tasks)
    assert seen == {str(i): [(State.RUNNING, None), (State.FINISHED, 0)] for i in range(5)}
    processes = {(tmp_path / str(i)).read_text() for i in range(5)}
    assert len(processes) == 5
    assert str(os.getpid()) not in processes


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_run_at_once_than_asked_for(jobs: int, tmp_path: Path) -> None:
    tasks = [Task(str(i), overlap, (str(tmp_path), str(i), jobs)) for i in range(6)]
    seen = [change for new in LocalLauncher(jobs, preload=[]).launch(tasks) for change in new]
    counts = [change.result for change in seen if change.state is State.FINISHED]
    assert len(counts) == 6
    assert max(counts) == jobs


@pytest.mark.parametrize(("how", "code"), [("raise", 1), ("exit", 7), ("kill", -signal.SIGKILL)])
def test_how_a_task_failed_is_told_and_the_others_go_on(
    how: str, code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tasks = [Task("bad", fail, (how,)), Task("good", note, (str(tmp_path), "good"))]
    seen = outcome(LocalLauncher(1, preload=[]), tasks)
    assert seen["bad"][-1] == (State.FAILED, code)
    assert seen["good"][-1] == (State.FINISHED, 0)


def give(size: int) -> bytes:
    return bytes(size)


def test_what_a_function_returns_comes_back_however_large(tmp_path: Path) -> None:
    tasks = [Task(str(size), give, (size,)) for size in (0, 5, 3_000_000)]
    changes = [c for new in LocalLauncher(2, preload=[]).launch(tasks) for c in new]
    results = {c.task.key: len(c.result) for c in changes if c.state is State.FINISHED}
    assert results == {"0": 0, "5": 5, "3000000": 3_000_000}


def own_device(folder: str, key: str) -> str:
    device = os.environ["DEVICE"]
    Path(folder, f"{device}.taken").touch(exist_ok=False)
    time.sleep(0.2)
    Path(folder, f"{device}.taken").unlink()
    return device


def test_no_two_tasks_have_the_same_environment_at_a_time(tmp_path: Path) -> None:
    tasks = [Task(str(i), own_device, (str(tmp_path), str(i))) for i in range(6)]
    launcher = LocalLauncher(2, environments=[{"DEVICE": "a"}, {"DEVICE": "b"}], preload=[])
    changes = [c for new in launcher.launch(tasks) for c in new]
    assert {c.result for c in changes if c.state is State.FINISHED} == {"a", "b"}
    assert not any(c.state is State.FAILED for c in changes)


def test_who_stops_asking_stops_the_tasks(tmp_path: Path) -> None:
    changes = LocalLauncher(1, preload=[]).launch([Task("long", sleep, (str(tmp_path),))])
    next(changes)
    while not (tmp_path / "begun").exists() or not (tmp_path / "begun").read_text():
        next(changes)
    process = int((tmp_path / "begun").read_text())
    changes.close()
    assert not psutil.pid_exists(process)


RUN = """
import sys
sys.path.insert(0, sys.argv[2])
from genbench.launchers.base import Task
from genbench.launchers.local import LocalLauncher
from tests.overlapping import overlap
from tests.test_launchers import sleep
if __name__ == "__main__":
    for _ in LocalLauncher(1, preload=[]).launch([Task("long", sleep, (sys.argv[1],))]):
        pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot ask for that")
def test_a_killed_launcher_takes_its_tasks_along(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN)
    root = str(Path(__file__).resolve().parents[1])
    run = subprocess.Popen([sys.executable, str(script), str(tmp_path), root])
    deadline = time.monotonic() + 300
    while not (tmp_path / "begun").exists() or not (tmp_path / "begun").read_text():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process = psutil.Process(int((tmp_path / "begun").read_text()))
    run.kill()
    run.wait()
    assert not psutil.wait_procs([process], timeout=10)[1]
