"""Whether samples are copies of training images, and whether a likelihood is better on images that
the run has trained on: three diagnostics, pure functions of distances and nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.cluster.vq
import scipy.stats

from genbench.data.subsets import strided
from genbench.errors import UserError
from genbench.scoring.metrics.base import TooFewSamples
from genbench.scoring.nearest import Nearest
from genbench.scoring.records import Metric

__all__ = ["ALPHA", "CELLS", "LEAST", "RATIO", "Cells", "copied_share", "copying_z", "nats_gap"]

RATIO = 1 / 3
"""A copy is an image whose nearest training image is nearer than this share of the distance to the
second.
"""
ALPHA = 0.001
"""Samples are flagged below this probability: a profile has some thirty entries."""
CELLS = 10
"""Cells of the copying statistic, as Meehan et al. have it for images."""
LEAST = 20
"""Samples and held-out images that a cell must hold each, for the normal approximation of U."""

_SEED = 2020  # of the cells, the same for all entries
_FITTED = 10_000  # training images that they are fitted to
_ROUNDS = 20


def copied_share(samples: Nearest, held_out: Nearest) -> Metric:
    """``copied_share``: the share of samples that are copies, and in ``detail`` whether that is
    more than among validation images, which are as new as an image can be.

    Both shares are estimates, and that of validation images is often 0 of some thousand; a binomial
    test against 0 would flag a single hit. So the test is that of two rates (Przyborowski,
    Wilenski, "Homogeneity of Results in Testing Samples from Poisson Series", 1940,
    https://doi.org/10.1093/biomet/31.3-4.313): if both are equal and small, each of all hits fell
    among the n samples, not the m validation images, with probability n / (n + m), and their number
    among the samples is binomial.

    ``detail``: ``flagged`` (p < ``ALPHA``), ``p``, one-sided, ``held_out_share``, ``held_out_n``.

    Arguments:
        samples: neighbours of the samples.
        held_out: neighbours of validation images.
    """
    hits, others = int(_copies(samples).sum()), int(_copies(held_out).sum())
    n, m = len(samples), len(held_out)
    share = hits / n
    p = float(scipy.stats.binom.sf(hits - 1, hits + others, n / (n + m)))
    detail = {
        "flagged": p < ALPHA,
        "p": p,
        "held_out_share": others / m,
        "held_out_n": m,
    }
    stderr = math.sqrt(share * (1 - share) / n)
    return Metric(share, stderr, n, higher_is_better=None, detail=detail)


def _copies(found: Nearest) -> np.ndarray:
    """Which images are copies, bool (n,); also those that equal two training images."""
    first, second = found.distance.T
    return np.asarray((first == 0) | (first < RATIO * second))


# ---------------------------------------------------------------------- the copying statistic


class Cells:
    """Cells of the space of images: nearest of ``CELLS`` means of training images, by k-means.

    Arguments:
        train: uint8 (N, H, W); at most 10,000 of them, evenly spaced, are used.

    Raises:
        UserError: fewer training images than cells.
    """

    def __init__(self, train: np.ndarray) -> None:
        if len(train) < CELLS:
            raise UserError(f"{CELLS} cells need as many training images, got {len(train)}")
        points = _points(train[strided(len(train), _FITTED)])
        chosen = np.random.default_rng(_SEED).permutation(len(points))[:CELLS]
        self._means, _ = scipy.cluster.vq.kmeans2(
            points, points[chosen], iter=_ROUNDS, minit="matrix", missing="raise"
        )

    def of(self, images: np.ndarray) -> np.ndarray:
        """The cells of images uint8 (n, H, W), integers (n,) in 0..CELLS-1."""
        return np.asarray(scipy.cluster.vq.vq(_points(images), self._means)[0])


def _points(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Cell:
    """What a cell says: z of Mann and Whitney's U, and its weight."""

    z: float
    weight: float


def copying_z(
    samples: np.ndarray, sample_cells: np.ndarray, held_out: np.ndarray, held_out_cells: np.ndarray
) -> Metric:
    r"""``copying_z``: C_T in units of its spread without copying; far below 0, samples lie nearer
    to training images than held-out images do.

    .. math::
        C_T = \frac{\sum_\pi P(\pi) Z_\pi}{\sum_\pi P(\pi)}, \qquad
        \text{spread} = \frac{\sqrt{\sum_\pi P(\pi)^2}}{\sum_\pi P(\pi)}

    Meehan, Chaudhuri, Dasgupta, "A Non-Parametric Test to Detect Data-Copying in Generative
    Models", 2020, https://arxiv.org/abs/2004.05675: P(π) is the share of held-out images in cell π,
    Z the standardised U of the distances to the nearest training image, samples against held-out
    images. Cells that hold fewer than ``LEAST`` of either are left out. The spread is ours: each Z
    has mean 0 and variance 1 if samples are distributed as held-out images are, and the cells are
    independent; of k even cells it is 1/√k.

    ``detail``: ``c_t``, ``spread``, ``cells`` used, ``reference_images``.

    Arguments:
        samples: distances of the samples to their nearest training image (n,).
        sample_cells: their cells (n,).
        held_out: the same of held-out images (m,).
        held_out_cells: their cells (m,).

    Raises:
        TooFewSamples: no cell has enough of both.
    """
    found = []
    for cell in range(CELLS):
        own, others = samples[sample_cells == cell], held_out[held_out_cells == cell]
        if min(len(own), len(others)) >= LEAST:
            found.append(_Cell(_z(own, others), len(others) / len(held_out)))
    if not found:
        raise TooFewSamples(
            ["copying_z"],
            f"no cell holds {LEAST} samples and as many held-out images; there are "
            f"{len(samples)} and {len(held_out)} in {CELLS} cells",
        )
    weights = np.array([cell.weight for cell in found])
    c_t = float(weights @ [cell.z for cell in found] / weights.sum())
    spread = float(np.linalg.norm(weights) / weights.sum())
    detail = {
        "c_t": c_t,
        "spread": spread,
        "cells": len(found),
        "reference_images": len(held_out),
    }
    return Metric(c_t / spread, 1.0, len(samples), higher_is_better=None, detail=detail)


def _z(own: np.ndarray, others: np.ndarray) -> float:
    """(U - mean) / standard deviation of the number of pairs in which ``own`` is the larger one, a
    tie counting half; 0 where all values are equal.
    """
    n, m = len(own), len(others)
    ranks = scipy.stats.rankdata(np.concatenate([own, others]))
    u = ranks[:n].sum() - n * (n + 1) / 2
    variance = n * m * (n + m + 1) / 12 * float(scipy.stats.tiecorrect(ranks))
    return float((u - n * m / 2) / math.sqrt(variance)) if variance > 0 else 0.0


# ---------------------------------------------------------------------- the gap of nats


def nats_gap(
    test: np.ndarray,
    seen: np.ndarray,
    *,
    control_test: np.ndarray,
    control_seen: np.ndarray,
    seen_share: float,
) -> Metric:
    """``nats_gap``: how many nats more test images cost than images that the run has trained on,
    beyond what they cost more under ``pixel_marginals``, which is too simple to learn one by heart
    but sees that the splits differ.

    Test and training images are independent, so the variances of their means add up; of one image
    the two models' nats are a pair, whose difference is taken first.

    ``detail``: ``uncorrected`` and ``control``, the two gaps; ``seen_n``, ``seen_share``.

    Arguments:
        test: nats of test images (n,), n >= 2.
        seen: nats of images that the run has trained on (m,), m >= 2.
        control_test: nats of the same test images under ``pixel_marginals`` (n,).
        control_seen: the same of ``seen`` (m,).
        seen_share: share of the training split that the run has trained on, for ``detail``.

    Raises:
        TooFewSamples: fewer than two images of either.
    """
    if min(len(test), len(seen)) < 2:
        raise TooFewSamples(
            ["nats_gap"],
            f"needs two test images and two that the run has trained on, got {len(test)} and "
            f"{len(seen)}",
        )
    ahead, behind = test - control_test, seen - control_seen
    variance = ahead.var(ddof=1) / len(ahead) + behind.var(ddof=1) / len(behind)
    detail = {
        "uncorrected": float(test.mean() - seen.mean()),
        "control": float(control_test.mean() - control_seen.mean()),
        "seen_n": len(seen),
        "seen_share": seen_share,
    }
    value = float(ahead.mean() - behind.mean())
    return Metric(value, math.sqrt(variance), len(test), higher_is_better=None, detail=detail)
