"""What an earlier run has left in the queue of Slurm: which job does which work is kept in a file,
by which the next run takes up again what does the work that it is to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from genbench.files import read_json, write_json
from genbench.launchers.base import Task

__all__ = ["Known", "Ledger", "Left", "sort_out"]


class Known(NamedTuple):
    """A job that was submitted.

    Attributes:
        key: of its task.
        job: its number.
        work: the fingerprint of its task.
    """

    key: str
    job: str
    work: str


class Ledger:
    """The file.

    Arguments:
        path: of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Known]:
        """What was kept; nothing if there is no such file."""
        try:
            kept = read_json(self._path)
            return [Known(key, str(one["job"]), str(one["work"])) for key, one in kept.items()]
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return []

    def write(self, jobs: Iterable[Known]) -> None:
        """Keep these, and no others."""
        write_json(self._path, {one.key: {"job": one.job, "work": one.work} for one in jobs})


@dataclass(frozen=True, slots=True)
class Left:
    """Jobs that are queued or running.

    Attributes:
        same: those that do what is to be done now, by the keys of their tasks.
        outdated: those that do other work for a task than what is to be done now, or what another
            one does.
        others: those of tasks that are not asked for now.
    """

    same: Mapping[str, str]
    outdated: Sequence[str]
    others: Sequence[Known]


def sort_out(known: Iterable[Known], queue: Collection[str], tasks: Sequence[Task]) -> Left:
    """Which of the jobs that are known are left, and for what.

    Arguments:
        known: jobs of an earlier run.
        queue: the numbers of all jobs that are queued or running.
        tasks: what is to be done now.
    """
    asked = {task.key: task.fingerprint for task in tasks}
    same, outdated, others = dict[str, str](), list[str](), list[Known]()
    for one in known:
        if one.job not in queue:
            continue
        if one.key not in asked:
            others.append(one)
        elif one.work != asked[one.key] or same.setdefault(one.key, one.job) != one.job:
            outdated.append(one.job)
    return Left(same, outdated, others)
