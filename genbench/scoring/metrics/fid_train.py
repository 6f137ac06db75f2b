"""Fréchet distance to training images, evenly spread over their split, as many papers report it;
the formula is that of :mod:`genbench.scoring.metrics.fid`.

A model that copies what it was trained on scores well here, and no worse for it.
"""

from __future__ import annotations

from genbench.scoring.metrics.base import FeatureSet, need_pair
from genbench.scoring.moments import frechet_estimate, is_wide
from genbench.scoring.records import Metric

__all__ = ["compute"]


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``fid_train_<extractor>``, against ``reference.training``; empty without such images, and for
    features as wide as those of the Inception network. ``seed`` is unused.

    Biased by about 1/n. The standard error is that of other samples and other training images, and
    leaves training itself out.

    Raises:
        UserError: features that do not belong together; fewer than two images.
    """
    if reference.training is None or is_wide(generated):
        return {}
    key = f"fid_train_{generated.extractor}"
    need_pair([key], generated, reference.training, 2, "a covariance")
    found = frechet_estimate(generated, reference.training)
    detail = {"training_n": len(reference.training), **found.detail}
    return {
        key: Metric(
            found.value, found.stderr, len(generated), higher_is_better=False, detail=detail
        )
    }
