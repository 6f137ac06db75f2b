"""Unfinished work on disk: one locked folder per piece of work, checkpoints replaced atomically,
chunks kept as they are finished.

The folder's name is a hash of all that determines the result, so work is resumed only by a run that
would reach the same bits. What was begun on another kind of processor, in another precision or with
other threads stays where it is, and is named. Every file ends with a checksum of itself: one that
is damaged, or is of a version without checksums, counts as absent, and that part of the work is
done anew.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genbench.errors import Stopped
from genbench.files import read_json, write_bytes, write_json
from genbench.hardware.kind import MACHINE, in_words
from genbench.processes.alive import alive, awaited_by
from genbench.processes.lock import INTERVAL, PATIENCE, hold
from genbench.training.checkpoint_files import DONE, IDENTITY, LOCK

__all__ = ["Workspace", "workspace"]

_SEAL = b"\ngenbench-sha256 "
"""Comes before the checksum at the end of a file. Archives may have something behind them, so numpy
and torch still read such a file.
"""


def _seal(data: bytes) -> bytes:
    return data + _SEAL + hashlib.sha256(data).hexdigest().encode()


def _unsealed(path: Path) -> bytes | None:
    """The data of a sealed file; None if there is none, or one that is damaged, which is said."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    data, seal, _ = content.rpartition(_SEAL)
    if seal and _seal(data) == content:
        return data
    print(
        f"{path} is damaged, or of a version without checksums: its work is done anew",
        file=sys.stderr,
        flush=True,
    )
    return None


@dataclass(slots=True)
class Workspace:
    """A locked folder of unfinished work.

    Attributes:
        folder: where it is.
        seconds: time between checkpoints.
    """

    folder: Path
    seconds: float
    _watched: list[str]
    _last: float

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._last >= self.seconds

    def save(self, name: str, value: Any) -> None:
        """Keep a value that torch can save, replacing the last one; then stop if nobody waits for
        this work any more.
        """
        buffer = io.BytesIO()
        torch.save(value, buffer)
        write_bytes(self.folder / name, _seal(buffer.getvalue()))
        self._last = time.monotonic()
        self.stop_if_orphaned()

    def load(self, name: str, *, device: torch.device | str = "cpu") -> Any | None:
        """The value kept under ``name``, or None; also if it is damaged, which is said on standard
        error.
        """
        data = _unsealed(self.folder / name)
        if data is None:
            return None
        return torch.load(io.BytesIO(data), map_location=device, weights_only=True)

    def chunk(
        self, name: str, compute: Callable[[], Mapping[str, np.ndarray]]
    ) -> Mapping[str, np.ndarray]:
        """The arrays of a chunk: those kept from an earlier run, else computed now and kept."""
        path = self.folder / f"{name}.npz"
        data = _unsealed(path)
        if data is not None:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                return dict(file)
        arrays = compute()
        buffer = io.BytesIO()
        # The stub takes the keyword allow_pickle for an array.
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_bytes(path, _seal(buffer.getvalue()))
        self.stop_if_orphaned()
        return arrays

    def stop_if_orphaned(self) -> None:
        """Stop if who started this process is gone: the next run resumes from here.

        Raises:
            Stopped: names the folder.
        """
        if not all(alive(process) for process in self._watched):
            raise Stopped(
                "the process that started this work has died; stopping. The next run resumes from "
                f"{self.folder}"
            )


