"""How often the 95 % interval of two models' difference holds the true one: simulated entries whose
seeds, images and noise are drawn anew each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from genbench.comparison.paired import compare_models
from genbench.comparison.seed_spread import seed_spreads
from tests.comparison_entries import entry

DRAWS = 2000
"""Of a coverage of 95 % the standard error is 0.5 % then, and 0.7 % with half as many."""
N = 100
DELTA = 0.7


@dataclass(frozen=True)
class Case:
    """``spreads`` and ``seeds`` of the entries, of which the first two are compared; the standard
    deviations of what an image adds to one entry's nats, and of noise.
    """

    spreads: Sequence[float]
    seeds: Sequence[int]
    image: float = 3.0
    noise: float = 2.0


def covered(case: Case, draws: int = DRAWS) -> float:
    """The share of intervals that hold the difference of the models. What all entries find hard in
    an image is common to them; what an image adds has a long tail, as nats have.
    """
    rng, hits = np.random.default_rng(0), 0
    families = ("autoregressive", "variational", "flow", "diffusion", "energy")
    for _ in range(draws):
        hard = rng.normal(90, 20, N)
        entries = []
        for k, (spread, seeds) in enumerate(zip(case.spreads, case.seeds, strict=True)):
            image = hard + case.image * rng.standard_exponential(N)
            nats = image + spread * rng.standard_normal((seeds, 1))
            nats += case.noise * rng.standard_normal((seeds, N)) + DELTA * (k == 0)
            entries.append(entry(f"e{k}", nats, family=families[k]))
        low, high = compare_models(*entries[:2], seed_spreads(entries)).interval() or (0, 0)
        hits += low <= DELTA <= high
    return hits / draws


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_holds_the_difference_of_two_models(seeds: int) -> None:
    assert 0.93 <= covered(Case(spreads=(0.5, 0.5), seeds=(seeds, seeds))) <= 0.97


def test_spreads_of_twenty_to_one() -> None:
    assert covered(Case(spreads=(2.0, 0.1), seeds=(3, 3))) >= 0.91


def test_noise_above_all_is_counted_once() -> None:
    """Counted twice it makes the interval hold in 99 % of cases."""
    case = Case(spreads=(0.05, 0.05), seeds=(3, 3), image=0.5, noise=10)
    assert 0.93 <= covered(case, DRAWS // 2) <= 0.98


def test_a_spread_that_is_borrowed() -> None:
    """A little wide, as the noise of one seed cannot be told from what is the image's own."""
    case = Case(spreads=(0.5, 0.5, 0.5, 0.5), seeds=(3, 1, 3, 3))
    assert 0.93 <= covered(case, DRAWS // 2) <= 0.98
