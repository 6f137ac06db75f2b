"""Outputs that are no longer what DVC takes them for: a bit that has flipped in its cache or below
`runs/`, for which it does not look.

DVC trusts a file in its cache that is read-only, and an output whose inode, time and size are those
that it has noted, and reads neither again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.disk import explain, told
from genbench.errors import UserError
from genbench.pipeline.dvc_config import mentions
from genbench.pipeline.dvc_lock import files_in, stages_in

__all__ = ["damaged_outputs", "mend_and_tell", "mend_outputs"]

_Dvc = Callable[[], Any]
"""Gives a ``dvc.repo.Repo``."""


def damaged_outputs(
    root: Path, profile: str, stages: Collection[str]
) -> tuple[list[Path], list[str]]:
    """Look for outputs that have silently changed since DVC noted their hashes. Nothing is changed.

    Arguments:
        root: the project.
        profile: whose dvc.lock is asked.
        stages: names of stages in it, e.g. ``train@made``; others are left out.

    Returns:
        Such outputs, relative to the root; and a sentence about each one that cannot be read.

    Raises:
        UserError: DVC cannot open the project.
    """
    with _opened(root) as dvc:
        changed, unreadable = _compared(root, profile, stages, dvc)
        unseen = [
            path for path, md5 in changed.items() if path.is_file() and _trusts(dvc(), path, md5)
        ]
        return [path.relative_to(root) for path in unseen], unreadable


def mend_outputs(root: Path, profile: str, stages: Collection[str]) -> tuple[list[str], list[str]]:
    """Remove outputs that have silently changed, and damaged copies from DVC's cache, so that it
    makes or restores them.

    Only the copies of outputs that are changed or absent are read: it is these that DVC would take
    next.

    Returns:
        A sentence about each that was mended; and about each that cannot be read or removed, which
        is left as it is.

    Raises:
        UserError: DVC cannot open the project.
    """
    mended = []
    with _opened(root) as dvc:
        changed, failed = _compared(root, profile, stages, dvc)
        for path, md5 in changed.items():
            try:
                mended.append(_mend(dvc(), root, path, md5))
            except OSError as error:
                failed.append(told(error))
    return [text for text in mended if text], failed


def mend_and_tell(params: Params, stages: Collection[str]) -> bool:
    """Mend outputs of a profile and say so on standard error; returns whether any was mended."""
    mended, failed = mend_outputs(params.root, params.profile, stages)
    for text in (*mended, *failed):
        print(text, file=sys.stderr, flush=True)
    return bool(mended)


def _mend(dvc: Any, root: Path, path: Path, md5: str) -> str | None:
    cached, name = Path(dvc.cache.local.oid_to_path(md5)), path.relative_to(root)
    bad_copy = cached.is_file() and _md5(cached) != md5
    if bad_copy:
        cached.unlink()
    outcome = "restored from the cache" if cached.is_file() else "made again"
    if path.is_file() and _trusts(dvc, path, md5):
        path.unlink()
        both = ", and so has its copy in the cache" if bad_copy else ""
        return f"{name} has changed since it was made{both}: it is {outcome}"
    if not bad_copy:
        return None
    return f"the copy of {name} in the cache was damaged, and is removed: {name} is {outcome}"


def _compared(
    root: Path, profile: str, stages: Collection[str], dvc: _Dvc
) -> tuple[dict[Path, str], list[str]]:
    """The recorded files that are absent or have another content → their MD5 in dvc.lock; and a
    sentence about each that cannot be read.
    """
    recorded, place = stages_in(Layout(root, profile).dvc_lock), _cache(root, dvc)
    changed, unreadable = {}, []
    for stage in stages:
        for out in files_in(recorded.get(stage, {}), "outs"):
            if out.get("hash") != "md5":
                continue
            for path, md5 in _files_of(root / str(out.get("path")), str(out.get("md5")), place):
                try:
                    if not path.is_file() or _md5(path) != md5:
                        changed[path] = md5
                except OSError as error:
                    unreadable.append(str(explain(error, path, "read")))
    return changed, unreadable


def _files_of(path: Path, md5: str, place: Callable[[str], Path]) -> Iterator[tuple[Path, str]]:
    """A file with its MD5; of a folder, those that its listing in DVC's cache names, if that is
    there.
    """
    if not md5.endswith(".dir"):
        yield path, md5
        return
    listing = place(md5)
    # Without it DVC cannot take the folder from its cache.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        if _md5(listing) == md5.removesuffix(".dir"):
            for item in json.loads(listing.read_text(encoding="utf-8")):
                yield path / item["relpath"], item["md5"]


def _cache(root: Path, dvc: _Dvc) -> Callable[[str], Path]:
    """Where DVC keeps the content of an MD5. It is asked only where its configuration says anything
    of a cache.
    """
    if mentions(root, "cache"):
        return lambda md5: Path(dvc().cache.local.oid_to_path(md5))
    return lambda md5: root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def _opened(root: Path) -> Iterator[_Dvc]:
    """DVC's view of a project, made when it is first asked for: that takes some tenths of a second,
    and DVC takes over the streams.
    """
    with contextlib.ExitStack() as stack:

        @functools.cache
        def dvc() -> Any:
            from dvc.exceptions import DvcException
            from dvc.repo import Repo

            try:
                return stack.enter_context(Repo(str(root)))
            except DvcException as error:
                raise UserError(f"DVC cannot open the project in {root}: {error}") from error

        yield dvc


def _trusts(dvc: Any, path: Path, md5: str) -> bool:
    """Whether DVC takes a file for what it was, without reading it."""
    from dvc.fs import localfs

    _, noted = dvc.state.get(str(path), localfs)
    return noted is not None and noted.value == md5
