"""Outputs that are no longer what DVC takes them for: a bit that has flipped in its cache or below `runs/`, for which it does not look.

DVC trusts a file in its cache that is read-only, and an output whose inode, time and size are those that it has noted, and reads neither again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from genbench.dvc_files import lock_of
from genbench.dvc_lock import files_in, stages_in

__all__ = ["damaged_outputs", "mend_outputs"]


def damaged_outputs(root: Path, profile: str, stages: Collection[str]) -> list[Path]:
    """The outputs, relative to the root, that have silently changed since DVC noted their hashes. Nothing is changed.

    Arguments:
        root: the project.
        profile: whose dvc.lock is asked.
        stages: names of stages in it, e.g. ``train@made``; others are left out.
    """
    changed = {path: md5 for path, md5 in _changed(root, profile, stages).items() if path.is_file()}
    if not changed:
        return []
    with _dvc(root) as dvc:
        return [path.relative_to(root) for path, md5 in changed.items() if _trusts(dvc, path, md5)]


def mend_outputs(root: Path, profile: str, stages: Collection[str]) -> list[str]:
    """Remove outputs that have silently changed, and damaged copies from DVC's cache, so that it makes or restores them.

    Only the copies of outputs that are changed or absent are read: it is these that DVC would take next.

    Returns:
        What was found, a sentence each.
    """
    changed = _changed(root, profile, stages)
    if not changed:
        return []
    with _dvc(root) as dvc:
        return [told for path, md5 in changed.items() if (told := _mend(dvc, root, path, md5))]


def _mend(dvc: Any, root: Path, path: Path, md5: str) -> str | None:
    cached, name = Path(dvc.cache.local.oid_to_path(md5)), path.relative_to(root)
    bad_copy = cached.is_file() and _md5(cached) != md5
    if bad_copy:
        cached.unlink()
    outcome = "restored from the cache" if cached.is_file() else "made again"
    if path.is_file() and _trusts(dvc, path, md5):
        path.unlink()
        return f"{name} has changed since it was made{', and so has its copy in the cache' if bad_copy else ''}: it is {outcome}"
    return f"the copy of {name} in the cache was damaged, and is removed: {name} is {outcome}" if bad_copy else None


def _changed(root: Path, profile: str, stages: Collection[str]) -> dict[Path, str]:
    """The recorded files that are absent or have another content → their MD5 in dvc.lock."""
    recorded = stages_in(lock_of(root, profile))
    outs = [out for name in stages for out in files_in(recorded.get(name, {}), "outs") if out.get("hash") == "md5"]
    files = {path: md5 for out in outs for path, md5 in _files_of(root, root / str(out.get("path")), str(out.get("md5")))}
    return {path: md5 for path, md5 in files.items() if not path.is_file() or _md5(path) != md5}


def _files_of(root: Path, path: Path, md5: str) -> Iterator[tuple[Path, str]]:
    """A file with its MD5; of a folder, those that its listing in DVC's cache names, if that is where it is by default."""
    if not md5.endswith(".dir"):
        yield path, md5
        return
    listing = root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # without it DVC cannot take the folder from its cache
        if _md5(listing) == md5.removesuffix(".dir"):
            for item in json.loads(listing.read_text(encoding="utf-8")):
                yield path / item["relpath"], item["md5"]


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def _dvc(root: Path) -> Iterator[Any]:
    from dvc.repo import Repo  # some tenths of a second, and it takes over the streams; needed where something has changed alone

    with Repo(str(root)) as repo:
        yield repo


def _trusts(dvc: Any, path: Path, md5: str) -> bool:
    """Whether DVC takes a file for what it was, without reading it."""
    from dvc.fs import localfs

    _, noted = dvc.state.get(str(path), localfs)
    return noted is not None and noted.value == md5
