"""Label fidelity: the share of images that the extractor's classifier gives the label they were
sampled with.
"""

from __future__ import annotations

import math

import torch

from genbench.errors import UserError
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.records import Metric
from genbench.scoring.votes import votes

__all__ = ["UNBIASED", "compute"]

UNBIASED = ("label_fidelity",)


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``label_fidelity`` with its binomial standard error; empty without labels or logits.
    ``reference`` and ``seed`` are unused.

    Classes with equal logits share an image.

    Raises:
        UserError: labels that the classifier does not know.
    """
    if generated.labels is None or generated.logits is None:
        return {}
    classes = generated.logits.shape[1]
    low, high = int(generated.labels.min()), int(generated.labels.max())
    if low < 0 or high >= classes:
        raise UserError(f"labels: must be 0..{classes - 1}, got {low}..{high}")
    n = len(generated)
    value = votes(generated.logits)[torch.arange(n), generated.labels].mean().item()
    stderr = math.sqrt(value * (1 - value) / n)
    return {"label_fidelity": Metric(value, stderr, n, higher_is_better=True)}
