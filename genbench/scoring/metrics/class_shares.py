"""Class shares: how evenly the extractor's classifier finds the classes in the samples; a model
that drops a class shows here.
"""

from __future__ import annotations

import math

from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.records import Metric
from genbench.scoring.votes import votes

__all__ = ["compute"]


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``min_class_share``, the rarest class's share of the samples, with its binomial standard
    error; empty without logits.

    ``detail`` has the shares of all classes. ``reference`` and ``seed`` are unused. Even classes
    give at most 1/C, less by chance.
    """
    if generated.logits is None:
        return {}
    n = len(generated)
    shares = (votes(generated.logits).sum(0) / n).tolist()
    value = min(shares)
    stderr, detail = math.sqrt(value * (1 - value) / n), {"shares": shares}
    return {"min_class_share": Metric(value, stderr, n, higher_is_better=True, detail=detail)}
