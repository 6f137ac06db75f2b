"""Copies of real digits among validation images are found, whatever was done to them, and
validation images and slanted digits are none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Generator

from genbench.base import DataSpec
from genbench.data.splits import Dataset
from genbench.models.partial_copy import PartialCopy
from genbench.scoring.copies import SHOWN, find_copies
from genbench.scoring.memorisation import Cells, copied_share, copying_z
from genbench.scoring.nearest import Nearest, centred, nearest
from genbench.scoring.records import Metric

N = 300
COPIES = N // 10


@dataclass(frozen=True)
class Digits:
    """Every second training image of a data set, and what samples are compared with."""

    train: np.ndarray
    valid: np.ndarray
    stored: np.ndarray
    cells: Cells
    held_out: np.ndarray
    beside: Nearest

    def share(self, samples: np.ndarray) -> Metric:
        return copied_share(nearest(centred(samples), self.stored), self.beside)

    def z(self, samples: np.ndarray) -> float:
        moved = centred(samples)
        return copying_z(
            nearest(moved, self.stored).distance[:, 0],
            self.cells.of(moved),
            self.beside.distance[:, 0],
            self.cells.of(self.held_out),
        ).value


@pytest.fixture(scope="module", params=["mnist", "binary_mnist"])
def digits(request: pytest.FixtureRequest) -> Digits:
    data: Dataset = request.getfixturevalue(request.param)
    train, valid = data.train_x[::2, 0].numpy(), data.valid_x[:, 0].numpy()
    stored, held_out = centred(train), centred(valid[1::20])
    return Digits(train, valid, stored, Cells(stored), held_out, nearest(held_out, stored))


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def moved(images: np.ndarray) -> np.ndarray:
    """Each by a pixel, in one of the eight directions."""
    ways = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
    found = [np.roll(image, ways[i % 8], axis=(0, 1)) for i, image in enumerate(images)]
    return np.stack(found)


def noisy(images: np.ndarray) -> np.ndarray:
    """Grey levels with noise of deviation 15 of 255; of binary pixels one in 200 is flipped."""
    if images.max() == 1:
        return images ^ (rng().random(images.shape) < 0.005).astype(np.uint8)
    noise = rng().normal(0, 15, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


CHANGES = {"exact": lambda images: images, "moved": moved, "noisy": noisy}


@pytest.mark.parametrize("change", CHANGES)
def test_a_tenth_of_copies_among_validation_images_is_flagged(digits: Digits, change: str) -> None:
    copies = CHANGES[change](digits.train[rng().choice(25_000, COPIES, replace=False)])
    metric = digits.share(np.concatenate([digits.valid[::37][: N - COPIES], copies]))
    assert metric.detail["flagged"]
    assert metric.detail["held_out_share"] == 0
    least = {"exact": 0.1, "moved": 0.09, "noisy": 0.04}[change]
    assert least <= metric.value <= 0.1


def test_validation_images_are_not_flagged(digits: Digits) -> None:
    metric = digits.share(digits.valid[::37])
    assert (metric.value, metric.detail["p"], metric.detail["flagged"]) == (0, 1, False)


def test_copies_in_great_number_lie_nearer_than_validation_images_do(digits: Digits) -> None:
    assert abs(digits.z(digits.valid[::37])) < 3
    half = digits.valid[::37][: N // 2]
    for change in CHANGES.values():
        assert digits.z(np.concatenate([half, change(digits.train[:: 25_000 // (N // 2)])])) < -5


def test_without_centring_a_moved_copy_is_none(digits: Digits) -> None:
    """Why images are centred: a digit that is moved by a pixel is farther from itself than from
    another digit that lies where it does.
    """
    copies = moved(digits.train[rng().choice(25_000, COPIES, replace=False)])
    assert copied_share(nearest(copies, digits.train), digits.beside).value == 0


def test_the_control_row_has_the_copies_that_it_declares(digits: Digits) -> None:
    """Its slanted digits are no copies: every tenth sample is one, and no other."""
    levels = 2 if digits.train.max() == 1 else 256
    model = PartialCopy(DataSpec(28, 28, levels))
    model.init_from_data(torch.from_numpy(digits.train)[:, None], None, rng=Generator())
    samples = model.sample(N, rng=Generator().manual_seed(1))[:, 0].numpy()
    first, second = nearest(centred(samples), digits.stored).distance.T
    assert np.flatnonzero(3 * first < second).tolist() == list(range(9, N, 10))
    assert digits.share(samples).detail["flagged"]


def test_an_entrys_copies_are_shown_with_what_they_are_copies_of(mnist: Dataset) -> None:
    data = Dataset("mnist", mnist.spec, *[x[:3000] for x in _splits(mnist)])
    copied = [3, 40, 41, 77]
    samples = mnist.test_x[:80, 0].numpy().copy()
    samples[copied] = np.roll(data.train_x[[5, 6, 7, 8], 0].numpy(), 1, axis=2)
    found = find_copies(samples, data)
    assert found.metrics["copied_share"].value == 4 / 80
    assert found.metrics["copied_share"].detail["held_out_n"] == 80
    assert "no cell holds" in found.withheld["copying_z"]
    shown = found.shown
    assert shown["sample"][:10].tolist() == list(range(10))
    assert set(shown["sample"][10:13]) == {40, 41, 77}
    assert len(set(shown["sample"])) == len(shown["sample"]) == SHOWN
    place = shown["sample"].tolist().index
    assert [shown["train"][place(i), 0] for i in copied] == [5, 6, 7, 8]
    assert np.array_equal(shown["images"], data.train_x[shown["train"][:, 0], 0].numpy())
    assert np.all(shown["distance"][[place(i) for i in copied], 0] == 0)


def _splits(data: Dataset) -> list[torch.Tensor]:
    assert data.train_y is not None and data.valid_y is not None and data.test_y is not None
    return [data.train_x, data.train_y, data.valid_x, data.valid_y, data.test_x, data.test_y]
