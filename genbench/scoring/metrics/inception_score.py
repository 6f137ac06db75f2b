"""Inception Score, exp(mean KL(p(y|x) || p(y))): whether each image is of a clear class and the
classes are even.

Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen, "Improved Techniques for Training GANs", 2016,
https://arxiv.org/abs/1606.03498. Computed by torch-fidelity on ten splits. With the digit
classifier it lies between 1 and 10.

The samples go to the splits by one fixed permutation, so their order does not matter: of samples
sorted by class, consecutive splits would hold a class each, and score 1.
"""

from __future__ import annotations

import math

from torch_fidelity.metric_isc import (
    KEY_METRIC_ISC_MEAN,
    KEY_METRIC_ISC_STD,
    isc_features_to_metric,
)

from genbench.scoring.metrics.base import LIBRARY, FeatureSet, need
from genbench.scoring.records import Metric

__all__ = ["PERMUTATION", "SPLITS", "compute"]

SPLITS = 10
PERMUTATION = 2020
"""Seed of the permutation, for all entries the same one; it is the one that torch-fidelity's own
command line takes.
"""


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``is_<extractor>``, the mean over the splits; empty without logits. ``reference`` and
    ``seed`` are unused.

    The standard error is that of a mean of ``SPLITS`` independent splits.

    Raises:
        TooFewSamples: fewer images than splits.
    """
    if generated.logits is None:
        return {}
    key = f"is_{generated.extractor}"
    need([key], len(generated), SPLITS, f"one for each of {SPLITS} splits")
    result = isc_features_to_metric(
        generated.logits, splits=SPLITS, shuffle=True, rng_seed=PERMUTATION
    )
    # torch-fidelity's deviation divides by SPLITS, not by SPLITS - 1.
    value, stderr = result[KEY_METRIC_ISC_MEAN], result[KEY_METRIC_ISC_STD] / math.sqrt(SPLITS - 1)
    detail = {"splits": SPLITS, **LIBRARY}
    return {key: Metric(value, stderr, len(generated), higher_is_better=True, detail=detail)}
