"""Images side by side on one picture, as a uint8 array, and its PNG or GIF bytes. Equal input gives
equal bytes.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from genbench.disk import explained
from genbench.errors import UserError

__all__ = [
    "GAP_GREY",
    "MAX_BYTES",
    "MAX_IMAGES",
    "check_count",
    "decode",
    "gif",
    "grid",
    "png",
    "read_picture",
    "stretch",
]

GAP_GREY = 128
"""Grey of the lines between the images of a grid: digits are white on black, so that it reads as
neither.
"""

MAX_BYTES = 150_000
"""Size that :func:`gif` stays below, so that a report with many of them stays small."""

MAX_IMAGES = 10_000
"""Images of one picture: as many as there are of a test split; a thousand times more would fill the
memory.
"""

_MAX_PIXELS = 2**24


def check_count(*, most: int = MAX_IMAGES, **counts: int) -> None:
    """Raise UserError that names the options ``counts`` if their product is more than ``most``
    images, before any of them is drawn.
    """
    total = math.prod(counts.values())
    if total > most:
        asked = " times ".join(f"--{name} {count}" for name, count in counts.items())
        raise UserError(
            f"{asked}: {total} images are too many for one picture, which holds at most {most}"
        )


def read_picture(path: Path, mode: str) -> Image.Image:
    """A picture file in a mode such as ``L`` or ``RGB``; errors as of :func:`decode`, and OSError
    if it cannot be read.
    """
    with explained(path, "read"), path.open("rb") as file:
        return decode(file, path, mode)


def decode(
    file: IO[bytes], path: Path, mode: str, *, formats: tuple[str, ...] | None = None
) -> Image.Image:
    """The picture in an open file, in a mode; of an animation the first one.

    Arguments:
        file: what to read.
        path: what errors call it.
        mode: such as ``L`` or ``RGB``.
        formats: names of the formats that it may have; None allows all.

    Raises:
        UserError: no picture, a damaged one, or one whose pixels would fill the memory, which a
            small file can claim; names the file.
    """
    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(file, formats=formats) as picture,
        ):
            if picture.width * picture.height > _MAX_PIXELS:
                raise Image.DecompressionBombError
            return picture.convert(mode)
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is no picture") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path} has more pixels than the {_MAX_PIXELS} that are read") from error
    # Pillow raises a dozen kinds for a damaged file, a SyntaxError among them.
    except Exception as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _array(images: torch.Tensor | np.ndarray) -> np.ndarray:
    """``images`` as a numpy array (N, H, W), after the checks of a public edge."""
    if isinstance(images, torch.Tensor):
        images = images.detach().cpu().numpy()
    array = np.asarray(images)
    if array.dtype != np.uint8:
        raise ValueError(f"images: dtype must be uint8, got {array.dtype}")
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(
            "images: shape must be (N, 1, H, W) or (N, H, W) with N, H, W >= 1, got "
            f"{tuple(array.shape)}"
        )
    return array


def stretch(images: torch.Tensor | np.ndarray, *, levels: int) -> np.ndarray:
    """Levels ``0..levels-1`` as greys 0..255, rounded.

    Arguments:
        images: uint8 (N, 1, H, W) or (N, H, W).
        levels: number of levels of the data set, 2..256.

    Returns:
        uint8 (N, H, W).

    Raises:
        ValueError: another shape or dtype, or a level beyond ``levels - 1``.
    """
    array = _array(images)
    if not 2 <= levels <= 256:
        raise ValueError(f"levels: must be 2..256, got {levels}")
    if int(array.max()) >= levels:
        raise ValueError(f"images: levels must be 0..{levels - 1}, got {int(array.max())}")
    greys = np.rint(np.arange(levels) * (255 / (levels - 1))).astype(np.uint8)
    return greys[array]


def grid(
    images: torch.Tensor | np.ndarray,
    *,
    levels: int,
    columns: int = 10,
    scale: int = 2,
    gap: int = 1,
) -> np.ndarray:
    """Images side by side, row by row, on mid grey.

    Arguments:
        images: uint8 (N, 1, H, W) or (N, H, W) levels.
        levels: number of levels; they are stretched to 0..255.
        columns: images per row. A last row that is not full ends in grey.
        scale: side of the square that each pixel becomes.
        gap: width in pixels of the lines between the images.

    Returns:
        uint8 (rows * (H * scale + gap) - gap, columns * (W * scale + gap) - gap).
    """
    array = stretch(images, levels=levels)
    for name, value, least in (("columns", columns, 1), ("scale", scale, 1), ("gap", gap, 0)):
        if value < least:
            raise ValueError(f"{name}: must be at least {least}, got {value}")
    n, height, width = array.shape
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    tall, wide = height * scale + gap, width * scale + gap
    tiles = np.full((rows * columns, tall, wide), GAP_GREY, np.uint8)
    tiles[:n, : height * scale, : width * scale] = array.repeat(scale, axis=1).repeat(scale, axis=2)
    page = tiles.reshape(rows, columns, tall, wide).swapaxes(1, 2).reshape(rows * tall, -1)
    return np.ascontiguousarray(page[: page.shape[0] - gap, : page.shape[1] - gap])


def _picture(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != 2:
        raise ValueError(f"a picture must be uint8 (h, w), got {array.dtype} {tuple(array.shape)}")
    return array


def png(array: np.ndarray) -> bytes:
    """A uint8 (h, w) grey picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(_picture(array)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def gif(
    frames: Sequence[np.ndarray],
    *,
    duration_ms: int = 80,
    last_ms: int = 2000,
    max_bytes: int = MAX_BYTES,
) -> bytes:
    """Pictures as an endless GIF that rests on its last frame.

    It starts with 16 greys and all frames. While the file is larger than ``max_bytes``, every other
    frame goes (the first and the last stay) and the others last longer, then the greys become
    fewer.

    Arguments:
        frames: uint8 (h, w) each, of one shape.
        duration_ms: time from one frame to the next, in units of 10 ms.
        last_ms: time that the last frame stays.
        max_bytes: size that the result does not exceed.

    Raises:
        ValueError: no frames, unequal shapes, or pictures too large for ``max_bytes`` even as two
            frames of four greys.
    """
    if not frames:
        raise ValueError("frames: there must be at least one, got none")
    if len({_picture(frame).shape for frame in frames}) > 1:
        raise ValueError(
            f"frames: all must have one shape, got {sorted({frame.shape for frame in frames})}"
        )
    kept, greys = list(frames), 16
    while True:
        data = _encode(kept, greys, duration_ms, last_ms)
        if len(data) <= max_bytes:
            return data
        if len(kept) > 24 or (len(kept) > 2 and greys == 4):
            # From the end, so that the last frame, the finished image, always stays.
            kept, duration_ms = [*kept[:1], *kept[:0:-2][::-1]], 2 * duration_ms
        elif greys > 4:
            greys //= 2
        else:
            raise ValueError(
                f"frames: {kept[0].shape} pictures do not fit into {max_bytes} bytes; show fewer "
                "images or a smaller scale"
            )


def _encode(frames: Sequence[np.ndarray], greys: int, duration_ms: int, last_ms: int) -> bytes:
    ramp = np.rint(np.arange(greys) * (255 / (greys - 1))).astype(np.uint8)
    nearest = np.rint(np.arange(256) * ((greys - 1) / 255)).astype(np.uint8)
    pictures = []
    for frame in frames:
        picture = Image.fromarray(nearest[frame])
        picture.putpalette(ramp.repeat(3).tobytes())
        pictures.append(picture)
    durations = [duration_ms] * (len(pictures) - 1) + [last_ms]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()
