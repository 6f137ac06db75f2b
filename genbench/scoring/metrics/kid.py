"""Kernel distance: the unbiased squared maximum mean discrepancy of features under the kernel
(x·y/D + 1)^3.

Bińkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", 2018,
https://arxiv.org/abs/1801.01401. Computed by torch-fidelity on random subsets, in float64.
"""

from __future__ import annotations

import math

from torch_fidelity.metric_kid import (
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    kid_features_to_metric,
)

from genbench.scoring.metrics.base import LIBRARY, FeatureSet, need_pair
from genbench.scoring.records import Metric

__all__ = ["SUBSETS", "SUBSET_SIZE", "UNBIASED", "compute"]

SUBSETS = 50
"""Enough for a standard error far below the differences of models; Bińkowski et al. have 100."""
SUBSET_SIZE = 1000
"""As Bińkowski et al. have it; larger ones cost memory with its square."""
UNBIASED = ("kid",)


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``kid_<extractor>``, the mean over ``SUBSETS`` random subsets of min(``SUBSET_SIZE``, n)
    images; it may be slightly negative.

    The subsets overlap, so their spread divided by sqrt(``SUBSETS``) would be far too small. The
    standard error is the delete-d jackknife's (Shao and Wu, "A General Theory for Jackknife
    Variance Estimation", 1989), variance m/(n - m) times that of the subsets, plus the variance of
    drawing only ``SUBSETS`` of them. It is right where the distributions differ, too large by up to
    sqrt(n/m) where they are equal, and None where a subset is the whole set.

    Arguments:
        generated: features of the samples.
        reference: features of real images.
        seed: of the subsets.

    Raises:
        UserError: features that do not belong together.
        TooFewSamples: fewer than two images.
    """
    key = f"kid_{generated.extractor}"
    need_pair([key], generated, reference, 2, "pairs of different images")
    n = min(len(generated), len(reference))
    size = min(SUBSET_SIZE, n)
    result = kid_features_to_metric(
        generated.features.double(),
        reference.features.double(),
        kid_subsets=SUBSETS,
        kid_subset_size=size,
        rng_seed=seed % 2**32,
        verbose=False,
    )
    stderr = None
    if size < n:
        stderr = result[KEY_METRIC_KID_STD] * math.sqrt(size / (n - size) + 1 / SUBSETS)
    value = result[KEY_METRIC_KID_MEAN]
    detail = {"subsets": SUBSETS, "subset_size": size, "reference_n": len(reference), **LIBRARY}
    return {key: Metric(value, stderr, len(generated), higher_is_better=False, detail=detail)}
