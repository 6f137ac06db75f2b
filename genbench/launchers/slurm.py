"""Jobs of a Slurm cluster by submitit, in arrays; the folder of the project is shared by its nodes.

A task is one element of an array. Slurm sends it a signal when it is preempted or its time is
nearly up; it is queued again then, without limit for as long as its unfinished work grows. What
became of a task is told by the file that its job leaves, since many clusters keep no accounts, and
by `squeue`. A job that is queued or running is adopted by the next run, and not submitted again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from genbench.errors import UserError
from genbench.launchers import slurm_programs
from genbench.launchers.base import Change, State, Task
from genbench.launchers.slurm_arrays import Arrays, Refused
from genbench.launchers.slurm_jobs import outcome_of
from genbench.launchers.slurm_left import Ledger, sort_out
from genbench.launchers.slurm_losses import Losses
from genbench.launchers.slurm_options import SlurmOptions
from genbench.launchers.slurm_room import Room
from genbench.launchers.slurm_work import Job, Work
from genbench.processes.signals import undisturbed

__all__ = ["SlurmLauncher"]

_PATIENCE = 600.0  # seconds for Slurm to answer


class SlurmLauncher:
    """Submits tasks to Slurm, and waits for them.

    Arguments:
        folder: shared by the nodes; scripts, results and output of jobs are kept there.
        options: of each task by its key.
        leave: asked when the run is stopped: whether to leave the jobs.

    Raises:
        UserError: submitit or Slurm are not installed here.
    """

    programs: ClassVar[tuple[str, ...]] = slurm_programs.PROGRAMS

    def __init__(
        self,
        folder: Path,
        options: Callable[[str], SlurmOptions],
        *,
        leave: Callable[[Sequence[str]], bool],
    ) -> None:
        slurm_programs.check_installed(self.programs)
        self.folder, self.leave, self._has_left = folder, leave, False
        self._arrays, self._ledger = Arrays(folder, options), Ledger(folder / "jobs.json")
        self._losses, self._room = Losses(), Room()
        self._silent_since: float | None = None

    interval = 2.0
    """Seconds between two looks at the queue."""
    grace = 30.0
    """Seconds for a file to be seen over a network file system."""
    dying = 120.0
    """Seconds for jobs that are cancelled to end."""

    @property
    def where(self) -> str:
        """``Slurm``."""
        return "Slurm"

    @property
    def has_left(self) -> bool:
        """Whether jobs are left in the queue."""
        return self._has_left

    @property
    def at_once(self) -> int:
        """The cluster decides."""
        return 0

    def launch(self, tasks: Sequence[Task]) -> Generator[list[Change]]:
        """As :class:`genbench.launchers.base.Launcher` says; when it is stopped, the jobs are left
        or cancelled as ``leave`` says.

        Raises:
            UserError: Slurm takes no job, or has not answered for ten minutes; the jobs are left.
        """
        work = self._begun(tasks)
        try:
            while not work.is_done:
                queue, changes = self._answer(work), list[Change]()
                if queue is not None:
                    changes = self._looked(queue, work)
                    self._submit_some(work)
                yield changes
                if not work.is_done:
                    time.sleep(self.interval)
        except UserError:
            self._stopped(work, leave=True)
            raise
        except BaseException:
            self._stopped(work)
            raise
        finally:
            work.keep()

    def withdraw(self, keys: Sequence[str]) -> None:
        """As :class:`genbench.launchers.base.Launcher` says.

        Raises:
            UserError: Slurm does not answer or does not cancel them, or they do not end.
        """
        known = [*self._ledger.read(), *self._arrays.left()]
        jobs = {one.job for one in known if one.key in keys} & self.queue().keys()
        if not jobs:
            return
        self.cancel(sorted(jobs))
        print(f"{len(jobs)} jobs of an earlier run are cancelled", flush=True)
        deadline = time.monotonic() + self.dying
        while left := jobs & self.queue().keys():
            if time.monotonic() > deadline:
                raise UserError(
                    f"{len(left)} jobs are cancelled, {min(left)} among them, and have not ended "
                    f"{self.dying:.0f} s later; run again when squeue does not show them any more"
                )
            time.sleep(self.interval)

    def _begun(self, tasks: Sequence[Task]) -> Work:
        """The work, of which jobs of an earlier run that are queued or running still go on; those
        that do other work for a task than what is to be done now are cancelled.

        Raises:
            UserError: Slurm does not answer, or does not cancel them.
        """
        known = [*self._ledger.read(), *self._arrays.left()]
        left = sort_out(known, self.queue(), tasks)
        if left.outdated:
            self.cancel(left.outdated)
            told = f"{len(left.outdated)} jobs of an earlier run are out of date: cancelled"
            print(told, flush=True)
        if left.same:
            told = f"{len(left.same)} jobs of an earlier run are queued or running: they go on"
            print(told, flush=True)
        work = Work(tasks, left, self._ledger)
        for job in work.jobs.values():
            self._arrays.hand_over(job.number, job.task)
        self._arrays.keep()
        return work

    def _looked(self, queue: Mapping[str, tuple[str, str]], work: Work) -> list[Change]:
        """What is new about all jobs."""
        changes = []
        for job in list(work.jobs.values()):
            change = self._look(job, *queue.get(job.number, ("", "")))
            if change is not None:
                changes.append(change)
                job.state = change.state
                if change.state.is_last or job.is_lost:
                    work.end(job)
        return changes

    def _look(self, job: Job, state: str, node: str) -> Change | None:
        """What is new about a job.

        Arguments:
            job: the job.
            state: of it, by Slurm; empty if that does not know it.
            node: where it runs.
        """
        where, outcome = f"job {job.number}", outcome_of(self.folder, job.number)
        if isinstance(outcome, str):
            return Change(job.task, State.FAILED, where, f"{where}: {outcome}")
        if outcome is not None:
            code, result = outcome
            ended = State.FINISHED if code == 0 else State.FAILED
            reason = "" if code == 0 else f"{where} ended with exit code {code}"
            return Change(job.task, ended, where, reason, code=code, result=result)
        if state:
            job.gone_since = None
            now = State.RUNNING if state in slurm_programs.RUNNING else State.WAITING
            place = f"{where} on {node}" if node else where
            return None if now is job.state else Change(job.task, now, place)
        job.gone_since = job.gone_since or time.monotonic()
        if time.monotonic() - job.gone_since < self.grace:
            return None
        ending = self.ending(job.number)
        if ending in slurm_programs.ALIVE:  # squeue has not told
            return None
        reason = f"{where} ended as {ending}, and left no result"
        job.is_lost = self._losses.may_go_on(job.task, ending)
        if job.is_lost:
            return Change(job.task, State.WAITING, where, reason)
        reason += self._losses.explained(job.task, ending)
        return Change(job.task, State.FAILED, where, reason)

    def _answer(self, work: Work) -> dict[str, tuple[str, str]] | None:
        """The queue; None while Slurm does not answer, which is waited for. What it has taken
        without saying so waits no more, and is cancelled if it was submitted again meanwhile.

        Raises:
            UserError: it has not for ten minutes.
        """
        try:
            found = self.queue()
            for numbers in self._arrays.late():
                for job in work.take(numbers):
                    self._arrays.hand_over(job.number, job.task)
                self.cancel(sorted({*numbers.values()}.difference(work.numbers)))
        except UserError as error:
            if self._silent_since is None:
                print(f"{error}; trying again", file=sys.stderr, flush=True)
                self._silent_since = time.monotonic()
            if time.monotonic() - self._silent_since > _PATIENCE:
                raise
            return None
        self._silent_since = None
        return found

    def _submit_some(self, work: Work) -> None:
        """Submit the tasks that there is room for, an array after the other; those that Slurm does
        not take now wait for jobs to end.

        Raises:
            UserError: Slurm takes none, and there is no job to wait for.
        """
        some = work.waiting[: max(0, self.room(len(work.jobs)))]
        if not some:
            return
        try:
            with undisturbed():
                for numbers in self.submit(some):
                    work.take(numbers)
        except Refused as error:
            if self._room.note_refused(error, len(work.jobs)):
                told = f"{error}; {len(work.waiting)} wait until others have ended"
                print(told, file=sys.stderr, flush=True)
        except UserError as error:  # what it has taken is seen as soon as it answers
            print(f"{error}; trying again", file=sys.stderr, flush=True)
        else:
            self._room.note_taken(len(work.jobs))

    def room(self, jobs: int) -> int:
        """How many more tasks may be submitted beside so many jobs."""
        return self._room.beside(jobs)

    def queue(self) -> dict[str, tuple[str, str]]:
        """State and node of this user's jobs, an element of an array each, by their number.

        Raises:
            UserError: Slurm does not answer.
        """
        return slurm_programs.queue()

    def submit(self, tasks: Sequence[Task]) -> Iterator[dict[str, str]]:
        """Submit tasks; gives the jobs of each array, by the keys of their tasks.

        Raises:
            Refused: Slurm does not take one more.
            UserError: Slurm does not answer.
        """
        return self._arrays.submit(tasks, most=slurm_programs.array_size())

    def ending(self, job: str) -> str:
        """How a job ended that has left no result: ``OUT_OF_MEMORY``."""
        return slurm_programs.ending(job)

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel jobs, elements of arrays each, and no other element.

        Raises:
            UserError: some go on.
        """
        slurm_programs.cancel(jobs)

    def _stopped(self, work: Work, *, leave: bool = False) -> None:
        """Leave jobs or cancel them, and say so; those that are cancelled are known no more."""
        arrays = sorted({number.partition("_")[0] for number in work.numbers})
        if not arrays:
            return
        self._has_left = leave or self.leave(arrays)
        told = f"the jobs go on; `scancel {' '.join(arrays)}` would cancel them"
        if not self._has_left:
            try:
                self.cancel(work.numbers)
                told = f"cancelled: {len(work.jobs)} jobs of {' '.join(arrays)}"
                work.jobs.clear()
            except UserError as error:
                self._has_left, told = True, f"{error}; {told}"
        print(told, file=sys.stderr, flush=True)
