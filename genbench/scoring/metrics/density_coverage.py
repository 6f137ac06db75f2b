"""Density and coverage: how densely samples lie where real images are, and the share of real images
that have a sample near.

Naeem, Oh, Uh, Choi, Yoo, "Reliable Fidelity and Diversity Metrics for Generative Models", 2020,
https://arxiv.org/abs/2002.09797. With B(r) the ball around real features r that reaches to their
k-th real neighbour: density = 1/(k N) sum over samples of the number of balls B(r) that hold it;
coverage = share of balls B(r) that hold a sample. Real against real gives density 1 and coverage 1
- 2^-k on average.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genbench.scoring.metrics.base import FeatureSet, need, need_pair
from genbench.scoring.records import Metric

__all__ = ["NEIGHBOURS", "UNBIASED", "compute", "density_coverage"]

NEIGHBOURS = 5
"""k, as Naeem et al. choose it."""
UNBIASED = ("density",)
"""Coverage is not: more samples cover more."""
_ROWS = 1000  # of the distance matrix at a time: 40 MB for 10,000 images


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``density_<extractor>`` and ``coverage_<extractor>``; no standard errors. ``seed`` is unused.

    Raises:
        UserError: features that do not belong together.
        TooFewSamples: no fifth neighbour among the real images.
    """
    keys = [f"{name}_{generated.extractor}" for name in ("density", "coverage")]
    need_pair(keys, generated, reference, 1, "at least one sample")
    need(keys, len(reference), NEIGHBOURS + 1, f"{NEIGHBOURS} neighbours; reference")
    values = density_coverage(generated.features, reference.features, neighbours=NEIGHBOURS)
    detail = {"neighbours": NEIGHBOURS, "reference_n": len(reference)}
    return {
        key: Metric(value, None, len(generated), higher_is_better=True, detail=detail)
        for key, value in zip(keys, values, strict=True)
    }


def density_coverage(
    generated: Tensor, reference: Tensor, *, neighbours: int
) -> tuple[float, float]:
    """Density and coverage of features (N, D) by balls around features (M, D), M > ``neighbours``,
    in bounded memory.
    """
    inside, covered = 0, 0
    for block in reference.split(_ROWS):
        # The nearest of the sorted distances is the image itself.
        radius = torch.cdist(block, reference).kthvalue(neighbours + 1, dim=1).values
        held = torch.cdist(block, generated) <= radius[:, None]
        inside += int(held.sum())
        covered += int(held.any(1).sum())
    return inside / (neighbours * len(generated)), covered / len(reference)
