"""Grids, PNG and GIF: pixel for pixel against small pictures worked out by hand, and by decoding
the bytes.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genbench.errors import UserError
from genbench.pictures import grids


def test_grid_is_the_picture_worked_out_by_hand() -> None:
    two = np.array([[[0, 1]], [[1, 0]], [[1, 1]]], np.uint8)  # three 1x2 images of two levels
    g = grids.GAP_GREY
    expected = [
        [0, 0, 255, 255, g, 255, 255, 0, 0],
        [0, 0, 255, 255, g, 255, 255, 0, 0],
        [g, g, g, g, g, g, g, g, g],
        [255, 255, 255, 255, g, g, g, g, g],
        [255, 255, 255, 255, g, g, g, g, g],
    ]
    np.testing.assert_array_equal(grids.grid(two, levels=2, columns=2, scale=2, gap=1), expected)


def test_grid_without_gap_is_a_reshape() -> None:
    x = torch.randint(
        0, 256, (6, 1, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    page = grids.grid(x, levels=256, columns=3, scale=1, gap=0)
    rows = [torch.cat(list(x[3 * r : 3 * r + 3, 0]), 1) for r in range(2)]
    np.testing.assert_array_equal(page, torch.cat(rows).numpy())


def test_fewer_images_than_columns_leave_no_grey() -> None:
    assert grids.grid(np.zeros((2, 3, 3), np.uint8), levels=2, columns=10, scale=1).shape == (3, 7)


@pytest.mark.parametrize(
    ("levels", "greys"), [(2, [0, 255]), (4, [0, 85, 170, 255]), (256, list(range(256)))]
)
def test_levels_are_stretched_to_the_whole_range(levels: int, greys: list[int]) -> None:
    x = np.arange(levels, dtype=np.uint8).reshape(1, 1, levels)
    np.testing.assert_array_equal(grids.stretch(x, levels=levels)[0, 0], greys)


@pytest.mark.parametrize(
    ("x", "levels", "message"),
    [
        (np.zeros((1, 2, 2), np.float32), 2, "images: dtype must be uint8, got float32"),
        (np.zeros((2, 2), np.uint8), 2, r"images: shape must be .* got \(2, 2\)"),
        (np.zeros((0, 2, 2), np.uint8), 2, r"images: shape must be .* got \(0, 2, 2\)"),
        (np.full((1, 2, 2), 2, np.uint8), 2, r"images: levels must be 0\.\.1, got 2"),
        (np.zeros((1, 2, 2), np.uint8), 1, r"levels: must be 2\.\.256, got 1"),
    ],
)
def test_bad_images_are_named(x: np.ndarray, levels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grids.grid(x, levels=levels)


def test_png_is_lossless_and_deterministic() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 20), dtype=np.uint8)
    data = grids.png(picture)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)
    assert data == grids.png(picture.copy())


def _decode(data: bytes) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(io.BytesIO(data)) as file:
        frames, durations = [], []
        for i in range(file.n_frames):
            file.seek(i)
            frames.append(np.asarray(file.convert("L")))
            durations.append(file.info["duration"])
    return frames, durations


def test_gif_keeps_frames_within_half_a_grey_step_and_rests_on_the_last() -> None:
    frames = [np.roll(np.arange(256, dtype=np.uint8).reshape(16, 16), 7 * i) for i in range(5)]
    data = grids.gif(frames, duration_ms=50, last_ms=900)
    decoded, durations = _decode(data)
    assert durations == [50, 50, 50, 50, 900]
    for got, want in zip(decoded, frames, strict=True):
        assert np.abs(got.astype(int) - want).max() <= 255 / 15 / 2 + 0.5
    assert data == grids.gif(frames, duration_ms=50, last_ms=900)


def test_gif_of_noise_is_thinned_until_it_fits() -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (200, 200), dtype=np.uint8) for _ in range(100)]
    data = grids.gif(frames)
    decoded, durations = _decode(data)
    assert len(data) <= grids.MAX_BYTES
    assert 2 <= len(decoded) < 100
    assert durations[0] > 80
    for shown, original in (
        (decoded[0], frames[0]),
        (decoded[-1], frames[-1]),
    ):  # first and last survive the thinning
        assert np.abs(shown.astype(int) - original).max() <= 255 / 3 / 2 + 0.5


def test_gif_refuses_what_cannot_fit() -> None:
    with pytest.raises(ValueError, match="do not fit into 100 bytes"):
        grids.gif([np.zeros((50, 50), np.uint8), np.ones((50, 50), np.uint8)], max_bytes=100)
    with pytest.raises(ValueError, match="at least one"):
        grids.gif([])
    with pytest.raises(ValueError, match="one shape"):
        grids.gif([np.zeros((2, 2), np.uint8), np.zeros((3, 2), np.uint8)])


# ---------------------------------------------------------------------- pictures from disk


def test_a_picture_is_read_pixel_by_pixel(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 20), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(grids.png(picture))
    np.testing.assert_array_equal(np.asarray(grids.read_picture(tmp_path / "a.png", "L")), picture)


@pytest.mark.parametrize(
    ("keep", "said"), [(0, "is no picture"), (8, "is no picture"), (300, "is damaged")]
)
def test_a_truncated_picture_is_named(tmp_path: Path, keep: int, said: str) -> None:
    data = grids.png(np.random.default_rng(0).integers(0, 256, (30, 20), dtype=np.uint8))
    (tmp_path / "a.png").write_bytes(data[:keep])
    with pytest.raises(UserError, match=rf"a\.png {said}"):
        grids.read_picture(tmp_path / "a.png", "L")
