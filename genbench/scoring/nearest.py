"""Nearest training images: distances in pixels to the two nearest of a training split, of images
that are centred by whole pixels, in bounded memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genbench.errors import UserError

__all__ = ["Nearest", "centred", "nearest"]

_ROWS = 250
"""Images at a time: 50 MB of distances to 50,000 training images."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The two nearest training images of n images.

    Attributes:
        index: int64 (n, 2), the nearest first.
        distance: float64 (n, 2), Euclidean, in levels.
    """

    index: np.ndarray
    distance: np.ndarray

    def __len__(self) -> int:
        return len(self.index)


def centred(images: np.ndarray) -> np.ndarray:
    """Images moved by whole pixels so that their centre of mass comes as near as it can to the
    corner in which the four middle pixels meet; what leaves on one side comes back on the other.

    An image and itself moved by whole pixels become the same one, as long as nothing is cut off.
    The offsets are quotients of whole numbers, so that this holds exactly.

    Arguments:
        images: uint8 (n, H, W). Black ones stay as they are.

    Returns:
        uint8 (n, H, W).
    """
    _check(images, "images", 0)
    for axis in (1, 2):
        size = images.shape[axis]
        ink = images.sum(axis=3 - axis, dtype=np.int64)  # (n, size)
        mass = np.maximum(1, ink.sum(1))
        offset = _offset(mass, (ink * np.arange(size)).sum(1), size)
        place = (np.arange(size) - offset[:, None]) % size  # (n, size)
        images = np.take_along_axis(images, np.expand_dims(place, 3 - axis), axis)
    return images


def _offset(mass: np.ndarray, moment: np.ndarray, size: int) -> np.ndarray:
    """Half the size - moment / mass, rounded; 0 where there is no moment."""
    return np.where(moment == 0, 0, ((size + 1) * mass - 2 * moment) // (2 * mass))


def nearest(images: np.ndarray, train: np.ndarray, *, rows: int = _ROWS) -> Nearest:
    """The two nearest training images of each image, by Euclidean distance.

    They are found by |x - y|^2 = |x|^2 + |y|^2 - 2 x.y in float32, whose error of some units may
    decide between images that are equally near; their distances are then computed exactly.

    Arguments:
        images: uint8 (n, H, W).
        train: uint8 (N, H, W), N >= 2.
        rows: images at a time, which bounds the memory.

    Raises:
        UserError: other types or shapes, or fewer than two training images.
    """
    _check(images, "images", 1)
    _check(train, "training images", 2)
    if images.shape[1:] != train.shape[1:]:
        raise UserError(
            f"images have the shape {images.shape[1:]}, training images {train.shape[1:]}; they "
            "must be of one data set"
        )
    flat = train.reshape(len(train), -1).astype(np.float32)
    norms = np.einsum("nd,nd->n", flat, flat, dtype=np.float64).astype(np.float32)
    blocks = [images[i : i + rows] for i in range(0, len(images), rows)]
    pairs = [_exact(block, train, _two(block, flat, norms)) for block in blocks]
    return Nearest(*(np.concatenate(part) for part in zip(*pairs, strict=True)))


def _two(block: np.ndarray, flat: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Indices (b, 2) of the two nearest."""
    scores = block.reshape(len(block), -1).astype(np.float32) @ flat.T  # (b, N)
    scores *= -2
    scores += norms  # |x|^2 is the same for all
    first = scores.argmin(1)
    scores[np.arange(len(block)), first] = np.inf
    return np.stack([first, scores.argmin(1)], 1)


def _exact(
    block: np.ndarray, train: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and distances (b, 2), the nearest first."""
    apart = block[:, None].astype(np.int64) - train[index]  # (b, 2, H, W)
    distance = np.sqrt(np.square(apart).sum((2, 3)))
    order = np.argsort(distance, axis=1, kind="stable")
    return np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1)


def _check(images: np.ndarray, name: str, least: int) -> None:
    if images.dtype != np.uint8 or images.ndim != 3 or len(images) < least:
        raise UserError(
            f"{name}: must be uint8 (n, H, W) with n >= {least}, got {images.dtype} {images.shape}"
        )
