"""Kernel distance with a Gaussian kernel: the unbiased squared maximum mean discrepancy of features
under exp(-|x - y|²/(2 σ²)), of all pairs of images.

Gretton, Borgwardt, Rasch, Schölkopf, Smola, "A Kernel Two-Sample Test", 2012, lemma 6; this kernel
on features is CMMD, Jayasumana, Ramalingam, Veit, Glasner, Chakrabarti, Kumar, "Rethinking FID",
2024, https://arxiv.org/abs/2401.09603. It sees every difference of distributions, where the
polynomial kernel of :mod:`genbench.scoring.metrics.kid` sees three moments.

σ is the median distance of test images, the same for all entries of a data set.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from genbench.data.subsets import strided
from genbench.scoring.groups import GROUPS, groups_of_both
from genbench.scoring.jackknife import Estimate
from genbench.scoring.metrics.base import FeatureSet, need_pair
from genbench.scoring.records import Metric

__all__ = ["bandwidth", "compute"]

_PAIRED = 1000  # images whose distances give the bandwidth: half a million of them
_ROWS = 500  # of the kernel matrix at a time: 40 MB for 10,000 images


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``kid_rbf_<extractor>``; it may be slightly negative. ``seed`` is unused.

    The standard error is that of other samples and other real images (jackknife over groups of
    both), and leaves training out; None with fewer images than groups.

    Raises:
        UserError: features that do not belong together.
        TooFewSamples: fewer than two images.
    """
    key = f"kid_rbf_{generated.extractor}"
    need_pair([key], generated, reference, 2, "pairs of different images")
    sigma = bandwidth(reference.features)
    x, y = (features.features.double() for features in (generated, reference))
    both = groups_of_both(len(x), len(y))
    of_x, of_y = (np.zeros(len(x), np.int64), np.zeros(len(y), np.int64)) if both is None else both
    parts = 1 if both is None else GROUPS
    within = [_sums(z, z, of, of, sigma, parts) for z, of in ((x, of_x), (y, of_y))]
    across = _sums(x, y, of_x, of_y, sigma, parts)
    sizes = [np.bincount(of, minlength=parts) for of in (of_x, of_y)]
    found = Estimate.of(_discrepancies(within, across, sizes, left_out=both is not None))
    detail = {"bandwidth": sigma, "reference_n": len(reference), **found.detail}
    return {
        key: Metric(
            found.value, found.stderr, len(generated), higher_is_better=False, detail=detail
        )
    }


def bandwidth(reference: Tensor) -> float:
    """Median distance of pairs of test images, of 1,000 evenly spread ones; features (N, D), N > 1.

    1 where more than half of the distances are 0.
    """
    some = reference[strided(len(reference), _PAIRED)].double()
    return float(torch.pdist(some).median()) or 1.0


def _sums(
    x: Tensor, y: Tensor, of_x: np.ndarray, of_y: np.ndarray, sigma: float, parts: int
) -> np.ndarray:
    """Sums of the kernel over the pairs of each group of x with each group of y, (G, G)."""
    member_x, member_y = (torch.eye(parts, dtype=torch.float64)[of] for of in (of_x, of_y))
    total = torch.zeros(parts, parts, dtype=torch.float64)
    squares = y.square().sum(1)
    for begin in range(0, len(x), _ROWS):
        block = x[begin : begin + _ROWS]
        exponent = torch.addmm(squares, block, y.T, alpha=-2)  # (B, M)
        exponent += block.square().sum(1, keepdim=True)
        kernel = exponent.clamp_(min=0).mul_(-0.5 / sigma**2).exp_()
        total += member_x[begin : begin + _ROWS].T @ (kernel @ member_y)
    return total.numpy()


def _discrepancies(
    within: list[np.ndarray], across: np.ndarray, sizes: list[np.ndarray], *, left_out: bool
) -> np.ndarray:
    """The discrepancy of all images and, if asked for, of all but each group, from sums over pairs
    of groups.
    """
    kept = np.ones((1, len(across)))
    if left_out:
        kept = np.concatenate([kept, 1 - np.eye(len(across))])
    n, m = (kept @ size for size in sizes)
    # An image paired with itself has the kernel 1, and does not count.
    own = [
        (np.einsum("kg,gh,kh->k", kept, sums, kept) - size) / (size * (size - 1))
        for sums, size in zip(within, (n, m), strict=True)
    ]
    return own[0] + own[1] - 2 * np.einsum("kg,gh,kh->k", kept, across, kept) / (n * m)
