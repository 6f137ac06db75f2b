"""What a job of Slurm does, what it reads, and what it leaves.

submitit: Rapin, Teytaud, https://github.com/facebookincubator/submitit
"""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import Any

from genbench.errors import UserError
from genbench.launchers.base import Task, call, growth
from genbench.processes.signals import announce_end

__all__ = ["MORE_TIME", "WITHOUT_LIMIT", "Remote", "hand_over", "outcome_of"]

MORE_TIME = (
    "ask for more time for it: `time` in the file of --launcher-options, or under `overrides` there"
)
"""What to do about a task that does not get on in its time."""
WITHOUT_LIMIT = 1_000_000
"""Of submitit's own count of time-outs."""

_ATTEMPTS = 2  # without any growth of unfinished work before a task counts as failed


class Remote:
    """What a job calls. submitit pickles it, and again with its state when it is queued anew.

    Arguments:
        task: what it does.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.attempts, self.grown = 0, -1.0

    def __call__(self) -> tuple[int, object]:
        """The exit code of the task, and its result."""
        return call(self.task)

    def checkpoint(self) -> Any:
        """Called by a signal: queue again.

        Raises:
            UserError: the unfinished work has stood still meanwhile, more than once.
        """
        from submitit.helpers import DelayedSubmission

        announce_end()  # submitit calls sys.exit after this
        now = growth(self.task.grows)
        self.attempts = 0 if now > self.grown else self.attempts + 1
        self.grown = now
        if self.attempts < _ATTEMPTS:
            return DelayedSubmission(self)
        raise UserError(
            f"preempted, or out of time, {self.attempts} times without getting on; {MORE_TIME}"
        )


def hand_over(folder: Path, job: str, task: Task, *, minutes: int) -> None:
    """Leave for a job what it is to do, unless that is there: submitit does so when Slurm has told
    it the number of the job, for which that waits a minute.

    Arguments:
        folder: as for :class:`genbench.launchers.slurm_arrays.Arrays`.
        job: its number.
        task: what it is to do.
        minutes: that it has.
    """
    from submitit.core.utils import DelayedSubmission, JobPaths

    paths = JobPaths(folder, job_id=job)
    if paths.submitted_pickle.is_file():
        return
    given = DelayedSubmission(Remote(task))
    given.set_timeout(minutes, WITHOUT_LIMIT)
    beside = folder / f"{secrets.token_hex(16)}.pkl"
    given.dump(beside)
    paths.move_temporary_file(beside, "submitted_pickle")


def outcome_of(folder: Path, job: str) -> tuple[int, object] | str | None:
    """The exit code and the result that a job has left, or why it failed outside of its task;
    None if it has not ended.
    """
    from submitit.core.utils import JobPaths, pickle_load

    path = JobPaths(folder, job_id=job, task_id=0).result_pickle
    if not path.is_file():
        return None
    with contextlib.suppress(EOFError, OSError, ValueError):
        outcome, value = pickle_load(path)
        return (int(value[0]), value[1]) if outcome == "success" else _last_line(value)
    return None


def _last_line(trace: object) -> str:
    """Of a traceback: the error."""
    lines = [line for line in str(trace).splitlines() if line.strip()]
    return lines[-1].strip() if lines else "failed without a word"
