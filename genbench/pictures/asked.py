"""What the command line is asked to draw, from its text to tensors: labels, digits, masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genbench.base import DataSpec, GenerativeModel
from genbench.errors import UserError
from genbench.pictures import grids
from genbench.pictures.subject import labels_for

__all__ = ["chosen_labels", "mask_of", "upper_rows", "with_digits"]


def _integers(text: str, option: str, like: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"{option}: must be integers with commas between them, like {like}, got {text!r}"
        ) from None


def chosen_labels(model: GenerativeModel, text: str | None, n: int) -> Tensor | None:
    """The labels (n,) that ``text`` names, repeated; by default every class in turn for conditional
    models.

    Raises:
        UserError: they are no labels of the model.
    """
    if text is None:
        return labels_for(model, None, n)
    wanted = _integers(text, "--labels", "0,1,2")
    y = torch.tensor([wanted[i % len(wanted)] for i in range(n)], device=model.device)
    try:
        model.check_labels(n, y)
    except ValueError as error:
        raise UserError(f"--labels: {error}") from error
    return y


def with_digits(x: Tensor, y: Tensor | None, text: str) -> tuple[Tensor, Tensor]:
    """The images and labels whose labels ``text`` names.

    Raises:
        UserError: the data set has no such labels.
    """
    if y is None:
        raise UserError("--digits: this data set has no labels")
    wanted = torch.tensor(_integers(text, "--digits", "3,7"))
    unknown = sorted(set(wanted.tolist()) - set(y.unique().tolist()))
    if unknown:
        raise UserError(f"--digits: labels are {int(y.min())}..{int(y.max())}, got {unknown[0]}")
    chosen = torch.isin(y, wanted)
    return x[chosen], y[chosen]


def upper_rows(rows: int, spec: DataSpec) -> Tensor:
    """Mask bool (H, W), True in so many upper rows; UserError unless some row is left."""
    if not 0 <= rows < spec.height:
        raise UserError(f"--rows: must be 0..{spec.height - 1}, got {rows}")
    return (torch.arange(spec.height) < rows)[:, None].expand(-1, spec.width)


def mask_of(file: Path, spec: DataSpec) -> Tensor:
    """Mask bool (H, W) of a picture, True where it is white.

    Raises:
        UserError: no picture, one of another size, or white everywhere; names it.
    """
    try:
        grey = np.asarray(grids.read_picture(file, "L"))
    except UserError as error:
        raise UserError(f"--mask: {error}") from error
    if grey.shape != (spec.height, spec.width):
        raise UserError(
            f"--mask: {file} must have {spec.width} x {spec.height} pixels like the images, got "
            f"{grey.shape[1]} x {grey.shape[0]}"
        )
    known = torch.from_numpy(grey >= 128)
    if bool(known.all()):
        raise UserError(f"--mask: {file} is white everywhere, so there is nothing to draw")
    return known
