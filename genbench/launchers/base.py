"""The interface of all launchers: tasks in, their states as they change out.

A launcher knows nothing of entries, stages or DVC. It starts a function with its arguments
somewhere, in a fresh process each, and says what became of that.
"""

from __future__ import annotations

import contextlib
import enum
import glob
import os
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from genbench.processes.signals import is_ending

__all__ = ["Change", "Launcher", "Retries", "State", "Task", "call", "growth"]


class State(enum.Enum):
    """What became of a task."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    """Its function has returned."""
    FAILED = "failed"
    """Its process ended otherwise."""

    @property
    def is_last(self) -> bool:
        """Whether no other state follows."""
        return self in (State.FINISHED, State.FAILED)


@dataclass(frozen=True, slots=True)
class Task:
    """A function to be called in a process of its own.

    Attributes:
        key: a name that no other task has.
        work: what is called, a function of a module; it returns what can be pickled.
        arguments, options: what it is called with, values that can be pickled.
        fingerprint: the same for tasks of one key that do the same.
        grows: patterns of files, of which some are replaced as the task gets on; ``~`` and
            variables of the environment of the machine that it runs on are filled in.
    """

    key: str
    work: Callable[..., object]
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    grows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A task that has another state than before.

    Attributes:
        task: which one.
        state: what it is now.
        where: the process, machine or job, in words.
        reason: why it failed, where its process could not leave that itself.
        process: its :func:`genbench.processes.alive.process_id` if it is one of this machine.
        code: how it ended: an exit code, or the negative number of a signal; None where it has not
            or that is not known.
        result: what its function has returned, of one that is finished.
    """

    task: Task
    state: State
    where: str = ""
    reason: str = ""
    process: str = ""
    code: int | None = None
    result: Any = None


def growth(patterns: Sequence[str]) -> float:
    """When the newest file of some patterns was written, in seconds since the epoch; 0 if there is
    none.
    """
    newest = 0.0
    for pattern in patterns:
        for path in glob.glob(os.path.expanduser(os.path.expandvars(pattern))):
            with contextlib.suppress(OSError):
                if os.path.basename(path) != "lock":  # renewed by whoever holds it
                    newest = max(newest, os.stat(path).st_mtime)
    return newest


class Retries:
    """How often tasks are begun again that were lost with what ran them: without limit while their
    unfinished work grows.

    Arguments:
        most: how often without any growth in between.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lost = Counter[str]()
        self._grown: dict[str, float] = {}

    def grants(self, task: Task) -> bool:
        """Take note that a task was lost; whether it is to be begun again."""
        grown = growth(task.grows)
        if grown > self._grown.get(task.key, 0.0):
            self._lost[task.key] = 0
        self._grown[task.key] = grown
        self._lost[task.key] += 1
        return self._lost[task.key] <= self._most


def call(task: Task) -> tuple[int, object]:
    """Call the function of a task; returns its exit code, as a process of its own would have it,
    and its result.

    Raises:
        SystemExit: the process was told to go, so this is not how the task has ended.
    """
    try:
        return 0, task.work(*task.arguments, **task.options)
    except SystemExit as stop:
        if is_ending():
            raise
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        return code, None


class Launcher(Protocol):
    """Starts tasks somewhere.

    Attributes:
        where: what runs them, in words, e.g. ``2 processes``.
        at_once: how many run at once on a machine; 0 where that is not known.
        has_left: whether tasks go on although the launcher was stopped.
    """

    @property
    def where(self) -> str:
        """As above."""

    @property
    def at_once(self) -> int:
        """As above."""

    @property
    def has_left(self) -> bool:
        """As above."""

    def withdraw(self, keys: Sequence[str]) -> None:
        """End what an earlier run has left of tasks of these keys; then nothing of it writes any
        more.

        Raises:
            UserError: some of it goes on.
        """

    def launch(self, tasks: Sequence[Task]) -> Generator[list[Change]]:
        """Run all tasks, those that come first as early as others allow.

        Yields:
            what has changed since the last time, several times a second, with or without changes.
            Closing it stops the tasks.
        """
