"""The launcher of Ray: results and failures come back, each task has a process of its own, and an
error or a crash of a task is not tried again.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest

from genbench.errors import UserError
from genbench.launchers.base import Change, State, Task

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("ray"), reason="Ray is not installed (genbench[ray])"
)

FAILING = ("exit", "raise", "quit", "signal")


def note(folder: str, key: str) -> str:
    with Path(folder, key).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return os.environ.get("GENBENCH_TEST_NOTE", "")


def fail(folder: str, how: str) -> None:
    note(folder, how)
    if how == "exit":
        sys.exit(7)
    if how == "quit":
        os._exit(3)
    if how == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    raise ValueError("no good")


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Change | list[str]]:
    """How tasks have ended on a Ray of this machine, and which processes they had."""
    from genbench.launchers import ray as ray_launcher
    from genbench.launchers.ray import RayLauncher

    folder = tmp_path_factory.mktemp("ray")
    tasks = [Task(key, note, (str(folder), key)) for key in ("one", "two")]
    tasks += [Task(how, fail, (str(folder), how)) for how in FAILING]
    found: dict[str, Change | list[str]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENBENCH_TEST_NOTE", "told")
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr(ray_launcher, "_GRACE", 1.0)
        for changes in RayLauncher().launch(tasks):
            found |= {change.task.key: change for change in changes}
    return found | {f"{task.key} in": (folder / task.key).read_text().split() for task in tasks}


def test_results_and_our_environment_get_there_and_back(last: dict[str, Change]) -> None:
    assert (last["one"].state, last["one"].code, last["one"].result) == (State.FINISHED, 0, "told")


def test_each_task_has_a_process_of_its_own(last: dict[str, list[str]]) -> None:
    processes = [*last["one in"], *last["two in"]]
    assert len(set(processes)) == 2
    assert str(os.getpid()) not in processes


def test_failures_are_told_and_not_tried_again(last: dict[str, Change]) -> None:
    assert (last["exit"].state, last["exit"].code) == (State.FAILED, 7)
    assert last["raise"].state is State.FAILED
    assert "no good" in last["raise"].reason
    for how in ("quit", "signal"):
        assert (last[how].state, last[how].code) == (State.FAILED, None)
        assert "its process on Ray has died" in last[how].reason
    assert [len(last[f"{how} in"]) for how in FAILING] == [1, 1, 1, 1]


def test_an_address_without_a_cluster_is_told() -> None:
    from genbench.launchers.ray import RayLauncher

    with pytest.raises(UserError, match=r"--address 127\.0\.0\.1:1: no Ray cluster there"):
        list(RayLauncher("127.0.0.1:1").launch([Task("one", note)]))
