"""Which tasks of Ray are begun again: those whose node has died, for as long as they get on, and no
others; and which cluster a run uses. Ray is a stand-in with a clock of its own.
"""

from __future__ import annotations

import itertools
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from genbench.cli import doctor_cluster
from genbench.errors import UserError
from genbench.launchers import ray as ray_launcher
from genbench.launchers.base import Change, Retries, State, Task
from genbench.launchers.ray import RayLauncher
from genbench.launchers.ray_cluster import Losses
from tests.fake_ray import CRASH, NODE_DIED, FakeRay

Install = Callable[..., FakeRay]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a stand-in in the place of Ray."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def of(*arguments: Any, **options: Any) -> FakeRay:
        fake = FakeRay(*arguments, **options)
        monkeypatch.setitem(sys.modules, "ray", fake)
        monkeypatch.setattr(ray_launcher, "time", fake)
        return fake

    return of


def run(fake: FakeRay, tasks: Sequence[Task] | None = None) -> list[tuple[float, Change]]:
    """All changes, each with the second at which it was told."""
    begun, found = fake.now, []
    for changes in RayLauncher().launch(tasks or [Task(key, run) for key in fake.attempts]):
        found += [(fake.now - begun, change) for change in changes]
    return found


def states(fake: FakeRay) -> list[State]:
    return [change.state for _, change in run(fake)]


def test_a_crash_long_after_a_node_was_lost_is_the_models_own(install: Install) -> None:
    fake = install({"bad": [(3600, CRASH), (1, None)]}, lost=[10])
    assert states(fake) == [State.FAILED]
    assert fake.submitted == ["bad"]


@pytest.mark.parametrize("lost", [90.0, 110.0])
def test_a_crash_shortly_before_or_after_a_node_is_lost_is_that_of_the_node(
    install: Install, lost: float
) -> None:
    fake = install({"bereft": [(100, CRASH), (50, None)]}, lost=[lost])
    assert states(fake) == [State.WAITING, State.FINISHED]
    assert fake.submitted == ["bereft", "bereft"]


def test_a_crash_without_any_loss_is_the_models_own(install: Install) -> None:
    fake = install({"bad": [(100, CRASH), (1, None)]}, lost=[100 - 17, 100 + 17])
    assert states(fake) == [State.FAILED]


def test_what_ray_knows_of_a_node_is_believed_at_once(install: Install) -> None:
    fake = install({"bereft": [(100, NODE_DIED), (50, None)]})
    (told, first), (_, last) = run(fake)
    assert (told, first.state, last.state) == (100, State.WAITING, State.FINISHED)


def test_others_are_told_of_while_a_crash_is_not_understood(install: Install) -> None:
    fake = install({"bad": [(100, CRASH)], "good": [(103, None)]})
    told = {change.task.key: (when, change.state) for when, change in run(fake)}
    assert told["good"] == (103, State.FINISHED)
    assert told["bad"][1] is State.FAILED


def test_looks_are_a_second_apart_while_a_crash_is_not_understood(install: Install) -> None:
    fake = install({"bad": [(100, CRASH)]})
    looks = [fake.now for _ in RayLauncher().launch([Task("bad", run)])]
    assert max(b - a for a, b in itertools.pairwise(looks)) <= 1.0


def test_a_task_that_gets_on_is_begun_again_without_limit(tmp_path: Path) -> None:
    work = tmp_path / "train.pt"
    task, retries = Task("made", run, grows=(str(work),)), Retries(2)
    work.touch()
    for seconds in range(1, 10):
        os.utime(work, (seconds, seconds))
        assert retries.grants(task)
    assert retries.grants(task)
    assert not retries.grants(task), "it has stood still three times"
    assert retries.grants(Task("other", run)), "each task is counted for itself"


def test_nodes_may_be_lost_more_than_five_times_if_the_task_gets_on(
    install: Install, tmp_path: Path
) -> None:
    lost: list[tuple[float, Exception | None]] = [(10, NODE_DIED)] * 8
    fake = install({"made": [*lost, (10, None)]})
    work = tmp_path / "train.pt"
    seen = []
    for changes in RayLauncher().launch([Task("made", run, grows=(str(work),))]):
        seen += [change.state for change in changes]
        work.touch()
        os.utime(work, (fake.now, fake.now))
    assert seen == [State.WAITING] * 8 + [State.FINISHED]

    fake = install({"made": [*lost, (10, None)]})
    assert states(fake) == [State.WAITING] * 5 + [State.FAILED]


def test_a_cluster_that_does_not_answer_has_lost_nothing() -> None:
    losses = Losses(15)
    losses.see({"a", "b"}, 0)
    losses.see(set(), 10)
    losses.see({"a", "b"}, 20)
    assert losses.near(12, 40) is False
    losses.see({"a", "c"}, 50)
    assert losses.near(45, 50) is True


def test_a_cluster_without_room_is_waited_for_and_that_is_said(
    install: Install, listening: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install({"one": [(10, None)]}, cpus=0)
    launcher = RayLauncher(listening, cpus=2)
    seen = [c.state for changes in launcher.launch([Task("one", run)]) for c in changes]
    assert seen == [State.FINISHED], "a node has joined meanwhile"
    assert "no node of Ray has the 2 cores and 0 devices" in capsys.readouterr().err
    with pytest.raises(UserError, match="no node of Ray has the 2 cores"):
        list(RayLauncher(cpus=2).launch([Task("one", run)]))


@pytest.fixture
def listening() -> Iterator[str]:
    """An address at which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_doctor_and_a_run_take_the_same_cluster(
    install: Install, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = install()
    for variable, option, used in (
        (listening, None, listening),
        ("127.0.0.1:1", listening, listening),
        ("auto", None, "auto"),
    ):
        monkeypatch.setenv("RAY_ADDRESS", variable)
        fake.addresses.clear()
        *_, check = doctor_cluster.ray(option)
        assert check.level == "ok"
        assert "3 cores" in check.found
        list(RayLauncher(option).launch([]))
        assert fake.addresses == [used, used]


@pytest.mark.parametrize(("variable", "option"), [("", None), ("127.0.0.1:1", "local")])
def test_without_a_cluster_both_mean_this_machine(
    install: Install, monkeypatch: pytest.MonkeyPatch, variable: str, option: str | None
) -> None:
    fake = install()
    monkeypatch.setenv("RAY_ADDRESS", variable)
    *_, check = doctor_cluster.ray(option)
    assert check.found.endswith("a run starts Ray on this machine alone")
    list(RayLauncher(option).launch([]))
    assert fake.addresses == ["local"]


def test_the_variable_is_named_if_nobody_listens_there(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"RAY_ADDRESS=127\.0\.0\.1:1: no Ray cluster there"):
        list(RayLauncher().launch([]))
