"""One process at a time: a lock file whose holder shows that it lives, so that others wait for as
long as it does, and no longer.

The lock is POSIX's ``flock``, which the kernel gives free when its holder dies. Some network file
systems keep it to one machine; so the holder also renews the file's time every few seconds, and one
on another machine counts as gone when that has stood still for a minute. Nobody compares clocks: a
waiting process looks whether the time changes, and measures on its own clock for how long it does
not. Who cannot wait so long takes a holder elsewhere for alive for a whole day, more than clocks
differ.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from genbench.disk import explained

__all__ = ["INTERVAL", "PATIENCE", "Holder", "claim", "hold", "in_use"]

INTERVAL = 5.0
"""Seconds between two signs of life."""
PATIENCE = 60.0
"""Seconds without one after which a holder on another machine counts as gone."""
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, what for, and since when."""

    pid: int
    host: str
    what: str
    since: str

    def __str__(self) -> str:
        return f"{self.what} (process {self.pid} on {self.host}, since {self.since})"


@contextlib.contextmanager
def hold(
    path: Path,
    what: str,
    *,
    check: Callable[[], None] = lambda: None,
    interval: float = INTERVAL,
    patience: float = PATIENCE,
) -> Iterator[None]:
    """Hold the lock in ``path``; wait while another process holds it, and say on standard error for
    whom.

    Arguments:
        path: the lock file, which stays there.
        what: what is done under it, for those who wait.
        check: called again and again while waiting; what it raises ends that.
        interval: seconds between two signs of life.
        patience: seconds without one after which a holder on another machine counts as gone.

    Raises:
        OSError: the file cannot be written, or its file system knows no locks; names it.
    """
    with explained(path, every=True):
        file = _acquire(path, what, check, patience)
    ended = threading.Event()
    beats = threading.Thread(target=_beat, args=(file.fileno(), ended, interval), daemon=True)
    try:
        beats.start()
        yield
    finally:
        ended.set()
        if beats.is_alive():
            beats.join()  # before the file's number can be another file's
        with contextlib.suppress(OSError):
            file.truncate(0)
        file.close()


def in_use(path: Path) -> bool:
    """Whether somebody holds the lock in ``path``; one on another machine may have been gone for up
    to a day.
    """
    if not path.is_file():
        return False
    with claim(path) as free:
        return not free


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold the lock in ``path``, whose folder must be there, if nobody else does, and yield whether
    that is so; waits for nobody.
    """
    with path.open("a+", encoding="utf-8") as file:
        yield _lock(file) and _is_at(file, path) and not _is_held_elsewhere(file)


def _is_held_elsewhere(file: TextIO) -> bool:
    holder = _holder(file)
    if holder is None or holder.host == platform.node():
        return False
    return time.time() - os.fstat(file.fileno()).st_mtime < _DAY


def _acquire(path: Path, what: str, check: Callable[[], None], patience: float) -> TextIO:
    """The lock file, locked, with this process as its holder."""
    seen, moved = 0, time.monotonic()
    begun, told = moved, set[str]()
    while True:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(_open(path))
            free = _lock(file) and _is_at(file, path)
            holder, beat = _holder(file), os.fstat(file.fileno()).st_mtime_ns
            if beat != seen:
                seen, moved = beat, time.monotonic()
            silent = time.monotonic() - moved >= patience
            if free and (holder is None or holder.host == platform.node() or silent):
                file.truncate(0)
                _note(file, what)
                stack.pop_all()
                return file
        if time.monotonic() - begun > 0.5:  # not for one that only looks
            _tell(f"{what}: waiting for {holder or 'another process'} to end", told)
        if silent:
            waited = f"has shown no sign of life for {patience:.0f} s"
            _tell(f"{what}: {holder or 'it'} {waited}; continue or end it if it is stopped", told)
        check()
        time.sleep(0.2)


def _open(path: Path) -> TextIO:
    """The lock file, made with its folder where they are not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return path.open("a+", encoding="utf-8")
    except FileNotFoundError:  # `genbench clean` has removed the folder in between
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")


def _note(file: TextIO, what: str) -> None:
    """Write who holds a lock into its file; not by Python's buffer, which on a full disk would fail
    a second time when the file is closed.
    """
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    holder = Holder(os.getpid(), platform.node(), what, since)
    os.write(file.fileno(), json.dumps(asdict(holder)).encode())


def _tell(text: str, told: set[str]) -> None:
    if text not in told:
        told.add(text)
        print(text, file=sys.stderr, flush=True)


def _beat(descriptor: int, ended: threading.Event, interval: float) -> None:
    while not ended.wait(interval):
        with contextlib.suppress(OSError):
            os.utime(descriptor)


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: TextIO, path: Path) -> bool:
    """Whether an open file is still the one at ``path``, which may have been removed meanwhile."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: TextIO) -> Holder | None:
    """Who has written into a lock file; None if it is empty, or damaged."""
    file.seek(0)
    try:
        return Holder(**json.load(file))
    except (ValueError, TypeError):
        return None
