"""Receipts: what a stage was made from and what it gave, until DVC has noted it.

Outputs are published by renaming. A receipt is written last, and counts only as long as everything
that it names still has that content; so two processes that publish the same stage at once leave
either one whole result with its receipt, or none, and then the stage runs again from its unfinished
work.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import STAGES
from genbench.errors import UserError
from genbench.files import read_json, replace_directory, write_bytes, write_json
from genbench.pipeline.stage_runner import stage_places
from genbench.processes.lock import hold

__all__ = [
    "SAME_BITS",
    "OtherBitsError",
    "Receipt",
    "content_of",
    "publish",
    "read_receipt",
    "write_receipt",
]

SAME_BITS = "Machines of one kind give the same bits: `genbench doctor` on both shows their kinds"


class OtherBitsError(UserError):
    """A stage has run twice with the same inputs, and its results differ."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A stage that has been run, and whose outputs are in their places.

    Attributes:
        stage: its name.
        entry: whose it is.
        fingerprint: MD5 of the file of its sources and parameters.
        reads: MD5 of what it has read, by part.
        writes: MD5 of what it has written, by part.
        host: where it ran.
        begun: when, in seconds since the epoch.
        seconds: what it took; None if it was not run, since its outputs were right.
    """

    stage: str
    entry: str
    fingerprint: str
    reads: Mapping[str, str]
    writes: Mapping[str, str]
    host: str
    begun: float
    seconds: float | None


def content_of(path: Path) -> str:
    """MD5 of a file, or over the names and contents of a folder's files.

    Raises:
        FileNotFoundError: there is neither.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listed = [(file.relative_to(path).as_posix(), content_of(file)) for file in files]
        return hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest()
    found = path.stat()
    return _md5(path, found.st_ino, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=4096)
def _md5(path: Path, *written: int) -> str:
    """MD5 of a file that was written just then: data sets are asked for by each entry."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def read_receipt(params: Params, stage: str, entry: str) -> Receipt | None:
    """The receipt of a stage; None if there is none, or one that is no longer so: of other sources,
    parameters or inputs than those of now, or of outputs that are gone or changed.
    """
    layout = Layout.of(params)
    try:
        receipt = Receipt(**read_json(layout.done(entry, stage)))
        places = stage_places(params, STAGES[stage], entry)
        same = content_of(layout.fingerprint(entry, stage)) == receipt.fingerprint
        named = {**receipt.reads, **receipt.writes}
        if same and all(content_of(places[part]) == md5 for part, md5 in named.items()):
            return receipt
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    return None


def write_receipt(params: Params, receipt: Receipt) -> None:
    """Write a receipt, with which a stage counts as run."""
    write_json(Layout.of(params).done(receipt.entry, receipt.stage), asdict(receipt))


def publish(
    params: Params, receipt: Receipt, staged: Mapping[str, Path], final: Mapping[str, Path]
) -> None:
    """Put outputs in their places and write the receipt.

    If another process has published the same stage meanwhile, its outputs stay, provided that they
    are equal in all but times.

    Arguments:
        params: the profile.
        receipt: without ``writes``.
        staged: where the outputs are, by part.
        final: where they belong.

    Raises:
        OtherBitsError: another process has published other bits from the same inputs.
    """
    layout = Layout.of(params)
    path = layout.done(receipt.entry, receipt.stage)
    writes = {part: content_of(place) for part, place in staged.items()}
    label = f"{receipt.stage} of {receipt.entry}"
    with hold(path.with_suffix(".lock"), f"publishing {label}"):
        other = read_receipt(params, receipt.stage, receipt.entry)
        if other is not None and other.begun != receipt.begun:
            _compare(params, receipt, other, writes)
            return
        path.unlink(missing_ok=True)
        for part, place in staged.items():
            _put(place, final[part])
        write_receipt(params, replace(receipt, writes=writes))


def _compare(params: Params, own: Receipt, other: Receipt, writes: Mapping[str, str]) -> None:
    """Raise UserError if two runs of one stage gave other bits."""
    table = STAGES[own.stage]
    compared = [part for part in writes if part not in table.timed]
    differing = [part for part in compared if other.writes[part] != writes[part]]
    if differing:
        places = stage_places(params, table, own.entry)
        raise OtherBitsError(
            f"{own.stage} of {own.entry} ran twice, here on {own.host} and on {other.host}, and "
            f"{places[differing[0]].name} differs; that of {other.host} stays. {SAME_BITS}"
        )


def _put(source: Path, target: Path) -> None:
    """Move a file or folder to its place, whatever is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_dir():
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            write_bytes(target, source.read_bytes())  # another disk, where one cannot rename to
        return
    with replace_directory(target) as folder:
        for item in source.iterdir():
            with contextlib.suppress(FileNotFoundError):
                shutil.move(item, folder / item.name)
