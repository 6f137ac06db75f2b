"""Images that others made, from a folder of PNG pictures."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from PIL import Image

from genbench.errors import UserError
from genbench.external.arrays import from_unit
from genbench.pictures.grids import read_picture, stretch
from genbench.spec import DataSpec

__all__ = ["read_folder"]

_MODES = ("1", "L", "P", "RGB")
"""Forms of pictures with at most 8 bits a colour and without transparency, as Pillow names them."""


def read_folder(
    folder: Path, spec: DataSpec, *, labelled: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Levels uint8 (N, H, W) of the PNG pictures in a folder and below it, in the order of their
    names, and labels int64 (N,).

    Arguments:
        folder: where they are.
        spec: the form of the data set: its levels are spread over 0..255 in pictures.
        labelled: whether the name of the folder that a picture is in is its label.

    Raises:
        UserError: no pictures; one that is damaged, in colour or of another form; says how to
            convert it.
        OSError: one that cannot be read; names it.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".png")
    paths = [path for path in paths if not _is_hidden(path.relative_to(folder))]
    if not paths:
        raise UserError(
            f"{folder} holds no PNG pictures; save one for each image (JPEG changes pixels), or "
            "all in one file by `np.savez('samples.npz', images=images)`"
        )
    images = np.stack([_levels(path, spec) for path in paths])
    if not labelled:
        return images, None
    return images, np.array([_label(path, spec.classes) for path in paths], np.int64)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _mode(path: Path) -> str:
    """The form of a picture; of one that cannot be opened any, since reading it tells why."""
    with contextlib.suppress(OSError, Image.DecompressionBombError), Image.open(path) as opened:
        return opened.mode
    return _MODES[0]


def _levels(path: Path, spec: DataSpec) -> np.ndarray:
    """The levels of a picture, uint8 (H, W)."""
    mode = _mode(path)
    convert = "convert it by `Image.open(path).convert('L').save(path)`"
    if mode.startswith(("I", "F")):
        raise UserError(
            f"{path}: must have 8 bits a pixel, has the form {mode}; convert it by `Image.fromarray"
            "((np.asarray(Image.open(path)) // 257).astype(np.uint8)).save(path)`"
        )
    if mode not in _MODES:
        raise UserError(f"{path}: must be grey, has the form {mode}; {convert}")
    picture = np.asarray(read_picture(path, "RGB"))  # (H, W, 3)
    if (picture != picture[..., :1]).any():
        raise UserError(f"{path}: must be grey, is in colour; {convert}")
    if picture.shape[:2] != (spec.height, spec.width):
        raise UserError(
            f"{path}: must have {spec.width} x {spec.height} pixels, has {picture.shape[1]} x "
            f"{picture.shape[0]}{_crop(picture, spec)}"
        )
    return _unstretched(picture[..., 0], spec, path)


def _crop(picture: np.ndarray, spec: DataSpec) -> str:
    """How to undo the padding of a picture of 28 x 28 pixels to 32 x 32."""
    if picture.shape[:2] != (spec.height + 4, spec.width + 4):
        return "; sample images of that size, for a resized one is another image"
    box = (2, 2, spec.width + 2, spec.height + 2)
    return f"; convert it by `Image.open(path).crop({box}).save(path)`"


def _unstretched(greys: np.ndarray, spec: DataSpec, path: Path) -> np.ndarray:
    """The levels that greys stand for."""
    levels = np.arange(spec.levels, dtype=np.uint8)
    of_level = stretch(levels[None, None], levels=spec.levels)[0, 0]
    level_of = np.full(256, -1)
    level_of[of_level] = levels
    found = level_of[greys]
    if (found < 0).any():
        raise UserError(
            f"{path}: must have the greys {', '.join(map(str, of_level))} alone, has "
            f"{greys[found < 0][0]}; of values of 0..1, save levels in a file by "
            "`np.savez('samples.npz', images=images)` after "
            f"`images = {from_unit('images', spec.levels)}`"
        )
    return found.astype(np.uint8)


def _label(path: Path, classes: int) -> int:
    name = path.parent.name
    if not (name.isascii() and name.isdecimal()) or int(name) >= classes:
        raise UserError(
            f"{path}: with --labels a picture is in a folder that is named by its label, "
            f"0..{classes - 1}, and this one is in {name!r}"
        )
    return int(name)
