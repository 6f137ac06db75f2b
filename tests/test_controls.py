"""The control rows: values that are known without them, on the real digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from genbench.base import DataSpec
from genbench.data.splits import Dataset
from genbench.models.pixel_marginals import PixelMarginals
from genbench.models.train_copy import TrainCopy
from tests import by_hand

SPEC = DataSpec(3, 3, 2)


def numbered(n: int) -> Tensor:
    """Images that tell their number in binary digits."""
    bits = (torch.arange(n)[:, None] >> torch.arange(9)) & 1
    return bits.to(torch.uint8).view(n, 1, 3, 3)


def numbers(x: Tensor) -> list[int]:
    found: list[int] = (x.flatten(1).long() @ 2 ** torch.arange(9)).tolist()
    return found


def stored(size: int, total: int = 200) -> TrainCopy:
    model = TrainCopy(SPEC, size=size)
    model.init_from_data(numbered(total), None, rng=Generator())
    return model


def test_training_images_are_stored_evenly_spread() -> None:
    assert numbers(stored(60).images) == [i * 200 // 60 for i in range(60)]


@pytest.mark.parametrize("seed", range(3))
def test_stored_images_are_drawn_without_replacement(seed: int) -> None:
    """60 of 60 are all of them, which draws with replacement are once in 10^25 times; 150 are two
    rounds and half a third.
    """
    model = stored(60)
    kept = numbers(model.images)
    whole = numbers(model.sample(60, rng=Generator().manual_seed(seed)))
    assert sorted(whole) == kept != whole
    more = numbers(model.sample(150, rng=Generator().manual_seed(seed)))
    assert sorted(more[:60]) == sorted(more[60:120]) == kept
    assert len(set(more[120:])) == 30
    assert more[:60] != more[60:120]


@pytest.mark.parametrize("dataset", ["mnist", "binary_mnist"])
def test_independent_pixels_cost_what_their_counts_say(
    dataset: str, mnist: Dataset, binary_mnist: Dataset
) -> None:
    """All 50,000 training images against all 10,000 of the test split, counted with numpy: 1.6905
    bits per pixel, and 205.79 nats.
    """
    data = {"mnist": mnist, "binary_mnist": binary_mnist}[dataset]
    nats = by_hand.independent_pixels(data.train_x, data.test_x, data.spec.levels)
    model = PixelMarginals(data.spec)
    model.init_from_data(data.train_x, None, rng=Generator())
    found = -model.log_likelihood(data.test_x[::10], rng=Generator())
    assert np.allclose(found, nats[::10], rtol=1e-9)
    known = {"mnist": 1.6905 * 784 * math.log(2), "binary_mnist": 205.79}[dataset]
    assert nats.mean() == pytest.approx(known, abs=0.03)
