"""How often a task is submitted again whose job has ended without a result, through no fault of its
own.
"""

from __future__ import annotations

from collections import Counter

from genbench.launchers.base import Task, growth
from genbench.launchers.slurm_jobs import MORE_TIME
from genbench.launchers.slurm_programs import LOST

__all__ = ["Losses"]

_TIMES = 5  # without any growth of unfinished work before a task counts as failed
_TIMES_OUT = 2  # the same if its time was up, of which each has cost all that it was given


class Losses:
    """What is known of the losses of each task."""

    def __init__(self) -> None:
        self._times = Counter[str]()
        self._grown: dict[str, float] = {}

    def may_go_on(self, task: Task, ending: str) -> bool:
        """Whether a task is to be submitted again: it has got on since its last loss, or has not
        been lost too often.

        Arguments:
            task: it.
            ending: how its job has ended, in Slurm's words.
        """
        if ending not in LOST:
            return False
        grown = growth(task.grows)
        stood = grown <= self._grown.get(task.key, -1.0)
        self._times[task.key] = self._times[task.key] + 1 if stood else 0
        self._grown[task.key] = grown
        return self._times[task.key] < (_TIMES_OUT if ending == "TIMEOUT" else _TIMES)

    def explained(self, task: Task, ending: str) -> str:
        """What is to be said of a task that is not submitted again; empty if there is nothing."""
        if ending != "TIMEOUT":
            return ""
        return f", {self._times[task.key]} times without getting on; {MORE_TIME}"
