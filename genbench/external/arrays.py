"""Arrays that others wrote, checked: what is wrong is told with the line of numpy that mends it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from genbench.disk import ExplainedError
from genbench.errors import UserError
from genbench.files import read_npz
from genbench.spec import DataSpec

__all__ = ["checked_images", "checked_labels", "from_unit", "read_arrays"]

_LUMA = "[0.299, 0.587, 0.114]"
"""Weights of red, green and blue in a grey (ITU-R BT.601), which Pillow has too."""


def read_arrays(path: Path, wanted: str) -> dict[str, np.ndarray]:
    """The arrays of an npz file, ``wanted`` among them.

    Raises:
        UserError: there is no such file, no array of that name, or no npz; says how to write one.
        OSError: it cannot be read; names the file.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    write = f"write it by `np.savez({path.with_suffix('.npz').name!r}, {wanted}={wanted})`"
    try:
        arrays = read_npz(path)
    except ExplainedError:
        raise
    except ValueError as error:
        raise UserError(f"{path} is no whole npz file ({error.__cause__}); {write}") from error
    if wanted not in arrays:
        found = ", ".join(arrays) or "nothing"
        raise UserError(f"{path}: must hold the array {wanted!r}, and holds {found}; {write}")
    return arrays


# ---------------------------------------------------------------------- images


def checked_images(images: np.ndarray, spec: DataSpec, where: str) -> np.ndarray:
    """The images as uint8 (N, H, W).

    Arguments:
        images: uint8 (N, H, W) or (N, 1, H, W), levels of the data set.
        spec: its form.
        where: what messages call them.

    Raises:
        UserError: another shape, dtype or range, colours, NaN; has the line that converts them.
    """
    mistake = _mistake_in_shape(images, spec) or _mistake_in_values(images, spec)
    if mistake is not None:
        raise UserError(f"{where}: {mistake}")
    return images.reshape(-1, spec.height, spec.width)


def _mistake_in_shape(images: np.ndarray, spec: DataSpec) -> str | None:
    shape, size = images.shape, (spec.height, spec.width)
    if 0 in shape:
        return f"there are no images in the shape {shape}"
    if shape[-2:] == size and (images.ndim == 3 or (images.ndim == 4 and shape[1] == 1)):
        return None
    said = f"images must have the shape (N, {spec.height}, {spec.width}), got {shape}"
    axis = _colours(shape)
    if axis is not None:
        return f"{said}: colours; convert them by `images = {_grey(images, axis)}`"
    line = _reshaped(images, spec)
    if line is None:
        return f"{said}; sample images of that size, for a resized one is another image"
    return f"{said}; convert them by `images = {line}`"


def _colours(shape: tuple[int, ...]) -> int | None:
    """The axis of three colours, or of four with transparency; None if there is none."""
    if len(shape) != 4:
        return None
    return next((axis for axis in (3, 1) if shape[axis] in (3, 4)), None)


def _grey(images: np.ndarray, axis: int) -> str:
    """Greys of colours; what is behind transparency is left out."""
    last = "images" if axis == 3 else "np.moveaxis(images, 1, -1)"
    line = f"{last}[..., :3] @ {_LUMA}"
    return line if images.dtype.kind == "f" else f"np.rint({line}).astype(np.uint8)"


def _reshaped(images: np.ndarray, spec: DataSpec) -> str | None:
    """The line that brings another usual shape to ours."""
    shape, size = images.shape, (spec.height, spec.width)
    if shape == size:
        return "images[None]"
    if images.ndim > 1 and math.prod(shape[1:]) == spec.dims:
        return f"images.reshape(-1, {spec.height}, {spec.width})"
    if images.ndim == 3 and shape[:2] == size:
        return "np.moveaxis(images, -1, 0)"
    if images.ndim > 2 and shape[-2:] == (spec.height + 4, spec.width + 4):
        return "images[..., 2:-2, 2:-2]"  # digits of 28 x 28 that were padded to 32 x 32
    return None


def _mistake_in_values(images: np.ndarray, spec: DataSpec) -> str | None:
    top, dtype = spec.levels - 1, images.dtype
    if dtype.kind not in "buif":
        return f"images must be uint8 levels 0..{top}, got {dtype}"
    if dtype.kind == "f" and (mistake := _not_finite(images)) is not None:
        return mistake
    low, high = float(images.min()), float(images.max())
    # Values of 0..1 that were cut to whole numbers are black images with a few dots.
    dark = dtype.kind != "f" and 0 <= low and high <= 1 < top
    if dtype == np.uint8 and high <= top and not dark:
        return None
    said = f"images must be uint8 levels 0..{top}, got {dtype} {low:g}..{high:g}"
    said += ", which is black" if dark else ""
    if dtype.kind != "f" and 0 <= low and high <= top and not dark:
        return f"{said}; convert them by `images = images.astype(np.uint8)`"
    unit, note = _unit(low, high)
    if spec.levels == 2:
        note += "; binary pixels are drawn, never thresholded"
    return f"{said}; convert them by `images = {from_unit(unit, spec.levels)}`{note}"


def from_unit(unit: str, levels: int) -> str:
    """The line of numpy that makes levels of ``unit``, an expression for images in 0..1: the
    nearest ones, or drawn where there are two.
    """
    if levels == 2:
        return f"(np.random.default_rng(0).random(images.shape) < {unit}).astype(np.uint8)"
    return f"np.rint({levels - 1} * {unit}).astype(np.uint8)"


def _not_finite(images: np.ndarray) -> str | None:
    bad = np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(1))
    if not len(bad):
        return None
    return (
        f"{len(bad)} of {len(images)} images hold NaN or infinity, the first is image {bad[0]}; "
        "mend the sampler. To leave them out, which flatters it, "
        "`images = images[np.isfinite(images).reshape(len(images), -1).all(1)]`"
    )


def _unit(low: float, high: float) -> tuple[str, str]:
    """The images as values of 0..1, and what is to be said of that."""
    if low >= 0 and high <= 1:
        return "images", ""
    if low >= -1 and high <= 1:
        return "((images + 1) / 2)", ""
    if low >= 0 and high <= 255:
        return "(images / 255)", ""
    if low < -0.5:  # samplers overshoot
        return "((images.clip(-1, 1) + 1) / 2)", ", if -1 is black and 1 is white"
    return "images.clip(0, 1)", ", if 0 is black and 1 is white"


# ---------------------------------------------------------------------- labels


def checked_labels(labels: np.ndarray, n: int, spec: DataSpec, where: str) -> np.ndarray:
    """The labels as int64 (n,).

    Arguments:
        labels: whole numbers (n,), below the number of classes.
        n: number of images.
        spec: the form of the data set, which has classes.
        where: what messages call them.

    Raises:
        UserError: anything else; has the line that converts them, where there is one.
    """
    rule = f"{where}: labels must be whole numbers 0..{spec.classes - 1} of the shape ({n},)"
    line = None
    if labels.shape == (n, spec.classes):
        line = "labels.argmax(1)"
    elif labels.shape == (n, 1):
        line = "labels[:, 0]"
    elif labels.shape == (n,) and labels.dtype.kind == "f" and (labels == np.rint(labels)).all():
        line = "labels.astype(np.int64)"
    convert = "" if line is None else f"; convert them by `labels = {line}`"
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise UserError(f"{rule}, got {labels.dtype} {labels.shape}{convert}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= spec.classes:
        convert = "; convert them by `labels = labels - 1`" if low == 1 else ""
        raise UserError(f"{rule}, got {low}..{high}{convert}")
    return labels.astype(np.int64)
