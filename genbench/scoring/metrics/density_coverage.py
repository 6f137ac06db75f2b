"""Density and coverage: how densely samples lie where real images are, and the share of real images
that have a sample near.

Naeem, Oh, Uh, Choi, Yoo, "Reliable Fidelity and Diversity Metrics for Generative Models", 2020,
https://arxiv.org/abs/2002.09797. With B(r) the ball around real features r that reaches to their
k-th real neighbour: density = 1/(k N) sum over samples of the number of balls B(r) that hold it;
coverage = share of balls B(r) that hold a sample. Real against real gives density 1 and coverage 1
- 2^-k on average.
"""

from __future__ import annotations

import numpy as np

from genbench.scoring.balls import Ball, samples_in_real
from genbench.scoring.groups import groups_of_both
from genbench.scoring.jackknife import Estimate, means_without
from genbench.scoring.metrics.base import FeatureSet, need, need_pair
from genbench.scoring.records import Metric

__all__ = ["NEIGHBOURS", "UNBIASED", "compute"]

NEIGHBOURS = 5
"""k, as Naeem et al. choose it."""
UNBIASED = ("density",)
"""Coverage is not: more samples cover more."""


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``density_<extractor>`` and ``coverage_<extractor>``. ``seed`` is unused.

    The standard error is that of other samples and of balls around other real images (jackknife
    over groups of both); it leaves out that the radii would be others, and training. None with
    fewer images than groups.

    Raises:
        UserError: features that do not belong together.
        TooFewSamples: no fifth neighbour among the real images.
    """
    keys = [f"{name}_{generated.extractor}" for name in ("density", "coverage")]
    need_pair(keys, generated, reference, 1, "at least one sample")
    need(keys, len(reference), NEIGHBOURS + 1, f"{NEIGHBOURS} neighbours; reference")
    both = groups_of_both(len(generated), len(reference))
    of_generated, of_reference = (None, None) if both is None else both
    counts = samples_in_real(generated, reference, Ball(NEIGHBOURS))
    density = means_without(counts.by_point / NEIGHBOURS, of_generated)
    if of_reference is not None:
        # The balls that are left have the radii of a set of all images, and stand for as many.
        density[1:] /= 1 - np.bincount(of_reference) / len(reference)
    estimates = [
        Estimate.of(density),
        Estimate.of(means_without(counts.by_ball > 0, of_reference)),
    ]
    detail = {"neighbours": NEIGHBOURS, "reference_n": len(reference)}
    return {
        key: Metric(
            found.value,
            found.stderr,
            len(generated),
            higher_is_better=True,
            detail={**detail, **found.detail},
        )
        for key, found in zip(keys, estimates, strict=True)
    }
