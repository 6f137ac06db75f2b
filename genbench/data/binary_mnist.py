"""``binary_mnist``: the static binarization of MNIST, 28x28 digits of two levels, without labels.

Larochelle & Murray, "The Neural Autoregressive Distribution Estimator", 2011,
https://proceedings.mlr.press/v15/larochelle11a.html; their files as published.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from genbench.base import DataSpec
from genbench.data.raw_file import RawFile
from genbench.errors import UserError

__all__ = ["SIZES", "SPEC", "parse_amat", "raw_files", "splits"]

SPEC = DataSpec(height=28, width=28, levels=2, classes=0)
SIZES = {"train": 50_000, "valid": 10_000, "test": 10_000}

_ADDRESS = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
_SHA1 = {
    "train": "cf70514ec5f481e54ad3eb0e6c03c83326ff96f8",
    "valid": "13418487742e6ea6d48db7b5187353a20b1b1f8c",
    "test": "ca70bd7775e182596dec148d4dc1bc6bd6c4c5f4",
}
_LINE = 2 * 28 * 28  # bytes: a digit and a separator for each pixel


def raw_files() -> list[RawFile]:
    """A file for each split."""
    names = {split: f"binarized_mnist_{split}.amat" for split in SIZES}
    return [
        RawFile("binarized_mnist", name, (_ADDRESS + name,), "sha1", _SHA1[split])
        for split, name in names.items()
    ]


def splits(contents: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """The splits, from the files' contents by name, in the order of :func:`raw_files`.

    Returns:
        ``{train,valid,test}_x`` uint8 (N, 28, 28).
    """
    arrays = [parse_amat(data, name) for name, data in contents.items()]
    return {f"{split}_x": x for split, x in zip(SIZES, arrays, strict=True)}


def parse_amat(data: bytes, name: str) -> np.ndarray:
    """The uint8 array (N, 28, 28) of a text file with 784 values 0 or 1 a line.

    Raises:
        UserError: it is none; ``name`` is what it is called.
    """
    table = np.frombuffer(data, np.uint8)
    if table.size % _LINE:
        raise UserError(
            f"{name} is truncated: {table.size} bytes are no whole number of lines of 784 digits"
        )
    pixels = table.reshape(-1, _LINE)[:, ::2] - ord("0")
    if pixels.size == 0 or pixels.max() > 1:
        raise UserError(f"{name} holds other values than 0 and 1")
    return pixels.reshape(-1, 28, 28)
