"""Fréchet distance between Gaussians fitted to features:
|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, "GANs Trained by a Two Time-Scale Update Rule
Converge to a Local Nash Equilibrium", 2017, https://arxiv.org/abs/1706.08500. Computed by
torch-fidelity from float64 features. Its bias is upwards and about 1/n, so compare equal n only, or
:mod:`genbench.scoring.metrics.fid_unbiased`.
"""

from __future__ import annotations

from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)

from genbench.scoring.jackknife import Estimate
from genbench.scoring.metrics.base import LIBRARY, FeatureSet, need_pair
from genbench.scoring.moments import frechet_estimate, is_wide
from genbench.scoring.records import Metric

__all__ = ["compute"]


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``fid_<extractor>``. ``seed`` is unused.

    The standard error is that of other samples and other real images (jackknife over groups of
    both), and leaves training out. It is about a third too large where the distributions are
    equal. None with fewer images than groups, or with features as wide as those of the
    Inception network.

    Raises:
        UserError: features that do not belong together; fewer than two images.
    """
    key = f"fid_{generated.extractor}"
    need_pair([key], generated, reference, 2, "a covariance")
    statistics = [
        fid_features_to_statistics(features.double())
        for features in (generated.features, reference.features)
    ]
    value = fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
    found = Estimate(value) if is_wide(generated) else frechet_estimate(generated, reference)
    detail = {"reference_n": len(reference), **LIBRARY, **found.detail}
    return {key: Metric(value, found.stderr, len(generated), higher_is_better=False, detail=detail)}
