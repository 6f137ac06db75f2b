"""Samples: their form, and that they follow the score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from genbench.base import GenerativeModel, Likelihood
from tests.contract.images import each_label, every_image, frequencies, labels_of, rng
from tests.contract.likelihood import scores

__all__ = [
    "DRAWS",
    "assert_images",
    "check_sample_form",
    "check_samples",
    "sampling_noise",
    "total_variation",
]


DRAWS = 20_000
"""Samples whose frequencies are compared with probabilities."""


def check_sample_form(model: GenerativeModel) -> None:
    """Samples are images, with labels of all classes mixed."""
    assert_images(model, model.sample(1000, labels_of(model, 1000), rng=rng(11)), 1000, "samples")


def check_samples(model: GenerativeModel, draws: int = DRAWS) -> None:
    """Samples follow the score, for each label, drawn with all labels mixed.

    The distance is the total variation for probabilities and Σ max(0, bound − frequency) for
    bounds: a right bound exceeds no frequency by more than sampling noise. Its limit is what
    samples of the scored distribution itself reach, plus the uncertainty of the scores.
    """
    if model.likelihood is Likelihood.NONE:
        pytest.skip("it has no likelihood")
    y = labels_of(model, draws)
    x = model.sample(draws, y, rng=rng(11))
    assert_images(model, x, draws, "samples")
    info = model.prepare_likelihood(rng=rng(4))
    slack = 0.01 if info else 1e-3  # a Markov chain has not quite forgotten its start
    for label, constant in enumerate(each_label(model, len(every_image(model.spec)))):
        found = scores(model, constant)
        drawn = x if y is None else x[y == label]
        frequency = frequencies(drawn, model.spec)
        if found.two_sided:
            p = found.p / found.mass
            distance, noise = total_variation(p, frequency), sampling_noise(p, len(drawn))
        else:
            distance = np.maximum(found.p - frequency, 0).sum()
            noise = sampling_noise(frequency, len(drawn))
        limit = noise + 0.5 * found.p_error + slack
        which = "" if y is None else f", label {label}"
        assert distance <= limit, (
            f"samples do not follow the score: distance {distance:.3f}, limit {limit:.3f}{which}"
        )


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half of the sum of the absolute differences of two distributions."""
    return float(0.5 * np.abs(p - q).sum())


def sampling_noise(p: np.ndarray, n: int) -> float:
    """Total variation between ``p`` and the frequencies of ``n`` draws from it: mean plus six
    standard deviations over 100 simulations.
    """
    p = np.clip(p, 0, None)
    counts = np.random.default_rng(0).multinomial(n, p / p.sum(), size=100)
    distances = 0.5 * np.abs(counts / n - p / p.sum()).sum(1)
    return float(distances.mean() + 6 * distances.std())


def assert_images(model: GenerativeModel, x: Tensor, n: int, what: str) -> None:
    """Assert that ``x`` is uint8 (n, 1, H, W) with the levels of the model."""
    shape = (n, 1, model.spec.height, model.spec.width)
    assert x.dtype == torch.uint8 and tuple(x.shape) == shape, (
        f"{what} must be uint8 {shape}, got {x.dtype} {tuple(x.shape)}"
    )
    assert int(x.max()) < model.spec.levels, (
        f"{what} must be below {model.spec.levels}, got {int(x.max())}"
    )
