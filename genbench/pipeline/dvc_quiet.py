"""The lock that DVC holds whenever it reads or writes files of its own, that is always but while a
stage runs: `.dvc/tmp/lock`.

It is ``flock``, or with ``core.hardlink_lock`` a hard link, for file systems that have no
``flock``. A file that lies there then, and is no such link, blocks DVC for good.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psutil

from genbench.errors import UserError
from genbench.pipeline.dvc_config import is_set, mentions
from genbench.pipeline.dvc_rwlock import running_dvc

__all__ = ["dvc_is_quiet"]


@contextlib.contextmanager
def dvc_is_quiet(root: Path, patience: float | None = None) -> Iterator[None]:
    """Hold DVC's lock, without which it writes nothing. Wait while another process holds it, and
    say after 5 seconds which one.

    Arguments:
        root: the project.
        patience: seconds after which the waiting ends; None waits for as long as it takes.

    Raises:
        UserError: waited in vain; names the process.
    """
    path, begun, said = root / ".dvc" / "tmp" / "lock", time.monotonic(), ""
    if not (root / ".dvc").is_dir():  # not set up for DVC, which is for others to say
        yield
        return
    links = mentions(root, "hardlink_lock") and is_set(root, "hardlink_lock")
    path.parent.mkdir(exist_ok=True)
    while (release := (_take_link if links else _take)(path)) is None:
        waited = time.monotonic() - begun
        if patience is not None and waited >= patience:
            raise UserError(f"{path} is held by {_holder(root, path, links)}")
        if waited > 5 and (holder := _holder(root, path, links)) != said:
            said = holder
            print(f"waiting, for {path} is held by {holder}", file=sys.stderr, flush=True)
        time.sleep(0.1)
    try:
        yield
    finally:
        release()


def _take(path: Path) -> Callable[[], None] | None:
    """Lock the file as DVC does, and note this process in it; what gives it free, or None where
    another process has it.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(file)
        if isinstance(error, BlockingIOError):
            return None
        raise
    with contextlib.suppress(OSError):  # a full disk
        os.truncate(file, 0)
        os.write(file, f" {os.getpid()}\n".encode())
    return lambda: os.close(file)


def _take_link(path: Path) -> Callable[[], None] | None:
    """The same with a hard link, by DVC."""
    # Some tenths of a second, and DVC takes over the streams.
    from dvc.lock import LockError, make_lock

    lock = make_lock(str(path), tmp_dir=str(path.parent), hardlink_lock=True, wait=True)
    try:
        lock.lock(timeout=timedelta(0))
    except LockError:
        return None
    return lock.unlock


def _holder(root: Path, path: Path, links: bool) -> str:
    """Who has the lock, and what to do where it will not be given free by itself. A link does not
    say whose it is, so the processes are asked.
    """
    if links:
        named = [text for pid in running_dvc(root) if (text := _in_words(pid))]
        return ", ".join(named) or "no DVC that is to be seen: delete it, unless one runs elsewhere"
    with contextlib.suppress(OSError, ValueError):
        return _in_words(int(path.read_text(encoding="utf-8"))) or "another process"
    return "another process"


def _in_words(pid: int) -> str:
    """A process, and how to go on if it is stopped; empty if there is none."""
    try:
        process = psutil.Process(pid)
        command = " ".join(process.cmdline())[:100]
        stopped = process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return ""
    except psutil.AccessDenied:
        return f"process {pid}"
    named = f"process {pid} ({command})"
    if not stopped:
        return named
    return f"{named}, which is stopped: continue it (`fg`, or `kill -CONT {pid}`) or end it"
