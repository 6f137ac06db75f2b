"""Improved precision and recall: the share of samples inside the manifold of real images, and of
real images inside that of the samples.

Kynkäänniemi, Karras, Laine, Lehtinen, Aila, "Improved Precision and Recall Metric for Assessing
Generative Models", 2019, https://arxiv.org/abs/1904.06991. A manifold is the union of balls around
its features that reach to their third neighbour.
"""

from __future__ import annotations

from genbench.scoring.balls import Ball, real_in_samples, samples_in_real
from genbench.scoring.groups import groups_of_both
from genbench.scoring.jackknife import Estimate, means_without
from genbench.scoring.metrics.base import FeatureSet, need_pair
from genbench.scoring.records import Metric

__all__ = ["NEIGHBOURS", "UNBIASED", "compute"]

NEIGHBOURS = 3
"""As Kynkäänniemi et al. have it."""
UNBIASED = ("precision",)
"""Recall is not: its balls around samples are smaller where there are more."""


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``precision_<extractor>`` and ``recall_<extractor>``. ``seed`` is unused.

    Both depend on n: compare equal n only. The standard error is that of other samples and other
    real images around which and in which balls lie (jackknife over groups of both); it leaves out
    that the radii would be others, and training. None with fewer images than groups.

    Raises:
        UserError: features that do not belong together.
        TooFewSamples: no third neighbour.
    """
    keys = [f"{name}_{generated.extractor}" for name in ("precision", "recall")]
    need_pair(keys, generated, reference, NEIGHBOURS + 1, f"{NEIGHBOURS} neighbours")
    both = groups_of_both(len(generated), len(reference))
    of_generated, of_reference = (None, None) if both is None else both
    ball = Ball(NEIGHBOURS)
    inside = samples_in_real(generated, reference, ball).by_point > 0
    recalled = real_in_samples(generated, reference, ball).by_point > 0
    estimates = [
        Estimate.of(means_without(inside, of_generated)),
        Estimate.of(means_without(recalled, of_reference)),
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
