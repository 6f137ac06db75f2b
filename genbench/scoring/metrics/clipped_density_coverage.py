"""Clipped density and clipped coverage: density and coverage that outliers cannot raise, in units
of the share of good samples.

Salvy, Talbot, Thirion, "Enhanced Generative Model Evaluation with Clipped Density and Coverage",
2025, https://arxiv.org/abs/2507.01761. With balls around real images to their k-th real neighbour:

    clipped density  = mean over samples of min(1, h/k), divided by the same mean over real images,
                       where h is the number of balls, of radii cut at their median, that hold it;
    clipped coverage = g(mean over balls of min(h, k)/k),
                       where h is the number of samples that a ball, of whole radius, holds.

g tells which share of the samples, if all others lay far off, would cover as much on average: the
inverse of m -> E[min(h, k)]/k. A ball to the k-th of N - 1 other images has a probability that is
distributed as Beta(k, N - k), so of m samples of the same distribution it holds h as
BetaBinomial(m; k, N - k).
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaln, gammaln

from genbench.scoring.balls import Ball, real_in_real, samples_in_real
from genbench.scoring.groups import groups_of_both
from genbench.scoring.jackknife import Estimate, means_without
from genbench.scoring.metrics.base import FeatureSet, need, need_pair
from genbench.scoring.records import Metric

__all__ = ["NEIGHBOURS", "compute", "expected_coverage"]

NEIGHBOURS = 5
"""k, as Salvy et al. choose it."""
_BEYOND = 2  # shares up to which the inverse is taken, so that chance above 1 is not cut off


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``clipped_density_<extractor>`` and ``clipped_coverage_<extractor>``, between 0 and 1.
    ``seed`` is unused.

    Both are cut at 1; the standard error is that of the scores before the cut, of other samples and
    of balls around other real images (jackknife over groups of both). It leaves out that the radii
    would be others, and training. None with fewer images than groups.

    Raises:
        UserError: features that do not belong together.
        TooFewSamples: no fifth neighbour among the real images.
    """
    keys = [f"clipped_{name}_{generated.extractor}" for name in ("density", "coverage")]
    need_pair(keys, generated, reference, 1, "at least one sample")
    need(keys, len(reference), NEIGHBOURS + 1, f"{NEIGHBOURS} neighbours; reference")
    estimates = [_density(generated, reference), _coverage(generated, reference)]
    detail = {"neighbours": NEIGHBOURS, "reference_n": len(reference)}
    return {
        key: Metric(
            min(1.0, found.value),
            found.stderr,
            len(generated),
            higher_is_better=True,
            detail={**detail, **found.detail},
        )
        for key, found in zip(keys, estimates, strict=True)
    }


def _density(generated: FeatureSet, reference: FeatureSet) -> Estimate:
    both = groups_of_both(len(generated), len(reference))
    of_generated, of_reference = (None, None) if both is None else both
    ball = Ball(NEIGHBOURS, clipped=True)
    of_samples = samples_in_real(generated, reference, ball).by_point
    of_real = real_in_real(generated, reference, ball).by_point
    share, best = (
        means_without(np.minimum(counts, NEIGHBOURS) / NEIGHBOURS, groups)
        for counts, groups in ((of_samples, of_generated), (of_real, of_reference))
    )
    return Estimate.of(share / best)


def _coverage(generated: FeatureSet, reference: FeatureSet) -> Estimate:
    both = groups_of_both(len(generated), len(reference))
    held = samples_in_real(generated, reference, Ball(NEIGHBOURS)).by_ball
    n, of_reference = len(generated), None
    samples = np.array([n])
    if both is not None:
        samples = np.append(samples, n - np.bincount(both[0]))
        of_reference = both[1]
    raw = means_without(np.minimum(held, NEIGHBOURS) / NEIGHBOURS, of_reference)
    expected = expected_coverage(_BEYOND * n, len(reference))
    return Estimate.of(np.interp(raw, expected, np.arange(len(expected))) / samples)


def expected_coverage(samples: int, reference: int, *, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """E[min(h, k)]/k for h ~ BetaBinomial(m; k, N - k) and m = 0..``samples``, float64
    (``samples`` + 1,), rising from 0.

    The expectation is the sum of P(h > j) for j below k.

    Arguments:
        samples: largest m.
        reference: N, more than k.
        neighbours: k.
    """
    m = np.arange(samples + 1, dtype=np.float64)
    fewer = np.zeros_like(m)  # P(h <= j)
    total = np.zeros_like(m)
    for j in range(neighbours):
        possible = m >= j
        others = np.where(possible, m - j, 0)
        ways = gammaln(m + 1) - gammaln(j + 1) - gammaln(others + 1)
        weight = betaln(j + neighbours, others + reference - neighbours)
        mass = np.exp(ways + weight - betaln(neighbours, reference - neighbours))
        fewer += np.where(possible, mass, 0)
        total += 1 - fewer
    return np.maximum.accumulate(total.clip(0) / neighbours)
