"""`genbench clean`: checkpoints that no entry needs any more."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from genbench.config.layout import Layout
from genbench.config.load import find_root, load_params, profiles
from genbench.config.params import Params
from genbench.config.stages import ENTRY_STAGES, STAGES
from genbench.disk import explained, told
from genbench.errors import UserError
from genbench.files import read_json
from genbench.hardware.kind import MACHINE
from genbench.pipeline.dvc_files import mend
from genbench.processes.lock import claim, in_use
from genbench.training.checkpoint_files import IDENTITY

__all__ = ["Leftover", "clean", "leftovers", "remove_unfinished"]

_ALL = "`genbench clean --all` removes all checkpoints"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A checkpoint folder: its size in bytes, and why it is kept (None: it is not needed)."""

    path: Path
    size: int
    kept: str | None


def clean(*, everything: bool = False) -> None:
    """Remove the checkpoint folders that no unfinished stage of any entry would resume from, and
    print what that freed.

    Arguments:
        everything: remove those of unfinished stages too. Folders that a process works in stay in
            any case.

    Raises:
        UserError: ``dvc status`` fails, which is what tells the unfinished stages, or a dvc.lock
            cannot be read.
    """
    root = find_root()
    loaded = [load_params(name, root=root) for name in profiles(root)]
    folder = Layout(root).unfinished
    if not folder.is_dir():
        print("nothing to remove: there are no checkpoints")
        return
    freed = 0
    if not everything:
        # First what no stage can need, finished or not: on a full disk DVC cannot say which are.
        works = {path.name.rpartition("-")[0] for path in folder.iterdir()}
        found = leftovers(folder, loaded, works)
        freed, _ = _sweep(leftover for leftover in found if leftover.kept is None)
    more, kept = _sweep(leftovers(folder, loaded, set() if everything else _unfinished(root)))
    print(f"freed {_mb(freed + more)}, kept {_mb(kept)}")


def _sweep(found: Iterable[Leftover]) -> tuple[int, int]:
    """Remove what is not needed, and say so; bytes that were freed, and kept."""
    freed = kept = 0
    for leftover in found:
        reason = remove_unfinished(leftover.path) if leftover.kept is None else leftover.kept
        if reason is None:
            freed += leftover.size
        else:
            kept += leftover.size
        did = "removed" if reason is None else f"kept ({reason})"
        print(f"{did}: {leftover.path.name}, {_mb(leftover.size)}", flush=True)
    return freed, kept


def remove_unfinished(folder: Path) -> str | None:
    """Remove a folder of unfinished work under its lock; why that cannot be done, if it cannot,
    which is no reason to keep the others.
    """
    try:
        with explained(folder, "remove"), claim(folder / "lock") as free:
            if not free:
                return "in use"
            # The lock goes last: without it another process begins its work here.
            for path in (path for path in folder.iterdir() if path.name != "lock"):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            shutil.rmtree(folder)
    except FileNotFoundError:  # another one has removed it
        return None
    except OSError as error:
        return "in use" if error.errno == errno.ENOTEMPTY else str(error)
    return None


def leftovers(
    folder: Path, loaded: Collection[Params], unfinished: Collection[str]
) -> list[Leftover]:
    """Every checkpoint folder, the newest of each piece of work first.

    A folder is ``<profile>-<entry>-<stage>-<hash>``. It is needed if it is the newest of an
    unfinished stage of an entry that exists, on its kind of processor: the hash of an older one is
    that of other parameters or code.

    Arguments:
        folder: where they are.
        loaded: the profiles.
        unfinished: ``<profile>-<entry>-<stage>`` of all stages that are not up to date.
    """
    known = {work for params in loaded for work in _works(params)}
    seen: set[tuple[str, str | None]] = set()
    result = []
    for path in sorted((p for p in folder.iterdir() if p.is_dir()), key=_modified, reverse=True):
        work, machine = path.name.rpartition("-")[0], _machine(path)
        # One without an identity is of a version before they were kept, and nothing goes on from
        # it.
        newest = machine is not None and (work, machine) not in seen
        seen.add((work, machine))
        needed = newest and work in known and work in unfinished
        reason = _held(path) or ("unfinished" if needed else None)
        result.append(Leftover(path, _size(path), reason))
    return result


def _works(params: Params) -> Iterator[str]:
    """``<profile>-<entry>-<stage>`` of all that can leave unfinished work."""
    layout, resuming = Layout.of(params), [name for name in ENTRY_STAGES if STAGES[name].resumes]
    return (layout.work(name, stage).name for name in params.entries for stage in resuming)


def _size(folder: Path) -> int:
    return sum(found.st_size for found in _stats(folder) if stat.S_ISREG(found.st_mode))


def _machine(path: Path) -> str | None:
    """The machine's part in the identity of a folder of unfinished work, the same text for the
    same; None where there is no identity.
    """
    try:
        identity = read_json(path / IDENTITY)
        return json.dumps({name: identity.get(name) for name in MACHINE}, sort_keys=True)
    except (OSError, ValueError, AttributeError):
        return None


def _modified(path: Path) -> float:
    return max((found.st_mtime for found in _stats(path)), default=0.0)


def _stats(folder: Path) -> Iterator[os.stat_result]:
    """Of a folder and all that is in it, but what vanishes meanwhile, as the files of a running
    stage do.
    """
    for parent, _, files in os.walk(folder):
        for name in ("", *files):
            with contextlib.suppress(FileNotFoundError):
                yield os.stat(os.path.join(parent, name))


def _held(path: Path) -> str | None:
    """Why a folder is not ours to remove: a process works in it, or its lock cannot be opened; else
    None.
    """
    try:
        with explained(path / "lock", "open"):
            return "in use" if in_use(path / "lock") else None
    except OSError as error:
        return str(error)


def _unfinished(root: Path) -> set[str]:
    """``<profile>-<entry>-<stage>`` of what DVC would run again."""
    try:
        for done in mend(root):
            print(done, file=sys.stderr)
    except OSError as error:
        raise UserError(f"cannot tell what is unfinished: {told(error)}. {_ALL}") from error
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "status", "--json"]
    status = subprocess.run(
        command, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if status.returncode != 0:
        raise UserError(
            f"cannot tell what is unfinished, dvc status says: {status.stderr.strip()}. {_ALL}"
        )
    works = set()
    for target in json.loads(status.stdout):
        file, _, name = target.rpartition(":")
        stage, _, key = name.partition("@")
        works.add(Layout(root, Path(file).parent.name or "quick").work(key, stage).name)
    return works


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
