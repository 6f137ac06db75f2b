"""Tensors of a safetensors file as numpy arrays, without importing torch, and a hash of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from genbench.errors import UserError

__all__ = ["hash_of", "read_tensors"]

_TYPES = {"BOOL": "?", "F16": "f2", "F32": "f4", "F64": "f8"}
_TYPES |= {f"{sign}{8 * size}": f"{sign.lower()}{size}" for sign in "IU" for size in (1, 2, 4, 8)}


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors of a file by name, and its metadata. A type that numpy lacks, such as bfloat16, is read as raw bytes of its size.

    Raises:
        FileNotFoundError: names the path.
        UserError: no safetensors file, or truncated; names the path and how to mend.
    """
    data = path.read_bytes()
    try:
        arrays = {name: _array(**spec) for name, spec in deserialize(data)}
        size = int.from_bytes(data[:8], "little")  # of the header, which the library checked
        return arrays, json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path} is no safetensors file, or truncated ({error}); delete it and train the entry again") from error


def _array(dtype: str, shape: list[int], data: bytes) -> np.ndarray:
    count = int(np.prod(shape, dtype=np.int64))
    kind = f"<{_TYPES[dtype]}" if dtype in _TYPES else f"V{len(data) // count if count else 1}"
    return np.frombuffer(data, np.dtype(kind)).reshape(shape)


def hash_of(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and bits of arrays, whatever their order and the layout of the file that they come from."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
