"""Processes of this machine, a fresh one for each task, forked from one that has imported the
libraries: so peak memory, freed memory and a crash belong to one task, and none waits for imports.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from genbench.launchers.base import Change, State, Task
from genbench.processes.alive import process_id
from genbench.processes.tether import PARENT, end_with

__all__ = ["LocalLauncher"]

_LIBRARIES = [
    "genbench.processes.with_parent",
    "torch",
    "torch._dynamo",
    "safetensors.torch",
    "scipy.linalg",
    "pandas",
    "PIL.Image",
    "ruamel.yaml",
    "yaml",
    "psutil",
    "torch_fidelity",
]
"""What is imported before the first fork; of genbench nothing that computes, so that each task has
the sources of the time when it starts.
"""
_INTERVAL = 0.25  # seconds between two looks
_PATIENCE = 10.0  # seconds for a task to end when it is asked to


@dataclass(slots=True)
class _Running:
    """A task at work."""

    task: Task
    process: ForkServerProcess
    identity: str
    answers: Connection
    own: Mapping[str, str]
    result: Any = None


class LocalLauncher:
    """Runs up to ``jobs`` tasks at once.

    Arguments:
        jobs: how many.
        environments: variables of the environment, such as the device that a task is to use; each
            set of them belongs to no more than one task at a time. There are none, or as many as
            there are jobs.
        preload: modules that each task has imported already.
    """

    def __init__(
        self,
        jobs: int,
        *,
        environments: Sequence[Mapping[str, str]] = (),
        preload: Sequence[str] = _LIBRARIES,
    ) -> None:
        self.jobs, self.preload = jobs, list(preload)
        self.environments = list(environments) or [{} for _ in range(jobs)]

    @property
    def where(self) -> str:
        """``one process``, ``2 processes``."""
        return "one process" if self.jobs == 1 else f"{self.jobs} processes"

    @property
    def has_left(self) -> bool:
        """No."""
        return False

    @property
    def at_once(self) -> int:
        """As many as there are jobs."""
        return self.jobs

    def withdraw(self, keys: Sequence[str]) -> None:
        """Nothing is left: tasks end with their run."""

    def launch(self, tasks: Sequence[Task]) -> Generator[list[Change]]:
        """As :class:`genbench.launchers.base.Launcher` says. When it is stopped, the tasks are sent
        SIGTERM, and SIGKILL if they have not ended ten seconds later; when this process is killed,
        so are they.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(self.preload)
        waiting, running = deque(tasks), dict[int, _Running]()
        free = list(self.environments)
        try:
            while waiting or running:
                changes = []
                while waiting and len(running) < self.jobs:
                    begun = _begin(context, waiting.popleft(), free.pop(0))
                    running[begun.process.sentinel] = begun
                    where = f"process {begun.process.pid}"
                    changes.append(Change(begun.task, State.RUNNING, where, process=begun.identity))
                if changes:
                    yield changes
                    changes = []
                for sentinel in _ended(running):
                    over = running.pop(sentinel)
                    free.append(over.own)
                    changes.append(_change(over))
                yield changes
        finally:
            _stop(list(running.values()))


def _begin(context: ForkServerContext, task: Task, own: Mapping[str, str]) -> _Running:
    answers, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(task, dict(own), theirs), name=task.key)
    os.environ[PARENT] = str(os.getpid())  # for the forking process, which the first start starts
    process.start()
    theirs.close()
    return _Running(task, process, process_id(process.pid), answers, own)


def _ended(running: Mapping[int, _Running]) -> list[int]:
    """Wait a moment; the sentinels of the processes that have ended. Results are received on the
    way, for a process does not end before a large one is taken.
    """
    by_pipe = {one.answers: one for one in running.values() if not one.answers.closed}
    ready = connection.wait([*running, *by_pipe], timeout=_INTERVAL)
    for one in running.values():
        if one.answers in ready or one.process.sentinel in ready:
            _receive(one)
    return [sentinel for sentinel in running if sentinel in ready]


def _receive(one: _Running) -> None:
    """Take the result if there is one."""
    if not one.answers.closed:
        with contextlib.suppress(EOFError, OSError), one.answers:
            if one.answers.poll():
                one.result = one.answers.recv()


def _change(over: _Running) -> Change:
    over.process.join()
    code = over.process.exitcode or 0
    over.process.close()
    if code == 0:
        return Change(over.task, State.FINISHED, "", "", over.identity, code, over.result)
    reason = f"its process ended with {f'exit code {code}' if code > 0 else f'signal {-code}'}"
    return Change(over.task, State.FAILED, "", reason, over.identity, code)


def _work(task: Task, own: Mapping[str, str], answers: Connection) -> None:
    """What a process does."""
    end_with(os.getppid())  # the forking process, which lives as long as any task
    threading.Thread(target=_end_with_run, daemon=True).start()
    # A terminal's Ctrl-C is for the run, which stops its tasks in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ValueError):
        sys.stdin = open(os.devnull, encoding="utf-8")
    os.environ.update(own)
    answers.send(task.work(*task.arguments, **task.options))


def _end_with_run() -> None:
    """End this process when the one that has launched it has ended."""
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _stop(running: Sequence[_Running]) -> None:
    deadline = time.monotonic() + _PATIENCE
    for one in running:
        one.answers.close()
        one.process.terminate()
    for one in running:
        one.process.join(max(0.0, deadline - time.monotonic()))
        if one.process.is_alive():
            one.process.kill()
            one.process.join()
        one.process.close()
