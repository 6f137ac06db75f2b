"""What launchers cost by themselves: tasks that do nothing, with the libraries preloaded; and that
submitit, which by itself would start all of its processes at once, has no more of them than asked.

Writes benchmarks/results/launcher.json: milliseconds for each task of the local launcher, against
the limit of 50, and the memory of the process that launches after the first hundred and at the end;
seconds of the tasks by submitit, and how many were at work at once at most.

    python -m benchmarks.launcher [--tasks 10000] [--jobs 2] [--submitit 100]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.common import publish
from genbench.launchers.base import State, Task
from genbench.launchers.local import LocalLauncher
from genbench.launchers.slurm_rehearsal import SlurmRehearsal

LIMIT_MS = 50.0


def nothing() -> None:
    """What each task does."""


def note(folder: str, key: str) -> int:
    """How many tasks are at work, this one among them."""
    own = Path(folder, key)
    own.touch()
    time.sleep(0.2)
    number = len(list(Path(folder).iterdir()))
    own.unlink()
    return number


def local(tasks: int, jobs: int) -> dict[str, object]:
    """Tasks that do nothing, by the local launcher."""
    launcher, own = LocalLauncher(jobs), psutil.Process()
    # The first task waits for the libraries.
    for _ in launcher.launch([Task("first", nothing)]):
        pass
    done, memory = 0, []
    begun = time.perf_counter()
    for changes in launcher.launch([Task(str(i), nothing) for i in range(tasks)]):
        before = done
        done += sum(change.state is State.FINISHED for change in changes)
        if before < 100 <= done or done == tasks:
            memory.append(own.memory_info().rss / 1e6)
    milliseconds = 1000 * (time.perf_counter() - begun) / tasks
    if done != tasks:
        raise SystemExit(f"{tasks - done} tasks failed")
    return {
        "tasks": tasks,
        "jobs": jobs,
        "ms_per_task": milliseconds,
        "limit_ms": LIMIT_MS,
        "memory_mb": [memory[0], memory[-1]],
    }


def by_submitit(tasks: int, jobs: int) -> dict[str, object]:
    """Tasks by submitit without a cluster."""
    with tempfile.TemporaryDirectory() as folder:
        running = Path(folder, "running")
        running.mkdir()
        launcher = SlurmRehearsal(Path(folder, "jobs"), jobs)
        begun, most = time.perf_counter(), []
        work = [Task(str(i), note, (str(running), str(i))) for i in range(tasks)]
        for changes in launcher.launch(work):
            most += [change.result for change in changes if change.state is State.FINISHED]
    if len(most) != tasks or max(most) > jobs:
        raise SystemExit(f"{len(most)} of {tasks} tasks ended well, up to {max(most)} at once")
    seconds = time.perf_counter() - begun
    return {"tasks": tasks, "jobs": jobs, "seconds": seconds, "most_at_once": max(most)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--submitit", type=int, default=100)
    options = parser.parse_args(arguments)
    result = {
        "local": local(options.tasks, options.jobs),
        "submitit": by_submitit(options.submitit, options.jobs),
    }
    rows = [
        [name, ", ".join(f"{k} {v}" for k, v in found.items())] for name, found in result.items()
    ]
    publish("launcher", ["launcher", "found"], rows, result)


if __name__ == "__main__":
    main()
