"""Odd inputs, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from genbench.scoring.odd_inputs import ODD_INPUTS, odd_inputs


def digits(levels: int, n: int = 40, size: tuple[int, int] = (6, 6)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, levels, (n, *size), dtype=np.uint8)


@pytest.mark.parametrize("levels", [2, 256])
def test_each_kind_is_what_it_says(levels: int) -> None:
    some = digits(levels)
    made = odd_inputs(some, levels, seed=1)
    assert list(made) == list(ODD_INPUTS)
    for images in made.values():
        assert (images.dtype, images.shape) == (np.uint8, some.shape)
        assert int(images.max()) < levels
    n, row, column = 3, 1, 4
    assert made["mirrored"][n, row, column] == some[n, row, 5 - column]
    assert made["rotated"][n, row, column] == some[n, column, 5 - row]
    assert np.all(made["inverted"].astype(int) + some == levels - 1)
    assert not made["black"].any()


def test_pixels_are_shuffled_alike_in_all_images() -> None:
    some = np.tile(np.arange(36, dtype=np.uint8).reshape(1, 6, 6), (40, 1, 1))
    some[7] = 100 - some[7]
    shuffled = odd_inputs(some, 256, seed=1)["shuffled"].reshape(40, -1)
    assert sorted(shuffled[0]) == list(range(36))
    assert not np.array_equal(shuffled[0], np.arange(36))
    assert np.array_equal(shuffled[1], shuffled[0])
    assert np.array_equal(shuffled[7], 100 - shuffled[0])


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_noise_is_uniform_among_the_levels(levels: int) -> None:
    noise = odd_inputs(digits(levels, 4000), levels, seed=1)["noise"]
    counts = np.bincount(noise.ravel(), minlength=levels)
    expected = noise.size / levels
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < levels - 1 + 5 * np.sqrt(2 * levels)


def test_the_seed_is_that_of_order_and_noise() -> None:
    some = digits(256)
    one, again, other = (odd_inputs(some, 256, seed=seed) for seed in (1, 1, 2))
    for kind in ODD_INPUTS:
        assert np.array_equal(one[kind], again[kind])
        assert np.array_equal(one[kind], other[kind]) == (kind not in ("shuffled", "noise"))


def test_an_image_that_is_no_square_is_not_rotated() -> None:
    made = odd_inputs(digits(2, size=(4, 6)), 2, seed=1)
    assert "rotated" not in made
    assert {images.shape for images in made.values()} == {(40, 4, 6)}
