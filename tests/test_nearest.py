"""Nearest training images and centring, against distances by scipy and by whole numbers."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from genbench.errors import UserError
from genbench.scoring.nearest import centred, nearest


def images(n: int, *, seed: int, high: int = 256, size: tuple[int, int] = (9, 7)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, (n, *size), dtype=np.uint8)


def strokes(n: int, *, seed: int, size: int = 28) -> np.ndarray:
    """A random patch of ink with a wide margin."""
    found = np.zeros((n, size, size), np.uint8)
    found[:, 8:19, 7:20] = images(n, seed=seed, size=(11, 13))
    return found


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_the_two_nearest_are_those_of_all_distances(rows: int) -> None:
    some, train = images(23, seed=1), images(61, seed=2)
    found = nearest(some, train, rows=rows)
    distances = cdist(some.reshape(23, -1).astype(float), train.reshape(61, -1).astype(float))
    order = np.argsort(distances, axis=1)[:, :2]
    assert np.array_equal(found.index, order)
    assert np.allclose(found.distance, np.take_along_axis(distances, order, 1), rtol=1e-12)
    assert len(found) == 23


def test_distances_are_exact_where_float32_is_not() -> None:
    """Of nearly white images: |x|^2 is 5 * 10^7, whose neighbours in float32 are 4 apart. Which two
    are found may be wrong by rounding, their distances are not.
    """
    train = 255 - images(40, seed=8, high=3, size=(28, 28))
    found = nearest(train[::4], train)
    apart = train[::4, None].astype(int) - train[None]
    squares = np.square(apart).sum((2, 3))
    told = np.take_along_axis(squares, found.index, 1)
    assert np.array_equal(found.distance, np.sqrt(told))
    assert np.all(told <= np.sort(squares, 1)[:, :2] + 500)
    assert np.all(found.distance[:, 0] <= found.distance[:, 1])


def test_an_image_that_is_there_twice_has_two_at_no_distance() -> None:
    train = images(30, seed=3)
    train[17] = train[4]
    found = nearest(train[[4]], train)
    assert sorted(found.index[0]) == [4, 17]
    assert found.distance.tolist() == [[0.0, 0.0]]


def test_memory_is_bounded_by_the_rows() -> None:
    """The whole matrix of distances would take 24 MB."""
    some, train = images(1000, seed=1, size=(4, 4)), images(6000, seed=2, size=(4, 4))
    tracemalloc.start()
    nearest(some, train, rows=10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (-1, 1), (-6, -5), (6, 7)])
def test_an_image_and_itself_moved_by_whole_pixels_are_centred_alike(
    shift: tuple[int, int],
) -> None:
    plain = strokes(200, seed=4)
    moved = np.roll(plain, shift, axis=(1, 2))
    assert np.array_equal(centred(moved), centred(plain))
    assert not np.array_equal(moved, plain)


def test_the_centre_of_mass_comes_to_the_middle() -> None:
    found = centred(np.roll(strokes(200, seed=5), (4, -3), axis=(1, 2))).astype(float)
    mass = found.sum((1, 2))
    for axis in (1, 2):
        place = (found.sum(3 - axis) * np.arange(28)).sum(1) / mass
        assert np.all(np.abs(place - 14) <= 0.5)
    assert not np.all(np.abs(place - 14) < 0.3)


def test_centring_loses_no_pixel_and_leaves_black_alone() -> None:
    some = images(50, seed=6)
    some[0] = 0
    found = centred(some)
    assert np.array_equal(found[0], some[0])
    flat = [np.sort(x.reshape(50, -1), axis=1) for x in (found, some)]
    assert np.array_equal(*flat)
    assert np.array_equal(centred(np.zeros((0, 9, 7), np.uint8)), np.zeros((0, 9, 7), np.uint8))


@pytest.mark.parametrize(
    ("some", "train", "message"),
    [
        (images(3, seed=1).astype(float), images(3, seed=2), r"images: must be uint8 .* float64"),
        (images(3, seed=1)[0], images(3, seed=2), r"images: must be uint8 \(n, H, W\)"),
        (images(0, seed=1), images(3, seed=2), r"images: .* n >= 1"),
        (images(3, seed=1), images(1, seed=2), r"training images: .* n >= 2"),
        (images(3, seed=1, size=(7, 9)), images(3, seed=2), r"\(7, 9\), training .* \(9, 7\)"),
    ],
)
def test_what_is_no_set_of_images_is_refused(
    some: np.ndarray, train: np.ndarray, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        nearest(some, train)
