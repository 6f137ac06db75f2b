"""`.dvc/tmp/rwlock`, in which DVC notes the processes that read and write its outputs: what a kill
leaves there must stop nobody.

DVC cuts the file and writes it anew at every step of a stage, and it trusts a number that stands
there as long as any process has it. Whoever changes it holds DVC's own lock
(:mod:`genbench.pipeline.dvc_quiet`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psutil

from genbench.errors import UserError
from genbench.files import write_json

__all__ = ["holders", "mend", "path_of", "running_dvc"]


def path_of(root: Path) -> Path:
    """Where it is."""
    return root / ".dvc" / "tmp" / "rwlock"


def mend(root: Path) -> str | None:
    """Remove what no living process can have put there, and say so if it could not be read.

    Raises:
        UserError: it cannot be read, and DVC is running here, which knows what stood there.
    """
    path = path_of(root)
    if not path.is_file():
        return None
    named = holders(path)
    if named is None:
        running = running_dvc(root)
        if running:
            raise UserError(
                f"{path} cannot be read, and DVC is running (process "
                f"{', '.join(map(str, running))}): wait for it to end, then run again"
            )
        path.unlink()
        return f"{path} was cut short by a kill, and is removed"
    # DVC would leave out the dead itself, but not one whose number is another process's by now.
    gone = {pid for pid in named if not _holds(pid, path)}
    if gone:
        _leave_out(path, gone)
    return None


def _leave_out(path: Path, gone: set[int]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    write = {key: info for key, info in content.get("write", {}).items() if info["pid"] not in gone}
    read = {}
    for key, infos in content.get("read", {}).items():
        living = [info for info in infos if info["pid"] not in gone]
        if living:
            read[key] = living
    write_json(path, {"read": read, "write": write})


def holders(path: Path) -> set[int] | None:
    """The processes that a rwlock names; None if DVC cannot read it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        readers = [info for infos in content.get("read", {}).values() for info in infos]
        infos: list[Any] = [*content.get("write", {}).values(), *readers]
        if not content.keys() <= {"read", "write"}:
            return None
        if not all(info.keys() == {"pid", "cmd"} for info in infos):
            return None
        if not all(isinstance(info["pid"], int) and isinstance(info["cmd"], str) for info in infos):
            return None
        return {info["pid"] for info in infos}
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return None


def _holds(pid: int, path: Path) -> bool:
    """Whether a process can be the one that put its number into a rwlock: it lives, and is older
    than that file's content.

    What it is called does not matter: DVC can be a part of any program.
    """
    try:
        process = psutil.Process(pid)
        is_older = process.create_time() <= path.stat().st_mtime + 1
        return is_older and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's
        return True


def running_dvc(root: Path) -> list[int]:
    """The processes of DVC that work in a project, or may do so, since the system does not tell
    where: those of other users.
    """
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command, folder = process.info["cmdline"] or [], process.info["cwd"]
        here = folder is None or root.resolve() in (Path(folder), *Path(folder).parents)
        if process.pid != os.getpid() and _is_dvc(command) and here:
            found.append(process.pid)
    return found


def _is_dvc(command: list[str]) -> bool:
    # An interpreter, its options, and what starts it come before.
    return any(Path(part).name == "dvc" for part in command[:5])