@contextlib.contextmanager
def workspace(
    checkpoints: Path,
    name: str,
    identity: Mapping[str, Any],
    *,
    interval: float = INTERVAL,
    patience: float = PATIENCE,
) -> Iterator[Workspace]:
    """The locked folder ``<checkpoints>/<name>-<hash of identity>``.

    Where another process works on the same, this one waits for as long as that lives, and says so
    (:mod:`genbench.processes.lock`).

    Arguments:
        checkpoints: parent of all such folders.
        name: for people, e.g. ``quick-made-train``.
        identity: all that determines the result, as JSON values.
        interval: seconds between two signs of life.
        patience: seconds without one after which a holder on another machine counts as gone.

    Raises:
        Stopped: who started this process has died, while it waited or worked.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    seconds = float(os.environ.get("GENBENCH_CHECKPOINT_SECONDS", "30"))
    # By its name, not from genbench.pipeline.stage_process, whose edits change no result.
    watched = awaited_by(int(os.environ.get("GENBENCH_WAITING", os.getpid())))
    work = Workspace(checkpoints / f"{name}-{digest}", seconds, watched, time.monotonic())
    with hold(
        work.folder / LOCK,
        name,
        check=work.stop_if_orphaned,
        interval=interval,
        patience=patience,
    ):
        _begin(work.folder, name, identity)
        work._last = time.monotonic()
        yield work
        write_bytes(work.folder / DONE, b"")


def _begin(folder: Path, name: str, identity: Mapping[str, Any]) -> None:
    """Note what the work in a folder is the beginning of."""
    # One that is there and right stays, for its age tells when the work began.
    if _read_identity(folder) != json.loads(json.dumps(identity)):
        write_json(folder / IDENTITY, identity)
    if not _holds_work(folder):
        for told in _begun_elsewhere(folder, name, identity):
            print(told, file=sys.stderr, flush=True)


def _read_identity(folder: Path) -> dict[str, Any] | None:
    """The identity of the work in a folder; None if there is none, or none that can be read."""
    try:
        identity = read_json(folder / IDENTITY)
    except (OSError, ValueError):
        return None
    return identity if isinstance(identity, dict) else None


def _holds_work(folder: Path) -> bool:
    """Whether a folder holds some work, not only its lock and its identity."""
    return any(path.name not in (LOCK, IDENTITY) for path in folder.iterdir())


def _begun_elsewhere(folder: Path, name: str, identity: Mapping[str, Any]) -> Iterator[str]:
    """What to say of unfinished work that differs from this by nothing but the machine's part in
    it.
    """
    mine = json.loads(json.dumps(identity))
    for other in sorted(folder.parent.glob(f"{glob.escape(name)}-{'[0-9a-f]' * 16}")):
        theirs = None if other == folder else _read_identity(other)
        if theirs is None or not _holds_work(other) or (other / DONE).is_file():
            continue
        if not _differ_by_machine(theirs, mine):
            continue
        # A damaged identity lacks what is told of it; nothing goes on from that one.
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            yield (
                f"{name}: work that was begun {_circumstances(theirs)} is not continued "
                f"{_circumstances(mine)}{_versions(theirs, mine)}, "
                "since the result would be neither's; starting anew. The same command where "
                f"it was begun goes on from {other}"
            )


def _differ_by_machine(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
    """Whether two identities differ by the machine's part in them, and by nothing else."""
    differ = {key for key in theirs.keys() | mine.keys() if theirs.get(key) != mine.get(key)}
    return bool(differ) and differ <= set(MACHINE)


def _circumstances(identity: Mapping[str, Any]) -> str:
    """``in bfloat16 on AMD, AVX512_BF16 with 2 threads``, from an identity."""
    precision = f"in {identity['precision']} " if "precision" in identity else ""
    if "kind" in identity:
        kind = in_words(identity["kind"])
    else:
        kind = identity.get("device", "another machine")
    threads = identity.get("threads", "?")
    return f"{precision}on {kind}, with {threads} thread{'s' if threads != 1 else ''}"


def _versions(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """``, with torch 2.15.0 instead of 2.14.0``: what the words of two kinds do not tell apart."""
    pairs = []
    for part in ("libraries", "limits"):
        before, now = (identity.get("kind", {}).get(part, {}) for identity in (theirs, mine))
        changed = sorted(
            name for name in before.keys() | now.keys() if before.get(name) != now.get(name)
        )
        pairs += [f"{name} {now.get(name)} instead of {before.get(name)}" for name in changed]
    return f", with {', '.join(pairs)}" if pairs else ""
