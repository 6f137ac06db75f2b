"""Fréchet distance without its bias in 1/n, by the jackknife over groups of samples and of real
images.

Chong and Forsyth, "Effectively Unbiased FID and Inception Score and where to find them", 2020,
https://arxiv.org/abs/1911.07023, show the bias, and that it differs from model to model; they
extrapolate to n = infinity, here it is taken off by :mod:`genbench.scoring.jackknife`. What remains
is of order 1/n². So scores of different numbers of samples compare.
"""

from __future__ import annotations

from genbench.scoring.groups import GROUPS
from genbench.scoring.jackknife import bias_corrected
from genbench.scoring.metrics.base import FeatureSet, need_pair
from genbench.scoring.moments import frechet_estimate, is_wide
from genbench.scoring.records import Metric

__all__ = ["UNBIASED", "compute"]

UNBIASED = ("fid_unbiased",)

_IMAGES_PER_FEATURE = 5
"""Well below that a bias of order 1/n² is left that exceeds the standard error: of 64 features the
mean over pairs of sets of one distribution is -3.5 ± 0.8 with 40 images and -0.6 ± 0.3 with 100; no
bias is seen with 250 (benchmarks/fid_bias.py).
"""


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``fid_unbiased_<extractor>``, which may be negative where the distance is near 0; empty for
    features as wide as those of the Inception network. ``seed`` is unused.

    The standard error is that of other samples and other real images, and leaves training out. It
    is about a third too large where the distributions are equal. ``detail`` has the Fréchet
    distances without each group.

    Raises:
        UserError: features that do not belong together.
        TooFewSamples: fewer than two images a group, or than five for each feature.
    """
    key = f"fid_unbiased_{generated.extractor}"
    need_pair([key], generated, reference, 2 * GROUPS, f"two in each of {GROUPS} groups")
    if is_wide(generated):
        return {}
    least = _IMAGES_PER_FEATURE * generated.features.shape[1]
    need_pair([key], generated, reference, least, f"{_IMAGES_PER_FEATURE} for each feature")
    found = frechet_estimate(generated, reference)
    value = bias_corrected(found.value, found.left_out)
    detail = {"reference_n": len(reference), **found.detail}
    return {key: Metric(value, found.stderr, len(generated), higher_is_better=False, detail=detail)}
