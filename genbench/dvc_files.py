"""DVC's own files that a kill can cut short: `dvc.lock` of each profile, and `.dvc/tmp/rwlock`.

DVC truncates them and writes them anew. A process that dies meanwhile leaves one empty or cut, and then no command of DVC works in the project,
whatever its profile, since DVC reads all of them. So `genbench run` keeps copies of each dvc.lock while DVC runs. A copy may be older than what was
lost: DVC then takes the stages that it lacks from its cache of runs, for it puts results there before it writes dvc.lock.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from genbench import rwlock
from genbench.dvc_lock import beginning, has_conflict, wrong
from genbench.dvc_quiet import dvc_is_quiet
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.params import profiles

__all__ = ["copies_kept", "copy_of", "lock_of", "locks", "mend", "problems"]

_Stamp = tuple[int, int] | None
"""When a file was written, and its length; None if there is none."""


def lock_of(root: Path, profile: str) -> Path:
    """The dvc.lock of a profile."""
    return root / "dvc.lock" if profile == "quick" else root / "profiles" / profile / "dvc.lock"


def copy_of(root: Path, profile: str) -> Path:
    """Where a readable copy of it is kept."""
    return root / ".status" / profile / "dvc.lock.copy"


def locks(root: Path) -> dict[Path, Path]:
    """dvc.lock → its copy, for all profiles."""
    return {lock_of(root, name): copy_of(root, name) for name in profiles(root)}


# ---------------------------------------------------------------------- what is wrong


def problems(root: Path, patience: float = 10.0) -> list[tuple[str, str]]:
    """What DVC cannot read, with the remedy. Changes nothing.

    Raises:
        UserError: DVC has held its lock for ``patience`` seconds; names the process.
    """
    with dvc_is_quiet(root, patience):
        found = [problem for path, copy in locks(root).items() if (problem := _problem(path, copy))]
        path = rwlock.path_of(root)
        if path.is_file() and rwlock.holders(path) is None:
            found.append((f"{path} cannot be read", "the next `genbench run` removes it, unless DVC is running now"))
        return found


def _problem(path: Path, copy: Path) -> tuple[str, str] | None:
    content = _content(path)
    reason = None if content is None or content == _content(copy) else wrong(content)
    if content is None or reason is None:
        return None
    if has_conflict(content):
        return f"{path} holds the marks of a merge conflict", _merge(path)
    if beginning(content) is None:
        return f"{path} cannot be read: {reason}", _restore(path)
    return f"{path} is cut short", "the next `genbench run` mends it"


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _merge(path: Path) -> str:
    return (
        f"keep both sides' entries in params.yaml, take either side of the lock (`git checkout --ours {path}`, or --theirs), and run again: "
        "what the other side had comes from DVC's cache"
    )


def _restore(path: Path) -> str:
    return f"`git checkout -- {path}` takes the committed one, or delete it: what it lacks comes from DVC's cache where it is there"


# ---------------------------------------------------------------------- mending


def mend(root: Path) -> list[str]:
    """Make DVC's files readable again where a kill cut them short, and renew the copies. Waits while DVC holds its lock, as it does when it writes.

    Returns:
        What was done, a sentence each.

    Raises:
        UserError: a dvc.lock that was not cut short, such as one with merge conflicts; says how to mend it.
    """
    with dvc_is_quiet(root):
        done = [_mend_lock(path, copy) for path, copy in locks(root).items()]
        return [told for told in (*done, rwlock.mend(root)) if told]


def _mend_lock(path: Path, copy: Path) -> str | None:
    content, kept = _content(path), _content(copy)
    if content is None:  # none yet, or deleted by hand, which is not to be undone
        copy.unlink(missing_ok=True)
        return None
    if content == kept:
        return None
    reason = wrong(content)
    if reason is None:
        write_bytes(copy, content)
        return None
    if has_conflict(content):
        raise UserError(f"{path} holds the marks of a merge conflict, and DVC cannot read it: {_merge(path)}")
    whole = beginning(content)
    if whole is None:
        raise UserError(f"{path} cannot be read by DVC: {reason}. {_restore(path)}")
    write_bytes(copy.with_name("dvc.lock.damaged"), content)
    if kept is not None and wrong(kept) is None:
        write_bytes(path, kept)
        return f"{path} was cut short by a kill; its last copy is in its place"
    if whole:
        write_bytes(path, whole)
        return f"{path} was cut short by a kill; its whole stages are kept"
    path.unlink()
    return f"{path} was empty after a kill, and is removed"


# ---------------------------------------------------------------------- copies


@contextlib.contextmanager
def copies_kept(root: Path, interval: float = 5.0) -> Iterator[None]:
    """Renew the copies whenever DVC has written a dvc.lock; every ``interval`` seconds this is looked for, and at the end."""
    ended, paths = threading.Event(), locks(root)
    keeper = threading.Thread(target=_keep, args=(paths, {path: _stamp(path) for path in paths}, ended, interval), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


def _keep(paths: dict[Path, Path], copied: dict[Path, _Stamp], ended: threading.Event, interval: float) -> None:
    before, over = dict(copied), False
    while not over:
        over = ended.wait(interval)  # then once more: DVC has written its last
        for path, copy in paths.items():
            now = _stamp(path)
            # What stands still is whole, as far as can be seen; reading it all takes a tenth of a second.
            if now is not None and now != copied[path] and (now == before[path] or over):
                with contextlib.suppress(OSError):  # a full disk: without copies a run is as good, until it is killed
                    content = path.read_bytes()
                    if wrong(content) is None and _stamp(path) == now:
                        write_bytes(copy, content)
                        copied[path] = now
            before[path] = now


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
