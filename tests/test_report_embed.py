"""Pictures inside the report's page: what their copies keep, and when there is no room for one."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from genbench.pictures.grids import gif, png
from genbench.report.embed import Room, compact


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)


def as_png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def noise() -> np.ndarray:
    array = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    array[0, :2] = 0, 255
    return array


def test_of_grey_the_nearest_of_sixteen_greys_is_kept(noise: np.ndarray) -> None:
    data = png(noise)
    copy = compact(data, "png")
    assert len(copy) < 0.7 * len(data)
    found = opened(copy)
    assert set(np.unique(found)) == set(range(0, 256, 17))
    nearest = np.abs(noise[..., None].astype(int) - np.arange(0, 256, 17)).min(-1)
    assert np.array_equal(np.abs(found - noise[..., None]).max(-1), nearest)
    assert (found[0, :2, 0] == (0, 255)).all()


def test_two_levels_stay_as_they_are(noise: np.ndarray) -> None:
    binary = np.where(noise > 127, 255, 0).astype(np.uint8)
    assert np.array_equal(opened(compact(png(binary), "png"))[..., 0], binary)


def test_of_colours_few_are_kept(noise: np.ndarray) -> None:
    ramp = np.linspace(0, 255, 80).astype(np.uint8)
    colours = np.stack([np.broadcast_to(ramp, (60, 80)), noise, noise // 2], axis=-1)
    opaque = np.concatenate([colours, np.full((60, 80, 1), 255, np.uint8)], axis=-1)
    for array in (colours, opaque):
        copy = compact(as_png(array), "png")
        assert len(copy) < len(as_png(array))
        assert len(np.unique(opened(copy).reshape(-1, 3), axis=0)) <= 64
        assert np.abs(opened(copy) - colours).mean() < 25


@pytest.mark.parametrize("kind", ["transparent", "damaged", "animated"])
def test_what_a_copy_cannot_show_is_left_as_it_is(noise: np.ndarray, kind: str) -> None:
    data = {
        "transparent": as_png(np.repeat(noise[..., None], 4, axis=-1)),
        "damaged": png(noise)[:100],
        "animated": gif([noise, noise[::-1].copy()]),
    }[kind]
    assert compact(data, "gif" if kind == "animated" else "png") == data


def test_room_is_used_up(noise: np.ndarray) -> None:
    data = png(noise)
    size = len("data:image/png;base64,") + 4 * -(-len(compact(data, "png")) // 3)
    room = Room(2 * size + 10)
    uri = room.embed(data, "png")
    assert uri is not None
    assert base64.b64decode(uri.partition(",")[2]) == compact(data, "png")
    assert room.left == size + 10
    assert room.embed(data, "png") == uri
    assert room.embed(data, "png") is None
    assert room.left == 10
