"""Improved precision and recall: the share of samples inside the manifold of real images, and of
real images inside that of the samples.

Kynkäänniemi, Karras, Laine, Lehtinen, Aila, "Improved Precision and Recall Metric for Assessing
Generative Models", 2019, https://arxiv.org/abs/1904.06991. A manifold is the union of balls around
its features that reach to their third neighbour. Computed by torch-fidelity.
"""

from __future__ import annotations

from torch_fidelity.metric_prc import (
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

from genbench.scoring.metrics.base import FeatureSet, need_pair
from genbench.scoring.records import Metric

__all__ = ["NEIGHBOURS", "UNBIASED", "compute"]

NEIGHBOURS = 3
"""As Kynkäänniemi et al. have it."""
UNBIASED = ("precision",)
"""Recall is not: its balls around samples are smaller where there are more."""
# of the distance matrix at a time: 40 MB for 10,000 images, where the whole matrix costs gigabytes
_ROWS = 1000


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``precision_<extractor>`` and ``recall_<extractor>``. ``seed`` is unused.

    Both depend on n: compare equal n only. No standard error: the radii are fitted to the same
    images.

    Raises:
        UserError: features that do not belong together.
        TooFewSamples: no third neighbour.
    """
    keys = [f"{name}_{generated.extractor}" for name in ("precision", "recall")]
    need_pair(keys, generated, reference, NEIGHBOURS + 1, f"{NEIGHBOURS} neighbours")
    result = prc_features_to_metric(
        generated.features,
        reference.features,
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=_ROWS,
        save_cpu_ram=True,
        verbose=False,
    )
    values = result[KEY_METRIC_PRECISION], result[KEY_METRIC_RECALL]
    detail = {"neighbours": NEIGHBOURS, "reference_n": len(reference)}
    return {
        key: Metric(value, None, len(generated), higher_is_better=True, detail=detail)
        for key, value in zip(keys, values, strict=True)
    }
