"""Slurm's own programs: what they are asked, and how their answers are read."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from genbench.errors import UserError

__all__ = [
    "ALIVE",
    "LOST",
    "PROGRAMS",
    "RUNNING",
    "array_size",
    "cancel",
    "ending",
    "named",
    "queue",
]

PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "srun")
"""What a machine that submits jobs has on its PATH."""
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING")
"""States of a job that has a node."""
ALIVE = (*RUNNING, "PENDING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "RESIZING", "STOPPED")
"""States of a job that is not over."""
LOST = ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED")
"""States in which a job has ended through no fault of its own."""

_ARRAY = 1001  # Slurm's own default of MaxArraySize
_AT_ONCE = 500  # jobs in one command: its line has a limit


def queue() -> dict[str, tuple[str, str]]:
    """State and node of this user's jobs, an element of an array each, by their number.

    Raises:
        UserError: Slurm does not answer; says what it says.
    """
    done = _run("squeue", "--me", "--noheader", "--array", "--format", "%i|%T|%N")
    if done.returncode != 0:
        raise UserError(f"squeue does not answer: {done.stderr.strip()}")
    found = {}
    for line in done.stdout.splitlines():
        job, _, rest = line.partition("|")
        state, _, node = rest.partition("|")
        found[job.strip()] = state.strip(), node.strip()
    return found


def named(name: str) -> list[str]:
    """The numbers of this user's jobs of a name, an element of an array each.

    Raises:
        UserError: Slurm does not answer.
    """
    done = _run("squeue", "--me", "--noheader", "--array", "--name", name, "--format", "%i")
    if done.returncode != 0:
        raise UserError(f"squeue does not answer: {done.stderr.strip()}")
    return done.stdout.split()


def array_size() -> int:
    """The largest array that the cluster takes."""
    done = _run("scontrol", "show", "config")
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    # The largest index is one less.
    return max(1, (int(found[1]) if found else _ARRAY) - 1)


def ending(job: str) -> str:
    """How a job ended, in Slurm's words: ``OUT_OF_MEMORY``."""
    done = _run("scontrol", "--oneliner", "show", "job", job)
    found = re.search(r"\bJobState=(\w+)", done.stdout)
    return found[1] if found else "unknown to Slurm"


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs, elements of arrays each, and no other element."""
    for first in range(0, len(jobs), _AT_ONCE):
        subprocess.run(["scancel", *jobs[first : first + _AT_ONCE]], check=False)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's programs.

    Raises:
        UserError: it has not answered for two minutes, or cannot be run.
    """
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", check=False, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{command[0]} does not answer: {error}") from error
