"""Jobs of Slurm that a run has left in its queue: for those who look how far the run is, and for
the next run, which must not do their work beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.errors import UserError
from genbench.launchers import slurm_programs
from genbench.launchers.slurm_arrays import half_submitted
from genbench.launchers.slurm_left import Ledger

__all__ = ["LeftJobs", "left_jobs"]


@dataclass(frozen=True, slots=True)
class LeftJobs:
    """Jobs of Slurm that a run has left.

    Attributes:
        numbers: of each job, an element of an array, by the entry that it does.
        silence: why Slurm cannot be asked; then these are the jobs of which the run knew last.
            Empty if Slurm itself says that they are queued or running.
    """

    numbers: Mapping[str, str] = field(default_factory=dict)
    silence: str = ""

    @property
    def arrays(self) -> list[str]:
        """The numbers of the arrays, by which all of them are cancelled."""
        return sorted({number.partition("_")[0] for number in self.numbers.values()})

    def of(self, entries: Collection[str]) -> LeftJobs:
        """Those that do some of these entries."""
        numbers = {entry: job for entry, job in self.numbers.items() if entry in entries}
        return replace(self, numbers=numbers)

    def without(self, ended: Collection[str]) -> LeftJobs:
        """Without those of entries that have ended, unless Slurm knows better."""
        others = [entry for entry in self.numbers if entry not in ended]
        return self.of(others) if self.silence else self

    def told(self) -> str:
        """``3 jobs of it are queued or running``; empty if there are none."""
        number = len(self.numbers)
        if not number:
            return ""
        jobs = "1 job" if number == 1 else f"{number} jobs"
        if self.silence:
            return f"{jobs} of it may be queued or running ({self.silence})"
        return f"{jobs} of it {'is' if number == 1 else 'are'} queued or running"


def left_jobs(params: Params) -> LeftJobs:
    """The jobs that runs of a profile have submitted, or were about to, and Slurm has in its queue.
    It is asked only if there were any.
    """
    folder = Layout.of(params).slurm
    kept = {one.key: one.job for one in Ledger(folder / "jobs.json").read()}
    try:
        queue = slurm_programs.queue() if kept else {}
        half = {one.key: one.job for one in half_submitted(folder)}
    except UserError as error:
        return LeftJobs(kept, str(error))
    # One that is completing has done its work.
    live = {job for job, (state, _) in queue.items() if state != "COMPLETING"}
    return LeftJobs(half | {entry: job for entry, job in kept.items() if job in live})
