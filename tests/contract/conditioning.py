"""A conditional model tells its classes apart."""

from __future__ import annotations

import copy
import itertools

import pytest

from genbench.base import GenerativeModel, Likelihood
from tests.contract.images import each_label, every_image, frequencies, rng
from tests.contract.likelihood import scores
from tests.contract.sampling import sampling_noise, total_variation
from tests.contract.training import train

__all__ = ["check_labels_matter"]


def check_labels_matter(model: GenerativeModel) -> None:
    """A trained conditional model tells its classes apart, in its score or, without one, in its
    samples.
    """
    if not model.conditional:
        pytest.skip("it takes no labels")
    if model.likelihood is Likelihood.NONE:
        n = 4000
        drawn = [model.sample(n, y, rng=rng(9)) for y in each_label(model, n)]
        shares = [frequencies(x, model.spec) for x in drawn]
        limit = 2 * sampling_noise(shares[0], n)
    else:
        # Tables of labels may start at zero, and are learned last.
        model = train(copy.deepcopy(model))
        model.prepare_likelihood(rng=rng(4))
        n = len(every_image(model.spec))
        found = [scores(model, y).p for y in each_label(model, n)]
        shares = [p / p.sum() for p in found]  # a loose bound sums to far below 1
        limit = 0.05
    distances = [total_variation(a, b) for a, b in itertools.combinations(shares, 2)]
    assert min(distances) > limit, (
        f"two labels give the same distribution: distances {distances}, limit {limit:.3f}"
    )
