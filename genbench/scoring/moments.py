"""Means and covariances of features, of all images and of all but each group, and the Fréchet
distance of Gaussians with such moments.

Sums and outer products of each group are taken once; whatever group is left out, its moments follow
from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from genbench.scoring.groups import GROUPS, groups_of_both
from genbench.scoring.jackknife import Estimate
from genbench.scoring.metrics.base import FeatureSet

__all__ = ["WIDEST", "Moments", "frechet", "frechet_estimate", "is_wide", "moments"]

WIDEST = 256
"""Widest features whose groups are left out: each takes two decompositions of a matrix of that
width, of the Inception network's 2048 several seconds.
"""


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of K sets of images.

    Attributes:
        means: float64 (K, D).
        covariances: float64 (K, D, D), unbiased.
    """

    means: np.ndarray
    covariances: np.ndarray


def moments(features: Tensor, groups: np.ndarray | None = None) -> Moments:
    """Moments of all images, then of all but each group.

    Arguments:
        features: (N, D).
        groups: group of each image (N,), each of which leaves two images at least; None leaves none
            out.
    """
    x = features.double().numpy()
    centre = x.mean(0)
    x = x - centre  # so that outer products of large means don't hide the covariance
    parts = [x] if groups is None else [x[groups == group] for group in range(GROUPS)]
    n = np.array([len(part) for part in parts], np.float64)
    sums = np.stack([part.sum(0) for part in parts])
    products = np.stack([part.T @ part for part in parts])
    if groups is not None:
        n, sums, products = (_all_and_without(part) for part in (n, sums, products))
    means = sums / n[:, None]
    outer = n[:, None, None] * means[:, :, None] * means[:, None, :]
    return Moments(centre + means, (products - outer) / (n - 1)[:, None, None])


def _all_and_without(parts: np.ndarray) -> np.ndarray:
    """Sum of parts (G, ...), then the sums without each of them: (1 + G, ...)."""
    total = parts.sum(0)[None]
    return np.concatenate([total, total - parts])


def frechet(first: Moments, second: Moments) -> np.ndarray:
    """|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of each pair of sets, float64 (K,).

    (S1 S2)^(1/2) has the trace of the square root of R S2 R, where R is the root of S1, and that
    matrix is symmetric.
    """
    levels, axes = np.linalg.eigh(first.covariances)
    root = (axes * np.sqrt(levels.clip(0))[:, None, :]) @ axes.swapaxes(1, 2)
    middle = np.linalg.eigvalsh(root @ second.covariances @ root)
    shift = np.square(first.means - second.means).sum(1)
    spread = np.trace(first.covariances + second.covariances, axis1=1, axis2=2)
    return shift + spread - 2 * np.sqrt(middle.clip(0)).sum(1)


def frechet_estimate(generated: FeatureSet, reference: FeatureSet) -> Estimate:
    """Fréchet distance of two sets of two images at least, and without each group where there are
    enough; for features that are not wide.
    """
    both = groups_of_both(len(generated), len(reference))
    of_generated, of_reference = (None, None) if both is None else both
    return Estimate.of(
        frechet(
            moments(generated.features, of_generated), moments(reference.features, of_reference)
        )
    )


def is_wide(images: FeatureSet) -> bool:
    """Whether features are wider than :data:`WIDEST`, so that no groups are left out."""
    return images.features.shape[1] > WIDEST
