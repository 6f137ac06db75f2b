"""DVC's own files that a kill can cut short: `dvc.lock` of each profile, and `.dvc/tmp/rwlock`.

DVC truncates them and writes them anew. A process that dies meanwhile leaves one empty or cut, and
then no command of DVC works in the project, whatever its profile, since DVC reads all of them. So
`genbench run` keeps copies of each dvc.lock while DVC runs. A copy may be older than what was lost:
DVC then takes the stages that it lacks from its cache of runs, for it puts results there before it
writes dvc.lock. What somebody else has run and committed is in no such cache; so where git has a
later file than the copy, that takes its place.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from genbench.config.layout import Layout
from genbench.config.load import profiles
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.pipeline import dvc_rwlock
from genbench.pipeline.dvc_lock import has_conflict, is_beginning, wrong
from genbench.pipeline.dvc_quiet import dvc_is_quiet
from genbench.pipeline.git import in_index

__all__ = ["copies_kept", "locks", "mend", "problems"]

_Stamp = tuple[int, int] | None
"""When a file was written, and its length; None if there is none, or none to be seen."""


def locks(root: Path) -> dict[Path, Path]:
    """dvc.lock → its copy, for all profiles."""
    places = [Layout(root, profile) for profile in profiles(root)]
    return {place.dvc_lock: place.dvc_lock_copy for place in places}


# ---------------------------------------------------------------------- what is wrong


def problems(root: Path, patience: float = 10.0) -> list[tuple[str, str]]:
    """What DVC cannot read, with the remedy. Changes nothing.

    Raises:
        UserError: DVC has held its lock for ``patience`` seconds; names the process.
    """
    with dvc_is_quiet(root, patience):
        looked_at = [_problem(root, path, copy) for path, copy in locks(root).items()]
        found = [problem for problem in looked_at if problem is not None]
        path = dvc_rwlock.path_of(root)
        if path.is_file() and dvc_rwlock.holders(path) is None:
            remedy = "the next `genbench run` removes it, unless DVC is running now"
            found.append((f"{path} cannot be read", remedy))
        return found


def _problem(root: Path, path: Path, copy: Path) -> tuple[str, str] | None:
    content = _content(path)
    reason = None if content is None or content == _readable(copy) else wrong(content)
    if content is None or reason is None:
        return None
    if has_conflict(content):
        return f"{path} holds the marks of a merge conflict", _merge(path)
    if not is_beginning(content):
        return f"{path} cannot be read: {reason}", _restore(path)
    try:
        _whole(root, path, copy)
    except UserError as error:
        return str(error), _restore(path)
    return f"{path} is cut short", "the next `genbench run` mends it"


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _readable(path: Path) -> bytes | None:
    """The same of a file without which one can do: one that cannot be read counts as absent."""
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return None


def _merge(path: Path) -> str:
    return (
        "keep both sides' entries in params.yaml, take either side of the lock (`git checkout "
        f"--ours {path}`, or --theirs), and run again: what the other side had comes from DVC's "
        "cache"
    )


def _restore(path: Path) -> str:
    return (
        f"`git checkout -- {path}` takes the committed one; or delete it, and what DVC's cache "
        "of runs does not have is made anew"
    )


# ---------------------------------------------------------------------- mending


def mend(root: Path) -> list[str]:
    """Make DVC's files readable again where a kill cut them short, and renew the copies. Waits
    while DVC holds its lock, as it does when it writes.

    Returns:
        What was done, a sentence each.

    Raises:
        UserError: a dvc.lock that was not cut short, such as one with merge conflicts, or for which
            there is no whole one; says how to mend it.
    """
    with dvc_is_quiet(root):
        done = [_mend_lock(root, path, copy) for path, copy in locks(root).items()]
        return [told for told in (*done, dvc_rwlock.mend(root)) if told]


def _mend_lock(root: Path, path: Path, copy: Path) -> str | None:
    content = _content(path)
    if content is None:  # none yet, or deleted by hand, which is not to be undone
        with contextlib.suppress(OSError):
            copy.unlink()
        return None
    if content == _readable(copy):
        return None
    reason = wrong(content)
    if reason is None:
        _keep_as(copy, content)
        return None
    if has_conflict(content):
        raise UserError(
            f"{path} holds the marks of a merge conflict, and DVC cannot read it: {_merge(path)}"
        )
    if not is_beginning(content):
        raise UserError(f"{path} cannot be read by DVC: {reason}. {_restore(path)}")
    try:
        whole, whose = _whole(root, path, copy)
    except UserError as error:
        raise UserError(f"{error}. {_restore(path)}") from error
    _keep_as(copy.with_name("dvc.lock.damaged"), content)
    write_bytes(path, whole)
    return f"{path} was cut short by a kill; {whose} is in its place"


def _whole(root: Path, path: Path, copy: Path) -> tuple[bytes, str]:
    """What takes the place of a dvc.lock that was cut, its copy or what git has if that is later,
    and which it is; UserError if neither is whole.
    """
    kept, why = _readable(copy), ""
    copied = None if kept is None or wrong(kept) is not None else kept
    try:
        committed = in_index(root, path)
    except UserError as error:
        committed, why = None, f" ({error})"
    if committed is not None and wrong(committed[0]) is None:
        content, since = committed
        if copied is None or since > copy.stat().st_mtime:
            return content, "what git has of it"
    if copied is None:
        raise UserError(
            f"{path} was cut short by a kill, and there is neither a copy of it nor one in git "
            f"that is whole{why}"
        )
    return copied, "its last copy"


def _keep_as(path: Path, content: bytes) -> None:
    """Keep what a run can do without: a full disk is no reason to fail."""
    with contextlib.suppress(OSError):
        write_bytes(path, content)


# ---------------------------------------------------------------------- copies


@contextlib.contextmanager
def copies_kept(root: Path, interval: float = 0.5) -> Iterator[None]:
    """Renew the copies whenever DVC has written a dvc.lock: as soon as that has stood still for two
    intervals of so many seconds, and at the end.
    """
    ended, paths = threading.Event(), locks(root)
    seen = {path: _stamp(path) for path in paths}
    keeper = threading.Thread(target=_keep, args=(paths, seen, ended, interval), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


def _keep(
    paths: dict[Path, Path], seen: dict[Path, _Stamp], ended: threading.Event, interval: float
) -> None:
    # Intervals since a change that is still to be looked at; -1 where there is none.
    since, over = dict.fromkeys(paths, -1), False
    while not over:
        over = ended.wait(interval)  # then once more: DVC has written its last
        for path, copy in paths.items():
            now = _stamp(path)
            if now != seen[path]:
                seen[path], since[path] = now, 0
            elif since[path] >= 0:
                since[path] += 1
            # What stands still is whole, as far as can be seen; reading it all takes a tenth of a
            # second, so it is done once.
            if since[path] >= (0 if over else 2):
                since[path] = -1
                content = _readable(path)
                if content is not None and wrong(content) is None and _stamp(path) == now:
                    _keep_as(copy, content)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
