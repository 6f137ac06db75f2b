"""What can go wrong with files and disks, in words that say what, where and how to mend; and
whether a run has the room that it needs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeGuard

from genbench.errors import UserError

__all__ = [
    "ExplainedError",
    "check_writable",
    "concerns_disk",
    "explain",
    "explained",
    "shortage",
    "told",
]

_FREE = (
    "free some space (`genbench clean` removes checkpoints that no entry needs) and run the "
    "command again"
)
_NO_LOCKS = (
    "its file system has no file locks, or lacks something else; enable them in its mount, "
    "or keep the project on a local disk"
)
_DENIED = "no permission{whose}; change its owner or mode, or run from a folder that is yours"
_HINTS = {
    errno.ENOSPC: f"the disk is full; {_FREE}",
    errno.EDQUOT: f"the disk is full, for your quota is used up; {_FREE}",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: (
        "the file system is read-only; mount it for writing, or work in a copy of the "
        "project elsewhere"
    ),
    errno.EFBIG: (
        "the file would be larger than the system allows; raise the limit (`ulimit -f`), "
        "or use another disk"
    ),
    errno.EIO: (
        "the disk reports a fault; look for it in the system's log, and work on another disk"
    ),
    errno.EMFILE: "too many files are open; raise the limit (`ulimit -n`)",
    errno.EISDIR: "there is a folder in place of the file; move it away",
    errno.ENOTDIR: "there is a file in place of a folder above it; move that away",
    errno.EEXIST: "there is a file in place of a folder; move it away",
    errno.ENOLCK: _NO_LOCKS,
    errno.ENOSYS: _NO_LOCKS,
    errno.EOPNOTSUPP: _NO_LOCKS,
    errno.ESTALE: (
        "the network file system has lost it; run the command again, and mount that file "
        "system anew if this stays"
    ),
    errno.ENAMETOOLONG: (
        "the path is longer than its file system allows; move the project to a "
        "folder with a shorter path"
    ),
}
_SHORT = 100 * 2**20
_TRIAL = 4096


# ---------------------------------------------------------------------- errors


class ExplainedError(OSError):
    """An error of the file system whose text says what could not be done, where, and how to mend
    it.
    """

    def __str__(self) -> str:
        return str(self.strerror)


def concerns_disk(error: BaseException) -> TypeGuard[OSError]:
    """Whether an error is one of the file system for which there is a remedy, and not one of the
    network, say, or a file that is not there.
    """
    return isinstance(error, OSError) and error.errno in _HINTS


def explain(error: OSError, path: Path, doing: str = "write") -> OSError:
    """The same error with what, where and how to mend; one that says so already as it is."""
    if isinstance(error, ExplainedError):
        return error
    end = ". Nothing was left half-written" if doing == "write" else ""
    return ExplainedError(error.errno, f"cannot {doing} {path}: {_hint(error, path)}{end}")


@contextlib.contextmanager
def explained(path: Path, doing: str = "write", *, every: bool = False) -> Iterator[None]:
    """Errors of the file system inside say what could not be done with the file that they name, or
    else with ``path``, and how to mend it.

    Arguments:
        path: the file or folder that is worked on.
        doing: what is done with it.
        every: name the file in errors without a remedy, too.
    """
    try:
        yield
    except OSError as error:
        if every or concerns_disk(error):
            raise explain(error, _place(error) or path, doing) from error
        raise


def told(error: BaseException) -> str:
    """The text of an error; of one of the file system what :func:`explain` says, also where nobody
    has explained it.
    """
    if isinstance(error, ExplainedError) or not concerns_disk(error):
        return str(error)
    place = _place(error)
    return (
        f"{error.strerror}: {_hint(error, None)}"
        if place is None
        else str(explain(error, place, "use"))
    )


def _place(error: OSError) -> Path | None:
    return (
        Path(os.fsdecode(error.filename))
        if isinstance(error.filename, str | bytes | os.PathLike)
        else None
    )


def _hint(error: OSError, path: Path | None) -> str:
    hint = _HINTS.get(error.errno or 0)
    if hint is None:
        return error.strerror or str(error)
    return hint.format(whose="" if path is None else _whose(path))


def _whose(path: Path) -> str:
    """``: it belongs to alice, with mode 755, and this is bob``, of the path or the nearest folder
    above it; empty where that is not known.
    """
    with contextlib.suppress(OSError):
        place = _nearest(path)
        there = place.stat()
        owner, user = _user(there.st_uid), _user(os.geteuid())
        return (
            f": {'it' if place == path else place} belongs to {owner}, with mode "
            f"{there.st_mode & 0o7777:o}, and this is {user}"
        )
    return ""


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _nearest(path: Path) -> Path:
    """The path itself, or the first folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


# ---------------------------------------------------------------------- room


def check_writable(folders: Iterable[Path]) -> None:
    """Raise UserError unless a small file can be written in each of the folders, or above it where
    it is not made yet; names what is in the way.
    """
    for folder in folders:
        try:
            with tempfile.TemporaryFile(dir=_nearest(folder)) as file:
                file.write(bytes(_TRIAL))
                file.flush()
        except OSError as error:
            raise UserError(f"cannot write in {folder}: {_hint(error, folder)}") from error


def shortage(folder: Path) -> str | None:
    """That so little is free on the disk of ``folder`` that a run may have failed for it, and how
    to mend that; else None.
    """
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(folder).free
        if free < _SHORT:
            return (
                f"only {free / 2**20:.0f} MiB are free on the disk of {folder}, which may be "
                f"why: {_FREE}"
            )
    return None
