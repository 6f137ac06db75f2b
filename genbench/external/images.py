"""Images that others made, and which of them are scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from genbench.errors import UserError
from genbench.external.arrays import checked_images, checked_labels, read_arrays
from genbench.external.folder import read_folder
from genbench.files import sha256
from genbench.seeding import generator_for
from genbench.spec import DataSpec

__all__ = ["Images", "chosen", "read_images"]


@dataclass(frozen=True, slots=True)
class Images:
    """Images, checked.

    Attributes:
        images: uint8 (N, H, W), levels of their data set.
        labels: int64 (N,) that they were sampled with, or None.
    """

    images: np.ndarray
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def digest(self) -> str:
        """SHA-256 over the pixels, and the labels behind them."""
        labels = b"" if self.labels is None else self.labels.tobytes()
        return sha256(self.images.tobytes() + labels)

    def part(self, index: np.ndarray) -> Images:
        """The images of these indices (n,), with their labels."""
        return Images(self.images[index], None if self.labels is None else self.labels[index])


def read_images(path: Path, spec: DataSpec, *, labelled: bool = False) -> Images:
    """The images in a file or folder.

    Arguments:
        path: an npz file that holds ``images``, and ``labels`` where they are asked for; or a
            folder of PNG pictures, in folders by label where those are asked for.
        spec: the form of their data set.
        labelled: whether labels are asked for.

    Raises:
        UserError: what is there is nothing of the kind; says how to convert it.
        OSError: it cannot be read; names the file.
    """
    if path.is_dir():
        images, labels = read_folder(path, spec, labelled=labelled)
        return Images(checked_images(images, spec, str(path)), labels)
    arrays = read_arrays(path, "images")
    images = checked_images(arrays["images"], spec, str(path))
    if not labelled:
        return Images(images)
    if "labels" not in arrays:
        raise UserError(
            f"{path}: --labels asks for the array 'labels', which is not there; leave it out, or "
            f"write them by `np.savez({path.name!r}, images=images, labels=labels)`"
        )
    return Images(images, checked_labels(arrays["labels"], len(images), spec, str(path)))


def chosen(total: int, n: int) -> np.ndarray:
    """Which of ``total`` images are scored by a protocol of ``n``: indices, rising; all of them if
    there are no more.

    Else ``n`` by a permutation that depends on ``total`` alone: of images that are sorted by class
    the first so many would lack classes.
    """
    if total <= n:
        return np.arange(total)
    order = torch.randperm(total, generator=generator_for("evaluate", total))
    return np.sort(order[:n].numpy())
