"""Slurm's own programs: what they are asked, and how their answers are read."""

from __future__ import annotations

import importlib.util
import re
import shutil
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
    "check_installed",
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
LOST = ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "TIMEOUT")
"""States in which a job has ended through no fault of its own. That its time is up it is told
beforehand, and is queued again by itself; but not before it has begun, as in its ``setup``.
"""

_ENDING = "COMPLETING"
_ARRAY = 1001  # Slurm's own default of MaxArraySize
_AT_ONCE = 500  # jobs in one command: its line has a limit


def check_installed(programs: Sequence[str]) -> None:
    """Raise UserError unless these programs and submitit are here."""
    for program in programs:
        if shutil.which(program) is None:
            raise UserError(
                f"--launcher slurm: {program} is not on PATH; run this on a machine that submits "
                "jobs, or load its module"
            )
    if importlib.util.find_spec("submitit") is None:
        raise UserError("--launcher slurm needs submitit: pip install 'genbench[slurm]'")


def queue() -> dict[str, tuple[str, str]]:
    """State and node of this user's jobs, an element of an array each, by their number.

    Raises:
        UserError: Slurm does not answer; says what it says.
    """
    return {job: (state, node) for job, state, node in _queued("%i|%T|%N")}


def named(names: Sequence[str]) -> dict[str, list[str]]:
    """The numbers of this user's jobs, an element of an array each, by their name; a name of which
    there is none in the queue is absent.

    Raises:
        UserError: Slurm does not answer; says what it says.
    """
    found = dict[str, list[str]]()
    for job, name in _queued("%i|%j", "--name", ",".join(names)):
        found.setdefault(name, []).append(job)
    return found


def _queued(columns: str, *options: str) -> list[list[str]]:
    """Rows of ``squeue``."""
    done = _run("squeue", "--me", "--noheader", "--array", *options, "--format", columns)
    if done.returncode != 0:
        raise UserError(f"squeue does not answer: {done.stderr.strip()}")
    return [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines()]


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
    """Cancel jobs, elements of arrays each, and no other element.

    Raises:
        UserError: some of them go on; says what Slurm says.
    """
    complaints = []
    for first in range(0, len(jobs), _AT_ONCE):
        done = _run("scancel", *jobs[first : first + _AT_ONCE])
        if done.returncode != 0:
            complaints.append(" ".join(done.stderr.split()))
    if not complaints:
        return
    # It complains of those, too, that have ended meanwhile.
    states = queue()
    left = [job for job in jobs if states.get(job, (_ENDING, ""))[0] != _ENDING]
    if left:
        raise UserError(
            f"{len(left)} jobs are not cancelled, {left[0]} among them: {complaints[0]}"
        )


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
