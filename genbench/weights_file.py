"""Trained weights as numpy arrays, checked against their checksum, without importing torch; and a
hash of tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, deserialize

from genbench.errors import UserError

__all__ = ["CHECKSUM", "FORMAT", "Weights", "checksum", "hash_of", "read_weights"]

FORMAT, _WITHOUT_CHECKSUM = "genbench-2", "genbench-1"
CHECKSUM = "sha256"
"""Where a weights file has it, beside what it says of its model."""
_MEND = "`genbench run` finds that out and makes it again; or delete it and train the entry again"

_TYPES = {"BOOL": "?", "F16": "f2", "F32": "f4", "F64": "f8"}
_TYPES |= {f"{sign}{8 * size}": f"{sign.lower()}{size}" for sign in "IU" for size in (1, 2, 4, 8)}
_NAMES = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}
_NAMES |= {f"F8_{kind}": f"float8_{kind.lower()}" for kind in ("E4M3FNUZ", "E5M2", "E5M2FNUZ")} | {
    "F8_E4M3": "float8_e4m3fn"
}
_NAMES |= {
    f"{sign}{bits}": f"{name}{bits}"
    for sign, name in (("I", "int"), ("U", "uint"))
    for bits in (8, 16, 32, 64)
}
"""Of types, as torch has them."""


class Weights(NamedTuple):
    """Trained weights as they were written.

    Attributes:
        arrays: by name; a type that numpy lacks, such as bfloat16, as raw bytes of its size.
        metadata: what the file says of its model (entry, model, dataset, seed, arch, spec), without
            format and checksum.
        data: the whole file.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]
    data: bytes


def read_weights(path: Path) -> Weights:
    """What :func:`genbench.weights.save` wrote, checked.

    Raises:
        FileNotFoundError: names the path.
        UserError: damaged, or no trained weights; names the path and how to mend.
    """
    data, parts, header = _parts(path)
    try:
        metadata = json.loads(header.get("genbench", "{}"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); {_MEND}") from error
    form = metadata.pop("format", None) if isinstance(metadata, dict) else metadata
    if form not in (FORMAT, _WITHOUT_CHECKSUM):
        raise UserError(
            f"{path} holds no weights of genbench: its format is {form!r}, not {FORMAT!r}; {_MEND}"
        )
    noted, content = (
        metadata.pop(CHECKSUM, None),
        ((name, _name(part["dtype"]), part["shape"], part["data"]) for name, part in parts),
    )
    if form == FORMAT and noted != checksum({"format": form, **metadata}, content):
        raise UserError(
            f"{path} is damaged: its content is not that of the checksum in it; {_MEND}"
        )
    return Weights({name: _array(**part) for name, part in parts}, metadata, data)


def checksum(
    metadata: Mapping[str, Any], tensors: Iterable[tuple[str, str, Sequence[int], Any]]
) -> str:
    """SHA-256 over all that a weights file holds, in an order of its own.

    Arguments:
        metadata: what it says of its model.
        tensors: name, type as torch calls it, shape and bytes of each.
    """
    read = json.loads(json.dumps(metadata))  # tuples are lists there, and keys text
    digest = hashlib.sha256(json.dumps(read, sort_keys=True).encode())
    for name, dtype, shape, data in sorted(tensors, key=lambda tensor: tensor[0]):
        digest.update(f"{name} {dtype} {tuple(shape)}".encode())
        digest.update(data)
    return digest.hexdigest()


def _name(dtype: str) -> str:
    return f"torch.{_NAMES.get(dtype, dtype)}"


def _parts(path: Path) -> tuple[bytes, list[tuple[str, dict[str, Any]]], dict[str, str]]:
    """The content of a file; names of tensors with ``dtype``, ``shape`` and ``data``; and its
    metadata.
    """
    data = path.read_bytes()
    try:
        parts = deserialize(data)
        size = int.from_bytes(data[:8], "little")  # of the header, which the library checked
        return data, parts, json.loads(data[8 : 8 + size]).get("__metadata__") or {}
    except (SafetensorError, ValueError) as error:
        raise UserError(
            f"{path} is no safetensors file, or truncated ({error}); {_MEND}"
        ) from error


def _array(dtype: str, shape: list[int], data: bytes) -> np.ndarray:
    count = int(np.prod(shape, dtype=np.int64))
    kind = f"<{_TYPES[dtype]}" if dtype in _TYPES else f"V{len(data) // count if count else 1}"
    return np.frombuffer(data, np.dtype(kind)).reshape(shape)


def hash_of(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and bits of arrays, whatever their order and the layout of
    the file that they come from.

    Score hashes hold it. It is no :func:`checksum`, as equal weights are equal whatever else their
    file says.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
