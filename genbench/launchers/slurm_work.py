"""The tasks of a run on Slurm: which of them wait, and which jobs do the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genbench.launchers.base import State, Task
from genbench.launchers.slurm_left import Known, Ledger, Left

__all__ = ["Job", "Work"]


@dataclass(slots=True)
class Job:
    """A job of a task.

    Attributes:
        task: what it does.
        number: its own, or that of an array and of its element.
        state: what was last said of it.
        gone_since: when Slurm first knew it no more, by the monotonic clock.
        is_lost: whether it has ended, and its task is to be submitted again.
    """

    task: Task
    number: str
    state: State = State.WAITING
    gone_since: float | None = None
    is_lost: bool = False


class Work:
    """What is to be done. Which job does what is kept whenever that changes, for the next run.

    Arguments:
        tasks: all of them.
        left: what an earlier run has left of them.
        ledger: where it is kept.

    Attributes:
        waiting: tasks that are to be submitted, in their order.
        jobs: of the others that have not ended, by the keys of their tasks.
    """

    def __init__(self, tasks: Sequence[Task], left: Left, ledger: Ledger) -> None:
        self._others, self._ledger = left.others, ledger
        self.waiting, self.jobs = list(tasks), dict[str, Job]()
        self.take(left.same)

    @property
    def is_done(self) -> bool:
        """Whether all tasks have ended."""
        return not self.waiting and not self.jobs

    @property
    def numbers(self) -> list[str]:
        """Of the jobs."""
        return [job.number for job in self.jobs.values()]

    def take(self, numbers: Mapping[str, str]) -> list[Job]:
        """Slurm has jobs of these numbers, by the keys of their tasks; returns those of tasks that
        have waited till now.
        """
        taken = [Job(task, numbers[task.key]) for task in self.waiting if task.key in numbers]
        self.waiting = [task for task in self.waiting if task.key not in numbers]
        self.jobs |= {job.task.key: job for job in taken}
        self.keep()
        return taken

    def end(self, job: Job) -> None:
        """A job has ended; its task waits again if it is lost."""
        del self.jobs[job.task.key]
        if job.is_lost:
            self.waiting.append(job.task)

    def keep(self) -> None:
        """Keep which job does what; also those that were left of tasks that are not asked for."""
        own = [Known(key, job.number, job.task.fingerprint) for key, job in self.jobs.items()]
        self._ledger.write([*self._others, *own])
