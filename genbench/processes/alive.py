"""Whether a process still lives, by its number and its start: numbers alone are used again by
others.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

__all__ = ["RUN", "alive", "awaited_by", "process_id"]

RUN = "GENBENCH_RUN"
"""Environment variable of all that `genbench run` starts: its :func:`process_id`."""

_PROC = Path("/proc")
_UNKNOWN = "unknown"
"""In the place of a start where nothing can be learned of processes, since /proc is not mounted:
nobody counts as dead for that.
"""
_SHELLS = (
    "sh",
    "bash",
    "dash",
    "zsh",
    "fish",
    "ksh",
    "ksh93",
    "mksh",
    "csh",
    "tcsh",
    "ash",
    "busybox",
    "nu",
)
_NOTES = Path(".dvc", "tmp", "rwlock")
"""Where DVC notes its number beside the outputs of a stage, before it starts the stage's command.
"""


def process_id(pid: int | None = None) -> str:
    """``number:start`` of a process of this machine, by default of this one; ``number:`` if there
    is none.
    """
    number = os.getpid() if pid is None else pid
    return f"{number}:{_look(number)[0]}"


def alive(process: str) -> bool:
    """Whether the process of that :func:`process_id` runs on this machine; one that has ended and
    was not asked for how does not.

    True where nothing can be learned of processes.
    """
    number, _, start = process.partition(":")
    if not number.isdigit() or start == "":
        return False
    found, ended = _look(int(number))
    return not ended and (found == start or _UNKNOWN in (found, start))


def awaited_by(pid: int) -> list[str]:
    """Who must live for the work of a stage to be wanted, each by its :func:`process_id`.

    Arguments:
        pid: the process that DVC started for the stage, in the project's folder.

    Returns:
        Its parent, DVC itself whatever stands between, and `genbench run`, also if they are gone
        already; nobody outside of DVC.
    """
    if "DVC_STAGE" not in os.environ:
        return []
    above = _above(pid)
    waiting = {above[0][0], *_dvc(above)}
    run = [os.environ[RUN]] if RUN in os.environ else []
    return [process_id(number) for number in sorted(waiting)] + run


def _dvc(above: list[tuple[int, str]]) -> list[int]:
    """The DVC of a stage with these parents: the nearest that has noted itself, or those that have
    and are gone; without notes a shell's parent.
    """
    noted = _noted()
    for number, _ in above:
        if number in noted:
            return [number]
    gone = [number for number in noted if not alive(process_id(number))]
    return gone or ([above[1][0]] if above[0][1] in _SHELLS else [])


def _noted() -> set[int]:
    """The processes of DVC that write outputs here, by DVC's notes; none if it is just writing
    them.
    """
    try:
        return {info["pid"] for info in json.loads(_NOTES.read_bytes())["write"].values()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return set()


def _above(pid: int) -> list[tuple[int, str]]:
    """Number and name of the parent of a process, of that one's parent, and so on; there is at
    least one.
    """
    found = [_parent(pid)]
    while found[-1][0]:
        found.append(_parent(found[-1][0]))
    return found


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
        number = int((_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[1])
        name = (_PROC / str(number) / "comm").read_bytes().decode(errors="replace")
    except OSError:
        return 0, ""
    return number, name.rstrip("\n")


def _look(pid: int) -> tuple[str, bool]:
    """When a process started, in the system's own terms, and whether it has ended; an empty text if
    there is none.
    """
    if sys.platform != "linux":
        import psutil

        try:
            process = psutil.Process(pid)
            return str(process.create_time()), process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return "", True
    try:  # without psutil, which takes its time to import
        content = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return ("", True) if (_PROC / "self" / "stat").exists() else (_UNKNOWN, False)
    fields = content.rpartition(b")")[2].split()  # behind the name, which may hold spaces
    return fields[19].decode(), fields[0] in (b"Z", b"X")
