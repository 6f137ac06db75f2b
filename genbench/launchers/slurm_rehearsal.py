"""submitit without Slurm: its jobs are processes of this machine. To rehearse what a job does where
there is no cluster, as tests and benchmarks do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from genbench.launchers.base import Task
from genbench.launchers.slurm import SlurmLauncher
from genbench.launchers.slurm_jobs import Remote
from genbench.launchers.slurm_options import SlurmOptions

__all__ = ["SlurmRehearsal"]


class SlurmRehearsal(SlurmLauncher):
    """Runs up to ``jobs`` tasks at once; submitit by itself would start all of them.

    Arguments:
        folder: for scripts, results and output.
        jobs: how many tasks at once.
    """

    programs = ()
    interval = 0.1

    def __init__(self, folder: Path, jobs: int) -> None:
        super().__init__(folder, lambda key: SlurmOptions(), leave=lambda arrays: False)
        self.jobs = jobs
        self._started: dict[str, Any] = {}

    @property
    def where(self) -> str:
        """``submitit here``."""
        return "submitit here"

    @property
    def at_once(self) -> int:
        """As many as there are jobs."""
        return self.jobs

    def room(self, jobs: int) -> int:
        """Up to the number of jobs."""
        return self.jobs - jobs

    def queue(self) -> dict[str, tuple[str, str]]:
        """The processes that live."""
        return {job: ("RUNNING", "here") for job, one in self._started.items() if not one.done()}

    def submit(self, tasks: Sequence[Task]) -> Iterator[dict[str, str]]:
        """Start processes."""
        import submitit

        executor = submitit.LocalExecutor(self.folder, python=sys.executable)
        executor.update_parameters(timeout_min=24 * 60, stderr_to_stdout=True)
        for task in tasks:
            job = executor.submit(Remote(task))
            self._started[job.job_id] = job
            yield {task.key: job.job_id}

    def ending(self, job: str) -> str:
        """Not known."""
        return "which has left no result"

    def cancel(self, jobs: Sequence[str]) -> None:
        """Stop processes."""
        for job in jobs:
            self._started[job].cancel()
