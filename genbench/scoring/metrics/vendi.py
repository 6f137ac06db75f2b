"""Vendi score: how many different images a set amounts to, as a ratio to test images; overall, and
within the classes.

Friedman and Dieng, "The Vendi Score: A Diversity Evaluation Metric for Machine Learning", 2023,
https://arxiv.org/abs/2210.02410. With features scaled to length 1 in the rows of F, and λ the
eigenvalues of FᵀF/n, which sum to 1, the score is exp(-Σ λ ln λ): 1 if all rows are equal, n if
they are orthogonal, at most the width of the features.

Neither more nor less is better: noise is varied, too. Near 1 is as varied as test images.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from genbench.scoring.groups import GROUPS, groups_of_both
from genbench.scoring.jackknife import Estimate
from genbench.scoring.metrics.base import FeatureSet, need_pair
from genbench.scoring.moments import is_wide
from genbench.scoring.records import Metric

__all__ = ["compute", "vendi_score"]


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``vendi_<extractor>`` and, where a classifier tells the classes,
    ``vendi_within_<extractor>``, the mean of the ratios of the classes; empty for features as wide
    as those of the Inception network. ``seed`` is unused.

    A class of which there are test images and no sample has the ratio 0. The standard error is that
    of other samples and other test images (jackknife over groups of both), and leaves training out;
    None with fewer images than groups.

    Raises:
        UserError: features that do not belong together.
        TooFewSamples: none at all.
    """
    keys = [f"{name}_{generated.extractor}" for name in ("vendi", "vendi_within")]
    need_pair(keys, generated, reference, 2, "different images")
    if is_wide(generated):
        return {}
    both = groups_of_both(len(generated), len(reference))
    products = [
        _products(images, None if both is None else both[i])
        for i, images in enumerate((generated, reference))
    ]
    overall = [vendi_score(sums.sum(1)) for sums in products]
    estimates = [Estimate.of(overall[0] / overall[1])]
    if generated.logits is not None and reference.logits is not None:
        within = [vendi_score(sums) for sums in products]
        estimates.append(Estimate.of(_mean_ratio(*within)))
    detail = {"score": float(overall[0][0]), "reference_score": float(overall[1][0])}
    details = [detail, {}]
    return {
        key: Metric(
            found.value,
            found.stderr,
            len(generated),
            higher_is_better=None,
            detail={**told, "reference_n": len(reference), **found.detail},
        )
        for key, found, told in zip(keys, estimates, details, strict=False)
    }


def _products(images: FeatureSet, groups: np.ndarray | None) -> np.ndarray:
    """Sums of outer products of the rows of each class, of all images and of all but each group,
    float64 (1 + G, C, D, D); one class for all where no classifier tells them.
    """
    rows = _normalised(images.features)
    of_class, classes = np.zeros(len(rows), np.int64), 1
    if images.logits is not None:
        of_class, classes = images.logits.argmax(1).numpy(), images.logits.shape[1]
    parts = 1 if groups is None else GROUPS
    groups = np.zeros(len(rows), np.int64) if groups is None else groups
    sums = np.zeros((parts, classes, rows.shape[1], rows.shape[1]))
    for group in range(parts):
        for label in range(classes):
            some = rows[(groups == group) & (of_class == label)]
            sums[group, label] = some.T @ some
    total = sums.sum(0, keepdims=True)
    return total if parts == 1 else np.concatenate([total, total - sums])


def _normalised(features: Tensor) -> np.ndarray:
    rows = features.double().numpy()
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


def vendi_score(products: np.ndarray) -> np.ndarray:
    """The exponential of the entropy of the eigenvalues of matrices (..., D, D), divided by their
    sum; 0 of a matrix of zeros, which no image made.
    """
    levels = np.linalg.eigvalsh(products).clip(0)  # (..., D)
    total = levels.sum(-1, keepdims=True)
    shares = levels / np.where(total > 0, total, 1)
    logs = np.log(np.where(shares > 0, shares, 1))
    return np.where(total[..., 0] > 0, np.exp(-(shares * logs).sum(-1)), 0)


def _mean_ratio(generated: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Mean over the classes of which there are test images, (K,) of scores (K, C)."""
    known = reference > 0
    ratios = np.where(known, generated, 0) / np.where(known, reference, 1)
    return ratios.sum(1) / known.sum(1)
