"""Pictures inside the page: copies that take less room, as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
from markupsafe import Markup
from PIL import Image

__all__ = ["Room", "compact"]

_GREYS = 16
_COLOURS = 64


def compact(data: bytes, kind: str) -> bytes:
    """A copy of a picture for the page: of grey ones sixteen greys, evenly spaced from black to
    white, of coloured ones 64 colours; at screen size hardly anybody sees the difference. What is
    no PNG, or is damaged, or would not be smaller, is left as it is.

    Arguments:
        data: the file.
        kind: ``png`` or ``gif``.
    """
    if kind != "png":
        return data
    try:
        with Image.open(io.BytesIO(data)) as picture:
            copy = _greys(picture) if picture.mode == "L" else _colours(picture)
    except (OSError, SyntaxError):  # damaged: the browser shows what there is
        return data
    if copy is None:
        return data
    buffer = io.BytesIO()
    copy.save(buffer, format="PNG", optimize=True)
    return min(data, buffer.getvalue(), key=len)


def _greys(picture: Image.Image) -> Image.Image:
    levels = np.rint(np.asarray(picture) * ((_GREYS - 1) / 255)).astype(np.uint8)
    copy = Image.fromarray(levels)
    ramp = np.rint(np.arange(_GREYS) * (255 / (_GREYS - 1))).astype(np.uint8)
    copy.putpalette(ramp.repeat(3).tobytes())
    return copy


def _colours(picture: Image.Image) -> Image.Image | None:
    """None if parts are transparent, which a few colours cannot show."""
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert("RGB")
    return picture.quantize(_COLOURS) if picture.mode == "RGB" else None


class Room:
    """What is left of the page's size for pictures.

    Arguments:
        left: in bytes.
    """

    def __init__(self, left: int) -> None:
        self.left = left

    def embed(self, data: bytes, kind: str) -> Markup | None:
        """The data URI of a picture's :func:`compact` copy; None if there is no room for it."""
        if self.left <= 0:
            return None
        uri = f"data:image/{kind};base64,{base64.b64encode(compact(data, kind)).decode()}"
        if len(uri) > self.left:
            return None
        self.left -= len(uri)
        return Markup(uri)  # base64 of our own making
