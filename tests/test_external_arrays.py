"""Images and labels that others wrote: what is wrong with them is told with the line that converts
them, and doing what it says gives the images that they were made from.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genbench.errors import UserError
from genbench.external.arrays import checked_images, checked_labels, read_arrays
from genbench.spec import DataSpec

GREY, BINARY = DataSpec(28, 28, 256, 10), DataSpec(28, 28, 2)
X = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
B = (X > 127).astype(np.uint8)
Y = np.arange(12) % 10
PADDED = np.pad(X, ((0, 0), (2, 2), (2, 2)))


def convert(name: str, value: np.ndarray, check: Any) -> tuple[np.ndarray, str]:
    """What ``check`` gives after the lines of its errors have been done, and the errors."""
    said = ""
    for _ in range(5):
        try:
            return check(value), said
        except UserError as error:
            said += f"{error}\n"
        lines = re.findall(rf"`{name} = (.*?)`", said)
        assert lines, said
        value = eval(lines[-1], {"np": np, name: value})
    raise AssertionError(said)


def converted(images: np.ndarray, spec: DataSpec) -> tuple[np.ndarray, str]:
    return convert("images", images, lambda value: checked_images(value, spec, "x.npz"))


@pytest.mark.parametrize("images", [X, X[:, None]])
def test_levels_are_taken_as_they_are(images: np.ndarray) -> None:
    found, said = converted(images, GREY)
    assert said == ""
    assert found.dtype == np.uint8
    assert np.array_equal(found, X)


FORMS: dict[str, tuple[np.ndarray, str]] = {
    "flat": (X.reshape(12, 784), "got (12, 784)"),
    "a channel behind": (X[..., None], "got (12, 28, 28, 1)"),
    "images behind": (np.moveaxis(X, 0, -1), "got (28, 28, 12)"),
    "padded": (PADDED, "got (12, 32, 32)"),
    "padded, with a channel": (PADDED[:, None], "got (12, 1, 32, 32)"),
    "colours": (np.stack([X, X, X], -1), "got (12, 28, 28, 3): colours"),
    "colours in front": (np.stack([X, X, X], 1), "got (12, 3, 28, 28): colours"),
    "transparency": (np.stack([X, X, X, 0 * X + 255], -1), "got (12, 28, 28, 4): colours"),
    "colours of 0..1": (np.stack([X / 255] * 3, 1), "colours"),
    "whole numbers": (X.astype(np.int64), "got int64 0..255"),
    "0..1": ((X / 255).astype(np.float32), "got float32 0..1"),
    "-1..1": ((X / 127.5 - 1).astype(np.float32), "got float32 -1..1"),
    "0..255": (X.astype(np.float64), "got float64 0..255"),
    "all at once": (np.stack([PADDED / 127.5 - 1] * 3, 1).astype(np.float32), "colours"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_line_of_the_error_converts_other_forms(form: str) -> None:
    images, part = FORMS[form]
    found, said = converted(images, GREY)
    assert said.startswith("x.npz: images must ")
    assert part in said
    assert np.array_equal(found, X)


def test_a_single_image_is_a_set_of_one() -> None:
    assert np.array_equal(converted(X[0], GREY)[0], X[:1])


BITS: dict[str, np.ndarray] = {
    "bool": B.astype(bool),
    "whole numbers": B.astype(np.int64),
    "floats": B.astype(np.float32),
    "black and white": 255 * B,
    "-1 and 1": 2.0 * B - 1,
    "floats of 0 and 255": 255.0 * B,
}


@pytest.mark.parametrize("form", BITS)
def test_binary_images_come_back_whatever_stands_for_black_and_white(form: str) -> None:
    assert np.array_equal(converted(BITS[form], BINARY)[0], B)


@pytest.mark.parametrize("grey", [X / 255, X, X / 127.5 - 1])
def test_greys_become_binary_by_drawing(grey: np.ndarray) -> None:
    """A threshold would give pixels of 0.9 always, and fewer or more white ones in all."""
    found, said = converted(grey, BINARY)
    assert "binary pixels are drawn, never thresholded" in said
    bright = X > 204
    share = X[bright].mean() / 255
    error = np.sqrt(share * (1 - share) / bright.sum())
    assert abs(found[bright].mean() - share) < 4 * error < 1 - share


def test_what_overshoots_is_cut_off() -> None:
    wide = 1.2 * (X / 127.5 - 1)
    found, said = converted(wide, GREY)
    assert "if -1 is black and 1 is white" in said
    assert np.array_equal(found, np.rint(255 * (np.clip(wide, -1, 1) + 1) / 2))
    found, said = converted(1.2 * X / 255 - 0.1, GREY)
    assert "if 0 is black and 1 is white" in said
    assert np.array_equal(found, np.rint(255 * np.clip(1.2 * X / 255 - 0.1, 0, 1)))


@pytest.mark.parametrize("kind", [np.uint8, np.int32, bool])
def test_values_of_0_to_1_that_were_cut_are_seen(kind: type) -> None:
    _, said = converted((X / 255).astype(kind), GREY)
    assert "0..1, which is black" in said


def test_images_with_nan_are_counted_and_the_first_is_named() -> None:
    images = X / 255
    images[3, 5, 5], images[7, 0, 0] = np.nan, -np.inf
    found, said = converted(images, GREY)
    assert "2 of 12 images hold NaN or infinity, the first is image 3; mend the sampler" in said
    assert "which flatters it" in said
    assert np.array_equal(found, np.delete(X, [3, 7], 0))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((3, 64, 64), np.uint8), "got (3, 64, 64); sample images of that size"),
        (np.zeros((0, 28, 28), np.uint8), "there are no images in the shape (0, 28, 28)"),
        (np.zeros(784, np.uint8), "got (784,)"),
        (np.full((3, 28, 28), "a"), "must be uint8 levels 0..255, got <U1"),
        (np.zeros((3, 28, 28), complex), "must be uint8 levels 0..255, got complex128"),
    ],
)
def test_what_cannot_be_converted_is_refused(images: np.ndarray, said: str) -> None:
    with pytest.raises(UserError) as error:
        checked_images(images, GREY, "x.npz")
    assert said in str(error.value)
    assert "`" not in str(error.value)


# ---------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "labels", [Y, Y.astype(np.uint8), np.eye(10)[Y], Y[:, None], Y.astype(float), Y + 1]
)
def test_labels_are_taken_or_converted(labels: np.ndarray) -> None:
    found, _ = convert("labels", labels, lambda value: checked_labels(value, 12, GREY, "x.npz"))
    assert found.dtype == np.int64
    assert np.array_equal(found, Y)


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        (Y[:11], "int64 (11,)"),
        (Y + 0.5, "float64 (12,)"),
        (Y.astype(str), "<U21 (12,)"),
        (Y - 1, "-1..8"),
        (Y + 2, "2..11"),
        (np.eye(7)[Y % 7], "float64 (12, 7)"),
    ],
)
def test_other_labels_are_refused(labels: np.ndarray, got: str) -> None:
    with pytest.raises(UserError) as error:
        checked_labels(labels, 12, GREY, "x.npz")
    rule = "x.npz: labels must be whole numbers 0..9 of the shape (12,), got "
    assert str(error.value) == rule + got


# ---------------------------------------------------------------------- files


def test_a_file_must_hold_the_array(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with pytest.raises(UserError, match=r"mine\.npz does not exist"):
        read_arrays(path, "images")
    np.savez(path, X)
    with pytest.raises(UserError, match=r"must hold the array 'images', and holds arr_0; write"):
        read_arrays(path, "images")
    np.savez(path, images=X)
    assert np.array_equal(read_arrays(path, "images")["images"], X)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"mine\.npz is no whole npz file .*`np\.savez\('mine\.npz"):
        read_arrays(path, "images")


def test_a_bare_array_is_no_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", X)
    with pytest.raises(UserError, match=r"`np\.savez\('mine\.npz', images=images\)`"):
        read_arrays(tmp_path / "mine.npy", "images")


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    """An array of objects is a pickle, which can run any program."""
    np.savez(tmp_path / "mine.npz", images=np.array([print, None]))
    with pytest.raises(UserError, match="Object arrays cannot be loaded"):
        read_arrays(tmp_path / "mine.npz", "images")
