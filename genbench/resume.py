"""Unfinished work on disk: one locked folder per piece of work, checkpoints replaced atomically, chunks kept as they are finished.

The folder's name is a hash of all that determines the result, so work is resumed only by a run that would reach the same bits. What was begun on
another kind of processor, in another precision or with other threads stays where it is, and is named.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import glob
import hashlib
import io
import json
import os
import pickle
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from genbench.errors import UserError
from genbench.files import explain, read_json, read_npz, write_bytes, write_json, write_npz
from genbench.processor import IDENTITY, MACHINE, in_words

__all__ = ["DONE", "Workspace", "workspace"]

DONE = "done"
"""File in a folder whose work was finished; it is kept, for it saves the work if the stage is run again."""

_SHELLS = ("sh", "bash", "dash", "zsh", "fish")


def _watched() -> list[psutil.Process]:
    """Who must live for this work to be wanted: under DVC, the parent, and DVC itself where a shell stands between."""
    if "DVC_STAGE" not in os.environ:
        return []
    # By its name, not from genbench.forkserver, whose edits change no result.
    parents = psutil.Process(int(os.environ.get("GENBENCH_FORKSERVER_CLIENT", os.getpid()))).parents()
    return parents[: 2 if parents and parents[0].name() in _SHELLS else 1]


@dataclass(slots=True)
class Workspace:
    """A locked folder of unfinished work.

    Attributes:
        folder: where it is.
        seconds: time between checkpoints.
    """

    folder: Path
    seconds: float
    _watched: list[psutil.Process]
    _last: float

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._last >= self.seconds

    def save(self, name: str, value: Any) -> None:
        """Keep a value that torch can save, replacing the last one; then stop if nobody waits for this work any more."""
        buffer = io.BytesIO()
        torch.save(value, buffer)
        write_bytes(self.folder / name, buffer.getvalue())
        self._last = time.monotonic()
        self.stop_if_orphaned()

    def load(self, name: str, *, device: torch.device | str = "cpu") -> Any | None:
        """The value kept under ``name``, or None.

        Raises:
            UserError: the file is damaged; names it.
        """
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            return torch.load(path, map_location=device, weights_only=True)
        except (RuntimeError, EOFError, ValueError, OSError, KeyError, pickle.UnpicklingError) as error:
            raise UserError(f"{path} is damaged; delete it and run again: the work starts from its beginning") from error

    def chunk(self, name: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
        """The arrays of a chunk: those kept from an earlier run, else computed now and kept."""
        path = self.folder / f"{name}.npz"
        if path.is_file():
            return read_npz(path)
        arrays = compute()
        write_npz(path, arrays)
        self.stop_if_orphaned()
        return arrays

    def stop_if_orphaned(self) -> None:
        """Exit if the DVC process that started this one is gone: the next run resumes from here."""
        if not all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in self._watched):
            raise SystemExit(f"the process that started this work has died; stopping. The next run resumes from {self.folder}")


@contextlib.contextmanager
def workspace(checkpoints: Path, name: str, identity: Mapping[str, Any], *, wait: float = 30.0) -> Iterator[Workspace]:
    """The locked folder ``<checkpoints>/<name>-<hash of identity>``; empty if GENBENCH_FRESH is 1, as `genbench run --force` sets it.

    Arguments:
        checkpoints: parent of all such folders.
        name: for people, e.g. ``quick-made-train``.
        identity: all that determines the result, as JSON values.
        wait: seconds to wait for another process that works on the same.

    Raises:
        UserError: another process still holds it; says which.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder = checkpoints / f"{name}-{digest}"
    watched = _watched()
    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / "lock").open("a+", encoding="utf-8"))
            _acquire(lock.fileno(), folder, name, wait)
            if os.environ.get("GENBENCH_FRESH") == "1":
                _clear(folder)
            if not (folder / IDENTITY).is_file():  # its age tells when the work began
                write_json(folder / IDENTITY, identity)
            if not _holds_work(folder):
                for told in _begun_elsewhere(folder, name, identity):
                    print(told, file=sys.stderr, flush=True)
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {platform.node()}, since {since}")
            lock.flush()
        except OSError as error:
            raise explain(error, folder / "lock") from error
        seconds = float(os.environ.get("GENBENCH_CHECKPOINT_SECONDS", "30"))
        yield Workspace(folder, seconds, watched, time.monotonic())
        write_bytes(folder / DONE, b"")


def _holds_work(folder: Path) -> bool:
    """Whether a folder holds some work, not only its lock and its identity."""
    return any(path.name not in ("lock", IDENTITY) for path in folder.iterdir())


def _begun_elsewhere(folder: Path, name: str, identity: Mapping[str, Any]) -> Iterator[str]:
    """What to say of unfinished work that differs from this by nothing but the machine's part in it."""
    mine = json.loads(json.dumps(identity))
    for other in sorted(folder.parent.glob(f"{glob.escape(name)}-{'[0-9a-f]' * 16}")):
        if other == folder or not (other / IDENTITY).is_file() or not _holds_work(other) or (other / DONE).is_file():
            continue
        with contextlib.suppress(ValueError):
            theirs = read_json(other / IDENTITY)
            differ = [key for key in MACHINE if theirs.get(key) != mine.get(key)]
            if differ and {k: v for k, v in theirs.items() if k not in MACHINE} == {k: v for k, v in mine.items() if k not in MACHINE}:
                yield (
                    f"{name}: work that was begun {_circumstances(theirs)} is not continued {_circumstances(mine)}{_versions(theirs, mine)}, "
                    f"since the result would be neither's; starting anew. The same command where it was begun goes on from {other}"
                )


def _circumstances(identity: Mapping[str, Any]) -> str:
    """``in bfloat16 on AMD, AVX512_BF16 with 2 threads``, from an identity."""
    precision = f"in {identity['precision']} " if "precision" in identity else ""
    kind = in_words(identity["kind"]) if "kind" in identity else identity.get("device", "another machine")
    return f"{precision}on {kind}, with {identity.get('threads', '?')} thread{'s' if identity.get('threads') != 1 else ''}"


def _versions(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """``, with torch 2.15.0 instead of 2.14.0``: what of two kinds their words do not tell apart."""
    pairs = []
    for part in ("libraries", "limits"):
        before, now = (identity.get("kind", {}).get(part, {}) for identity in (theirs, mine))
        changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        pairs += [f"{name} {now.get(name)} instead of {before.get(name)}" for name in changed]
    return f", with {', '.join(pairs)}" if pairs else ""


def _clear(folder: Path) -> None:
    """Remove what earlier runs left, but not the lock that is held."""
    for path in folder.iterdir():
        if path.name != "lock":
            path.unlink()


def _acquire(lock: int, folder: Path, name: str, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = (folder / "lock").read_text(encoding="utf-8") or "an unknown process"
                raise UserError(f"{name} is already being worked on by {holder}; wait for it or stop it, then run again") from None
            time.sleep(0.2)
        else:
            return
