"""Jobs of a Slurm cluster by submitit, in arrays; the folder of the project is shared by its nodes.

A task is one element of an array. Slurm sends it a signal when it is preempted or its time is
nearly up; it is queued again then, without limit for as long as its unfinished work grows. What
became of a task is told by the file that its job leaves, since many clusters keep no accounts, and
by `squeue`. A job that is queued or running is adopted by the next run, and not submitted again.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from genbench.errors import UserError
from genbench.files import read_json, write_json
from genbench.launchers import slurm_programs
from genbench.launchers.base import Change, State, Task, growth
from genbench.launchers.slurm_jobs import half_submitted, outcome_of, submitted
from genbench.launchers.slurm_options import SlurmOptions
from genbench.processes.signals import undisturbed

__all__ = ["SlurmLauncher"]

_PATIENCE = 600.0  # seconds for Slurm to answer
_TIMES = 5  # that a task is submitted again after such an end


@dataclass(slots=True)
class _Job:
    """A job of a task."""

    task: Task
    number: str
    state: State = State.WAITING
    gone_since: float | None = None
    is_lost: bool = False


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
        for program in self.programs:
            if shutil.which(program) is None:
                raise UserError(
                    f"--launcher slurm: {program} is not on PATH; run this on a machine that "
                    "submits jobs, or load its module"
                )
        try:
            import submitit  # noqa: F401
        except ImportError:
            raise UserError(
                "--launcher slurm needs submitit: pip install 'genbench[slurm]'"
            ) from None
        self.folder, self.options = folder, options
        self.leave, self._left = leave, False
        self._jobs = folder / "jobs.json"
        self._losses = Counter[str]()
        self._grown: dict[str, float] = {}
        self._silent_since: float | None = None
        self._others: dict[str, tuple[str, str]] = {}
        self._has_been_refused, self._most = False, 0

    interval = 2.0
    """Seconds between two looks at the queue."""
    grace = 30.0
    """Seconds for a file to be seen over a network file system."""

    @property
    def where(self) -> str:
        """``Slurm``."""
        return "Slurm"

    @property
    def has_left(self) -> bool:
        """Whether jobs are left in the queue."""
        return self._left

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
        jobs = self._adopted(tasks)
        waiting = deque(task for task in tasks if task.key not in jobs)
        try:
            while jobs or waiting:
                if waiting and self.room(len(jobs)) > 0:
                    self._submit_some(waiting, jobs)
                queue = self._answer()
                changes = []
                for job in list(jobs.values()):
                    if queue is None:
                        break
                    change = self._look(job, *queue.get(job.number, ("", "")))
                    if change is not None:
                        changes.append(change)
                        job.state = change.state
                        if change.state.is_last:
                            del jobs[job.task.key]
                        elif change.state is State.WAITING and job.is_lost:
                            waiting.append(job.task)
                yield changes
                if jobs or waiting:
                    time.sleep(self.interval)
        except UserError:
            self._stopped([job.number for job in jobs.values()], leave=True)
            raise
        except BaseException:
            self._stopped([job.number for job in jobs.values()])
            raise
        finally:
            self._keep(jobs)

    def _look(self, job: _Job, state: str, node: str) -> Change | None:
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
        job.is_lost = ending in slurm_programs.LOST and self._may_go_on(job.task)
        return Change(job.task, State.WAITING if job.is_lost else State.FAILED, where, reason)

    def _may_go_on(self, task: Task) -> bool:
        """Whether a task that was lost is to be submitted again: it has got on, or has not been
        lost too often.
        """
        grown = growth(task.grows)
        if grown > self._grown.get(task.key, 0.0):
            self._losses[task.key] = 0
        self._grown[task.key] = grown
        self._losses[task.key] += 1
        return self._losses[task.key] <= _TIMES

    def _answer(self) -> dict[str, tuple[str, str]] | None:
        """The queue; None while Slurm does not answer, which is waited for.

        Raises:
            UserError: it has not for ten minutes.
        """
        try:
            found = self.queue()
        except UserError as error:
            if self._silent_since is None:
                print(f"{error}; waiting for it", file=sys.stderr, flush=True)
                self._silent_since = time.monotonic()
            if time.monotonic() - self._silent_since > _PATIENCE:
                raise
            return None
        self._silent_since = None
        return found

    def _adopted(self, tasks: Sequence[Task]) -> dict[str, _Job]:
        """The jobs of an earlier run that are queued or running still, by the key of their task;
        those that do other work than what is to be done now are cancelled.
        """
        known, queue = self._known() | half_submitted(self.folder), self.queue()
        found, other = dict[str, _Job](), []
        for task in tasks:
            number, work = known.get(task.key, ("", ""))
            if number in queue and work == task.fingerprint:
                found[task.key] = _Job(task, number)
            elif number in queue:
                other.append(number)
        if other:
            print(f"{len(other)} jobs of an earlier run are out of date: cancelled", flush=True)
            self.cancel(other)
        if found:
            told = f"{len(found)} jobs of an earlier run are queued or running: they go on"
            print(told, flush=True)
        # Those of other tasks are kept in mind as long as they are queued.
        keys = {task.key for task in tasks}
        self._others = {
            key: one for key, one in known.items() if key not in keys and one[0] in queue
        }
        return found

    def _known(self) -> dict[str, tuple[str, str]]:
        """Job and work by key, as they were kept."""
        try:
            kept = read_json(self._jobs)
            return {key: (str(one["job"]), str(one["work"])) for key, one in kept.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def _keep(self, jobs: Mapping[str, _Job]) -> None:
        """Keep which job does what, for the next run."""
        own = {key: (job.number, job.task.fingerprint) for key, job in jobs.items()}
        kept = {
            key: {"job": job, "work": work} for key, (job, work) in (self._others | own).items()
        }
        write_json(self._jobs, kept)

    def _submit_some(self, waiting: deque[Task], jobs: dict[str, _Job]) -> None:
        """Submit the tasks that there is room for, an array after the other, and keep in mind which
        job does what; those that Slurm does not take now wait for jobs to end.

        Raises:
            UserError: Slurm takes none, and there is no job to wait for.
        """
        taken = [waiting.popleft() for _ in range(min(self.room(len(jobs)), len(waiting)))]
        by_key = {task.key: task for task in taken}
        try:
            with undisturbed():
                for numbers in self.submit(taken):
                    for key, number in numbers.items():
                        jobs[key] = _Job(by_key.pop(key), number)
                    self._keep(jobs)
        except UserError as error:
            if not jobs:
                raise
            if not self._has_been_refused:
                told = f"{error}; {len(by_key)} wait until others have ended"
                print(told, file=sys.stderr, flush=True)
                self._has_been_refused = True
            waiting.extendleft(reversed(by_key.values()))

    def room(self, jobs: int) -> int:
        """How many more tasks may be submitted beside so many jobs: all; once Slurm has refused
        some, as many as it took, when half of these have ended.
        """
        if not self._has_been_refused:
            return sys.maxsize
        self._most = self._most or jobs
        return self._most - jobs if jobs <= self._most // 2 else 0

    def queue(self) -> dict[str, tuple[str, str]]:
        """State and node of this user's jobs, an element of an array each, by their number.

        Raises:
            UserError: Slurm does not answer.
        """
        return slurm_programs.queue()

    def submit(self, tasks: Sequence[Task]) -> Iterator[dict[str, str]]:
        """Submit tasks; gives the jobs of each array, by the keys of their tasks."""
        return submitted(self.folder, tasks, self.options, most=slurm_programs.array_size())

    def ending(self, job: str) -> str:
        """How a job ended that has left no result: ``OUT_OF_MEMORY``."""
        return slurm_programs.ending(job)

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel jobs, elements of arrays each, and no other element."""
        slurm_programs.cancel(jobs)

    def _stopped(self, jobs: Sequence[str], *, leave: bool = False) -> None:
        """Leave jobs or cancel them, and say so."""
        arrays = _arrays(jobs)
        if not arrays:
            return
        self._left = leave or self.leave(arrays)
        if self._left:
            told = f"the jobs go on; `scancel {' '.join(arrays)}` would cancel them"
        else:
            self.cancel(jobs)
            told = f"cancelled: {len(jobs)} jobs of {' '.join(arrays)}"
        print(told, file=sys.stderr, flush=True)


def _arrays(jobs: Sequence[str]) -> list[str]:
    """The numbers of arrays, of which jobs are elements."""
    return sorted({job.partition("_")[0] for job in jobs})
