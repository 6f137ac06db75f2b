"""What a job of Slurm does, how submitit submits it, and what it leaves.

submitit: Rapin, Teytaud, https://github.com/facebookincubator/submitit
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from genbench.errors import UserError
from genbench.files import read_json, write_json
from genbench.launchers.base import Task, call, growth
from genbench.launchers.slurm_options import SlurmOptions
from genbench.launchers.slurm_programs import named
from genbench.processes.signals import announce_end

__all__ = ["Remote", "half_submitted", "outcome_of", "submitted"]

_SUBMITTING = "submitting.json"
_ATTEMPTS = 2  # without any growth of unfinished work before a task counts as failed
_WITHOUT_LIMIT = 1_000_000  # of submitit's own count of timeouts


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
            f"preempted, or out of time, {self.attempts} times without getting on; ask for more "
            "time for it: `time` in the file of --launcher-options, or under `overrides` there"
        )


def submitted(
    folder: Path, tasks: Sequence[Task], options: Callable[[str], SlurmOptions], *, most: int
) -> Iterator[dict[str, str]]:
    """Submit tasks, in arrays of equal options; gives the jobs of each array, by the keys of their
    tasks. Which array is being submitted is kept until the next one is asked for, for
    :func:`half_submitted`.

    Arguments:
        folder: for scripts, results and output of the jobs.
        tasks: what is submitted.
        options: of each task by its key.
        most: how many tasks an array has at most.

    Raises:
        UserError: Slurm takes no job of an array; those before it are submitted.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    for parameters, group in _grouped(tasks, options):
        for first in range(0, len(group), most):
            batch = group[first : first + most]
            name = f"genbench-{secrets.token_hex(4)}"
            write_json(folder / _SUBMITTING, {"name": name, "tasks": [_work(t) for t in batch]})
            executor = submitit.SlurmExecutor(folder, max_num_timeout=_WITHOUT_LIMIT)
            executor.update_parameters(job_name=name, **parameters)
            try:
                jobs = executor.submit_array([Remote(task) for task in batch])
            except (FailedJobError, FailedSubmissionError) as error:
                whose = ", ".join(task.key for task in batch[:3])
                told = " ".join(str(error).split())
                raise UserError(
                    f"Slurm does not take the jobs of {whose} and so on, {len(batch)} in all: "
                    f"{told}; change --launcher-options"
                ) from error
            yield {task.key: job.job_id for task, job in zip(batch, jobs, strict=True)}
            (folder / _SUBMITTING).unlink()


def half_submitted(folder: Path) -> dict[str, tuple[str, str]]:
    """Job and work by the keys of tasks whose submission was cut short, as by a kill: what Slurm
    has taken of it and has in its queue.

    Raises:
        UserError: Slurm does not answer.
    """
    path = folder / _SUBMITTING
    if not path.is_file():
        return {}
    kept = read_json(path)
    found = {}
    for number in named(str(kept["name"])):
        # A single task is no array.
        _, _, index = number.partition("_")
        key, work = kept["tasks"][int(index or 0)]
        found[str(key)] = number, str(work)
    return found


def _work(task: Task) -> tuple[str, str]:
    return task.key, task.fingerprint


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
