"""Tasks are given to Slurm in arrays, none larger than it takes; and what it has taken without
saying so is found.

``sbatch`` may end with an error though Slurm has the array, as when an answer comes too late, and
who submits it may be killed before the answer. So each array has a name, which is kept with its
tasks until its jobs are known, and by which Slurm is asked for them.

submitit: Rapin, Teytaud, https://github.com/facebookincubator/submitit
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genbench.errors import UserError
from genbench.files import read_json, write_json
from genbench.launchers.base import Task
from genbench.launchers.slurm_jobs import WITHOUT_LIMIT, Remote, hand_over
from genbench.launchers.slurm_left import Known
from genbench.launchers.slurm_options import SlurmOptions
from genbench.launchers.slurm_programs import named

__all__ = ["Arrays", "Refused", "half_submitted"]

_OPEN = "submitting.json"

_LATE = 60.0  # seconds after an error in which an array may yet be seen in the queue
_TEMPORARY = re.compile(r"[0-9a-f]{32}\.pkl|\.submission_file_[0-9a-f]{32}\.sh")
"""What submitit renames when Slurm has told it a number."""


class Refused(UserError):
    """Slurm does not take a single task now."""


class Arrays:
    """What is given to Slurm.

    Arguments:
        folder: for scripts, results and output of the jobs.
        options: of each task by its key.
    """

    def __init__(self, folder: Path, options: Callable[[str], SlurmOptions]) -> None:
        self._folder, self._options = folder, options
        self._path = folder / _OPEN
        self._open: dict[str, Sequence[Task]] = {}
        self._since: dict[str, float] = {}

    def submit(self, tasks: Sequence[Task], *, most: int) -> Iterator[dict[str, str]]:
        """Submit tasks, in arrays of equal options; gives the jobs of each array, by the keys of
        their tasks, which must be kept until the next is asked for. What Slurm refuses is submitted
        in smaller arrays, as far as it takes them.

        Arguments:
            tasks: what is submitted.
            most: how many an array has at most.

        Raises:
            Refused: not even one more is taken; those before it are submitted.
            UserError: Slurm does not answer; what it has taken is told by :meth:`late`.
        """
        for parameters, group in _grouped(tasks, self._options):
            yield from self._submit(group, parameters, most)

    def _submit(
        self, group: Sequence[Task], parameters: Mapping[str, Any], size: int
    ) -> Iterator[dict[str, str]]:
        """Submit tasks of equal options."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        while group:
            batch = group[:size]
            name = self._begin(batch)
            try:
                jobs = self._give(name, batch, parameters)
            except (FailedJobError, FailedSubmissionError) as error:
                self._sweep()
                jobs = self._taken(name, batch)
                if not jobs and len(batch) == 1:
                    raise _refused(batch[0], error) from error
            if jobs:
                yield jobs
                self._settle(name)
            else:
                size = len(batch) // 2
            group = [task for task in group if task.key not in jobs]

    def _give(
        self, name: str, batch: Sequence[Task], parameters: Mapping[str, Any]
    ) -> dict[str, str]:
        """The jobs of an array, by the keys of their tasks."""
        import submitit

        executor = submitit.SlurmExecutor(self._folder, max_num_timeout=WITHOUT_LIMIT)
        executor.update_parameters(job_name=name, **parameters)
        with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what its errors say
            jobs = executor.submit_array([Remote(task) for task in batch])
        return {task.key: job.job_id for task, job in zip(batch, jobs, strict=True)}

    def _taken(self, name: str, batch: Sequence[Task]) -> dict[str, str]:
        """What Slurm has taken of an array in spite of an error, handed over; where there is
        nothing, it may be seen later.

        Raises:
            UserError: Slurm does not answer.
        """
        self._since[name] = time.monotonic()
        jobs = self._queued([name]).get(name, {})
        for task in batch:
            if task.key in jobs:
                self.hand_over(jobs[task.key], task)
        return jobs

    def hand_over(self, job: str, task: Task) -> None:
        """Leave for a job that was found in the queue what it is to do."""
        hand_over(self._folder, job, task, minutes=self._options(task.key).time)

    def late(self) -> Iterator[dict[str, str]]:
        """Jobs of each array that was seen in the queue some time after an error, by the keys of
        their tasks, which must be kept until the next is asked for.

        Raises:
            UserError: Slurm does not answer.
        """
        begun = time.monotonic()
        return self._seen(self._queued(list(self._since)), begun)

    def _seen(self, found: Mapping[str, dict[str, str]], now: float) -> Iterator[dict[str, str]]:
        for name, since in list(self._since.items()):
            if name in found:
                yield found[name]
            if name in found or now - since > _LATE:
                self._settle(name)

    def _queued(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """Jobs in the queue by the keys of their tasks, by the names of their arrays."""
        found = named(names) if names else {}
        return {
            name: {self._open[name][_index(job)].key: job for job in jobs}
            for name, jobs in found.items()
        }

    def left(self) -> list[Known]:
        """As :func:`half_submitted`."""
        return half_submitted(self._folder)

    def _begin(self, batch: Sequence[Task]) -> str:
        """Keep what is about to be submitted; returns the name of the array."""
        name = f"genbench-{secrets.token_hex(4)}"
        self._open[name] = batch
        self.keep()
        return name

    def _settle(self, name: str) -> None:
        """Its jobs are known, or there are none."""
        del self._open[name]
        self._since.pop(name, None)
        self.keep()

    def keep(self) -> None:
        """Keep which arrays of this run are open, and none of an earlier one."""
        kept = [
            {"name": name, "tasks": [(task.key, task.fingerprint) for task in tasks]}
            for name, tasks in self._open.items()
        ]
        write_json(self._path, kept)

    def _sweep(self) -> None:
        """Remove what submitit has written for an array that was not taken."""
        for path in self._folder.iterdir():
            if _TEMPORARY.fullmatch(path.name) and not path.is_symlink():
                path.unlink(missing_ok=True)


def _refused(task: Task, error: Exception) -> Refused:
    told = " ".join(str(error).split())
    return Refused(f"Slurm does not take the job of {task.key}: {told}")


def half_submitted(folder: Path) -> list[Known]:
    """What an earlier run was about to submit, and Slurm has in its queue. It is asked only if
    there was any.

    Arguments:
        folder: as of :class:`Arrays`.

    Raises:
        UserError: Slurm does not answer.
    """
    try:
        kept = {str(one["name"]): one["tasks"] for one in read_json(folder / _OPEN)}
    except (OSError, ValueError, TypeError, KeyError):
        return []
    found = []
    for name, jobs in (named(list(kept)) if kept else {}).items():
        for job in jobs:
            key, work = kept[name][_index(job)]
            found.append(Known(str(key), job, str(work)))
    return found


def _index(job: str) -> int:
    """Which of an array a job is; a single task is no array."""
    return int(job.partition("_")[2] or 0)


def _grouped(
    tasks: Sequence[Task], options: Callable[[str], SlurmOptions]
) -> Iterator[tuple[dict[str, Any], list[Task]]]:
    """Tasks of equal options, in their order."""
    groups: dict[str, tuple[dict[str, Any], list[Task]]] = {}
    for task in tasks:
        parameters = options(task.key).parameters()
        label = json.dumps(parameters, sort_keys=True)
        groups.setdefault(label, (parameters, []))[1].append(task)
    yield from groups.values()
