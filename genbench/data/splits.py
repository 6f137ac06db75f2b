"""The prepared splits of a data set, checked and as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genbench.base import DataSpec
from genbench.data.datasets import sizes_of, spec_of
from genbench.errors import UserError
from genbench.files import read_npz

__all__ = ["EXCERPT", "Dataset", "load", "load_split"]

EXCERPT = {"excerpt": np.ones(1, bool)}
"""Array with which a prepared file says that its splits are smaller: for tests. Without it they
must have the sizes of the data set.
"""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The splits of a data set: ``*_x`` uint8 (N, 1, H, W), ``*_y`` int64 (N,) or None where there
    are no labels.
    """

    name: str
    spec: DataSpec
    train_x: Tensor
    train_y: Tensor | None
    valid_x: Tensor
    valid_y: Tensor | None
    test_x: Tensor
    test_y: Tensor | None


def load(path: Path, dataset: str) -> Dataset:
    """All splits of a prepared file.

    Raises:
        FileNotFoundError, ValueError: missing, corrupt, or not of this data set or its size; names
            the file.
    """
    arrays = read_npz(path)
    train, valid, test = (
        _tensors(arrays, path, dataset, split) for split in ("train", "valid", "test")
    )
    return Dataset(dataset, spec_of(dataset), *train, *valid, *test)


def load_split(path: Path, dataset: str, split: str) -> tuple[Tensor, Tensor | None]:
    """One split of a prepared file: images uint8 (N, 1, H, W) and labels int64 (N,) or None. Errors
    as of :func:`load`.
    """
    return _tensors(read_npz(path), path, dataset, split)


def _tensors(
    arrays: Mapping[str, np.ndarray], path: Path, dataset: str, split: str
) -> tuple[Tensor, Tensor | None]:
    spec = spec_of(dataset)
    size = None if EXCERPT.keys() <= arrays.keys() else sizes_of(dataset)[split]
    x, y = arrays.get(f"{split}_x"), arrays.get(f"{split}_y")
    mistake = _mistake_in_images(x, spec, size)
    if mistake is None and spec.classes:
        mistake = _mistake_in_labels(y, spec, 0 if x is None else len(x))
    if mistake is not None:
        raise UserError(
            f"{path}: {split}{mistake}; delete the file and run `genbench prepare` again"
        )
    assert x is not None
    images = torch.from_numpy(x[:, None].copy())
    if not spec.classes:
        return images, None
    assert y is not None
    return images, torch.from_numpy(y.astype(np.int64))


def _mistake_in_images(x: np.ndarray | None, spec: DataSpec, size: int | None) -> str | None:
    """What is wrong with the images of a split, for the end of a message; None if nothing is."""
    edges = f"{spec.height}, {spec.width}"
    if size is None:
        shape = f"_x must be uint8 (N, {edges}) with N >= 1"
    else:
        shape = f"_x must be uint8 ({size}, {edges})"
    if x is None:
        return f"{shape}, and is missing"
    right = x.dtype == np.uint8 and x.shape[1:] == (spec.height, spec.width)
    if not right or len(x) == 0 or len(x) != (size or len(x)):
        return f"{shape}, got {x.dtype} {x.shape}"
    if int(x.max()) >= spec.levels:
        return f"_x must hold levels below {spec.levels}, got {x.max()}"
    return None


def _mistake_in_labels(y: np.ndarray | None, spec: DataSpec, images: int) -> str | None:
    """What is wrong with the labels of a split."""
    shape = f"_y must be integers ({images},), one for each image"
    if y is None:
        return f"{shape}, and is missing"
    if y.dtype.kind not in "iu" or y.shape != (images,):
        return f"{shape}, got {y.dtype} {y.shape}"
    wrong = y[(y < 0) | (y >= spec.classes)]
    if len(wrong):
        return f"_y must hold labels 0..{spec.classes - 1}, got {wrong[0]}"
    return None
