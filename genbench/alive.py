"""Whether a process still lives, by its number and its start: numbers alone are used again by others."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["RUN", "alive", "awaited_by", "process_id", "run_lives"]

RUN = "GENBENCH_RUN"
"""Environment variable of all that `genbench run` starts: its :func:`process_id`."""

_SHELLS = ("sh", "bash", "dash", "zsh", "fish")


def process_id(pid: int | None = None) -> str:
    """``number:start`` of a process of this machine, by default of this one; ``number:`` if there is none."""
    number = os.getpid() if pid is None else pid
    return f"{number}:{_look(number)[0]}"


def alive(process: str) -> bool:
    """Whether the process of that :func:`process_id` runs on this machine; one that has ended and was not asked for how does not."""
    number, _, start = process.partition(":")
    return number.isdigit() and start != "" and _look(int(number)) == (start, False)


def run_lives() -> bool:
    """False if a `genbench run` has started this process and is gone."""
    return RUN not in os.environ or alive(os.environ[RUN])


def awaited_by(pid: int) -> list[str]:
    """Who must live for the work of a stage to be wanted, each by its :func:`process_id`.

    Arguments:
        pid: the process that DVC started for the stage.

    Returns:
        Its parent, DVC itself where a shell stands between, and `genbench run`; nobody outside of DVC.
    """
    if "DVC_STAGE" not in os.environ:
        return []
    parent, name = _parent(pid)
    waiting = [parent, _parent(parent)[0]] if name in _SHELLS else [parent]
    return [process_id(number) for number in waiting] + ([os.environ[RUN]] if RUN in os.environ else [])


def _parent(pid: int) -> tuple[int, str]:
    """The number and the name of a process's parent, which is 0 if there is none."""
    if sys.platform != "linux":
        import psutil

        try:
            parent = psutil.Process(pid).parent()
            return (0, "") if parent is None else (parent.pid, parent.name())
        except psutil.NoSuchProcess:
            return 0, ""
    try:
        number = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        return number, Path(f"/proc/{number}/comm").read_bytes().decode(errors="replace").rstrip("\n")
    except OSError:
        return 0, ""


def _look(pid: int) -> tuple[str, bool]:
    """When a process started, in the system's own terms, and whether it has ended; an empty text if there is none."""
    if sys.platform != "linux":
        import psutil

        try:
            process = psutil.Process(pid)
            return str(process.create_time()), process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return "", True
    try:  # without psutil, which takes its time to import
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # a name may hold spaces
    except OSError:
        return "", True
    return fields[19].decode(), fields[0] in (b"Z", b"X")
