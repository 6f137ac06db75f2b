"""What two files of results differ in: arrays, tensors and tables bit by bit, JSON with scores to a
relative tolerance, without times.
"""

from __future__ import annotations

import csv
import filecmp
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from genbench.errors import UserError
from genbench.files import read_json, read_npz
from genbench.hardware.kind import MACHINE
from genbench.weights_file import read_weights

__all__ = ["RELATIVE", "Difference", "arrays_differ", "files_differ", "values_differ"]

RELATIVE = 1e-9
"""Relative difference up to which scores count as equal."""

_TIMES = ("seconds", "images_per_second")
_SOURCES = ("weights", "samples")
"""Keys of records that hold the hash of the file that a result was made from."""
_MEASURED = (
    "at_once",
    "peak_memory_mb",
    "sample_cpu_ms_per_image",
    "sample_ms_per_image",
    "train_cpu_seconds",
    "train_images_per_second",
    "train_seconds",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference of two results.

    Attributes:
        where: name of the tensor, score, cell or file.
        how: in words.
        size: largest |Δ| of an array, relative difference of a score; None where there is no such
            number, or it is not finite.
    """

    where: str
    how: str
    size: float | None = None


def arrays_differ(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> Iterator[Difference]:
    """Differences of named arrays in type, shape and bits; so -0 differs from 0, and a NaN from one
    of other bits.
    """
    yield from _only(first, second)
    for name in (name for name in first if name in second):
        a, b = first[name], second[name]
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            yield Difference(name, f"{a.dtype} {a.shape} and {b.dtype} {b.shape}")
        elif a.tobytes() != b.tobytes():
            yield _bits(name, a, b)


def _bits(name: str, a: np.ndarray, b: np.ndarray) -> Difference:
    rows = [np.frombuffer(x.tobytes(), np.uint8).reshape(a.size, -1) for x in (a, b)]
    other = (rows[0] != rows[1]).any(1)
    how = f"{np.count_nonzero(other)} of {a.size} values"
    if a.dtype.kind not in "biuf":
        return Difference(name, how)
    one, another = (x.ravel()[other].astype(np.float64) for x in (a, b))
    with np.errstate(invalid="ignore"):
        size = float(np.abs(one - another).max())
    return Difference(name, f"{how}, max |Δ| {size:.2g}", _finite(size))


def values_differ(
    a: Any, b: Any, where: str = "", *, relative: float = 0.0
) -> Iterator[Difference]:
    """Differences of JSON values: numbers with a point may differ by ``relative`` times the larger
    one, all else not at all.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        yield from _only(a, b, where)
        for key in (key for key in a if key in b):
            yield from values_differ(a[key], b[key], _below(where, key), relative=relative)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, pair in enumerate(zip(a, b, strict=True)):
            yield from values_differ(*pair, f"{where}[{i}]", relative=relative)
    elif _is_number(a) and _is_number(b) and float in (type(a), type(b)):
        size = abs(a - b) / (max(abs(a), abs(b)) or 1)
        if not (a == b or size <= relative):  # NaN differs
            yield Difference(where, f"{a!r} and {b!r}, relative {size:.2g}", _finite(size))
    elif type(a) is not type(b) or a != b:
        yield Difference(where, f"{_short(a)} and {_short(b)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _only(
    first: Mapping[str, Any], second: Mapping[str, Any], where: str = ""
) -> Iterator[Difference]:
    for one, other, place in ((first, second, "first"), (second, first, "second")):
        for key in sorted(one.keys() - other.keys()):
            yield Difference(_below(where, key), f"only in the {place}")


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _finite(size: float) -> float | None:
    return size if math.isfinite(size) else None


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def files_differ(
    first: Path, second: Path, same: Mapping[str, str] = MappingProxyType({})
) -> list[Difference]:
    """The differences of two files of one name, in the way that suits the name.

    A file that is damaged or absent differs from any other, and is no error, so that the comparison
    of all others goes on. Equal files are equal, whatever is in them.

    Arguments:
        first: one file.
        second: the other one.
        same: hash of a file → that of an equal one of other bytes: records that were made from
            either agree in that.
    """
    for path, other, place in ((first, second, "second"), (second, first, "first")):
        if not path.is_file() and other.is_file():
            return [Difference(first.name, f"only in the {place}")]
    if filecmp.cmp(first, second, shallow=False):
        return []
    try:
        return list(_how(first.name, same)(first, second))
    except (ValueError, OSError) as error:
        return [Difference(first.name, f"cannot be compared: {error}")]


def _how(name: str, same: Mapping[str, str]) -> Callable[[Path, Path], Iterator[Difference]]:
    suffixes: dict[str, Callable[[Path, Path], Iterator[Difference]]] = {
        ".safetensors": _weights,
        ".npz": _npz,
        ".csv": _tables,
        ".json": partial(_records, same=same),
    }
    return suffixes.get(Path(name).suffix, _opaque)


def _weights(first: Path, second: Path) -> Iterator[Difference]:
    """Differences of tensors and of what is said of their model; not of the form of the files, nor
    of their checksums.
    """
    one, other = read_weights(first), read_weights(second)
    yield from arrays_differ(one.arrays, other.arrays)
    yield from values_differ(one.metadata, other.metadata, "metadata")


def _npz(first: Path, second: Path) -> Iterator[Difference]:
    yield from arrays_differ(read_npz(first), read_npz(second))


def _records(first: Path, second: Path, *, same: Mapping[str, str]) -> Iterator[Difference]:
    one, other = (_result(read_json(path), same) for path in (first, second))
    yield from values_differ(one, other, relative=RELATIVE)


def _result(value: Any, same: Mapping[str, str]) -> Any:
    """A record without what a machine or a clock decides, with one hash for equal files."""
    if not isinstance(value, dict):
        return value
    found = {key: inner for key, inner in value.items() if key not in (*MACHINE, *_MEASURED)}
    if "made_from" in found:
        found["made_from"] = _result(found["made_from"], same)
    for key in _SOURCES:
        if isinstance(found.get(key), str):
            found[key] = same.get(found[key], found[key])
    return found


def _tables(first: Path, second: Path) -> Iterator[Difference]:
    """The cells of two tables, as text, but for the columns of time."""
    (heads, rows), (heads_other, rows_other) = _table(first), _table(second)
    if heads != heads_other:
        yield Difference("columns", f"{', '.join(heads)} and {', '.join(heads_other)}")
    elif len(rows) != len(rows_other):
        yield Difference("rows", f"{len(rows)} and {len(rows_other)}")
    else:
        for number, pair in enumerate(zip(rows, rows_other, strict=True), start=1):
            for head, a, b in zip(heads, *pair, strict=True):
                if a != b:
                    how = f"{a or 'nothing'} and {b or 'nothing'}"
                    yield Difference(f"row {number}, {head}", how)


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise UserError(f"{path} is no table")
    kept = [i for i, head in enumerate(rows[0]) if head not in _TIMES]
    head, *body = [[row[i] for i in kept] for row in rows]
    return head, body


def _opaque(first: Path, second: Path) -> Iterator[Difference]:
    """Files of which only the content as a whole counts, and that differs."""
    yield Difference(first.name, "other content")
