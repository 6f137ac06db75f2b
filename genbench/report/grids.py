"""Sample grids, pixel by pixel: 100 samples of an entry, and as many real digits of its data
set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genbench.base import DataSpec
from genbench.data.splits import load_split
from genbench.data.subsets import strided
from genbench.pictures.grids import grid, png

__all__ = ["pick", "real_grids", "sample_grid"]

_SIDE = 10
_SCALE = 2  # side of a pixel, so that screens of high density show it sharp


def pick(images: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Up to 100 images in the order of a grid, and its number of columns.

    With labels, one class per row, the first of each in the order of drawing; else the first ones
    as they were drawn. The choice never looks at the images.
    """
    if labels is None:
        n = min(len(images), _SIDE * _SIDE)
        return images[: n - n % _SIDE if n >= _SIDE else n], min(n, _SIDE)
    classes = np.unique(labels)
    columns = min(_SIDE, *(int((labels == c).sum()) for c in classes))
    return np.concatenate([images[labels == c][:columns] for c in classes]), columns


def sample_grid(images: np.ndarray, labels: np.ndarray | None, spec: DataSpec) -> bytes:
    """PNG of :func:`pick` of uint8 images (n, H, W)."""
    chosen, columns = pick(images, labels)
    return png(grid(chosen, levels=spec.levels, columns=columns, scale=_SCALE, gap=1))


def real_grids(path: Path, dataset: str, spec: DataSpec) -> dict[str, bytes]:
    """PNGs of real test images: ``mixed`` strided over the test split, and where there are labels
    ``by_class``. Empty without the data.
    """
    try:
        x, y = load_split(path, dataset, "test")
    except (OSError, ValueError):
        # the page says that they are missing; the entries' own stages report the data's error
        return {}
    images = x[:, 0].numpy()
    mixed = images[strided(len(images), _SIDE * _SIDE)]
    pages = {"mixed": sample_grid(mixed, None, spec)}
    if y is not None:
        pages["by_class"] = sample_grid(images, y.numpy(), spec)
    return pages
