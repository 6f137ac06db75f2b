"""Likelihoods that others computed, as far as they can be checked without their model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from genbench.data.subsets import strided
from genbench.errors import UserError
from genbench.external.arrays import read_arrays
from genbench.files import sha256
from genbench.scoring.likelihood import bits_per_dim
from genbench.scoring.records import Metric
from genbench.spec import DataSpec

__all__ = ["REPORTED", "Nats", "nats_metrics", "read_nats"]

REPORTED = "reported"
"""The kind of a likelihood that was reported with the images: nobody here has proven what it is."""


@dataclass(frozen=True, slots=True)
class Nats:
    """Negative log-likelihoods of test images, checked.

    Attributes:
        values: float64 (n,), -log P(x) of the discrete image in nats.
        index: int64 (n,), which test images they are of.
    """

    values: np.ndarray
    index: np.ndarray

    @property
    def digest(self) -> str:
        """SHA-256 over values and index."""
        return sha256(self.values.tobytes() + self.index.tobytes())


def read_nats(path: Path, total: int, spec: DataSpec) -> Nats:
    """The likelihoods in an npz file, whose form is that of an entry's ``nats.npz``: ``nats``, the
    negative log-likelihood of each test image in nats, in the order of the test split; of a part of
    them with ``index``, which must be evenly spread.

    Arguments:
        path: the file.
        total: number of test images.
        spec: the form of their data set.

    Raises:
        UserError: another shape or dtype, NaN, other images than the protocol has, or numbers that
            cannot be negative log-likelihoods of discrete images; says how to convert them.
        OSError: it cannot be read; names the file.
    """
    arrays = read_arrays(path, "nats")
    values = arrays["nats"]
    if values.ndim != 1 or values.dtype not in (np.float32, np.float64):
        flat = "; sum over pixels by `nats = nats.reshape(len(nats), -1).sum(1)`"
        raise UserError(
            f"{path}: nats must be float64 ({total},), -log P(x) of each test image, got "
            f"{values.dtype} {values.shape}{flat if values.ndim > 1 else ''}"
        )
    index = _index(path, arrays.get("index"), len(values), total)
    mistake = _mistake(values.astype(np.float64), index, spec)
    if mistake is not None:
        raise UserError(f"{path}: {mistake}")
    return Nats(values.astype(np.float64), index)


def _index(path: Path, index: np.ndarray | None, n: int, total: int) -> np.ndarray:
    """The test images that ``n`` values are of, int64 (n,)."""
    spread = strided(total, n)
    if index is None and n == total:
        return spread
    if index is None or n < 2:
        raise UserError(
            f"{path}: nats must be of all {total} test images in their order, got {n}; with a part "
            f"of them, evenly spread, goes `index=np.arange({n}) * {total} // {n}`"
        )
    # The first half of MNIST's test split is easier than the second.
    if index.dtype.kind not in "iu" or not np.array_equal(index, spread):
        raise UserError(
            f"{path}: index must be evenly spread over the {total} test images, that is "
            f"`np.arange({n}) * {total} // {n}`; other images are easier or harder"
        )
    return spread


def _mistake(nats: np.ndarray, index: np.ndarray, spec: DataSpec) -> str | None:
    """What shows that numbers are no -log P(x) of different discrete images: one below 0, or
    probabilities that add up to more than 1.
    """
    bad = np.flatnonzero(~np.isfinite(nats))
    if len(bad):
        return (
            f"nats of {len(bad)} of {len(nats)} test images are NaN or infinite, first those of "
            f"image {index[bad[0]]}; a model that gives an image no probability has no mean"
        )
    if (nats < 0).any():
        return (
            f"nats must not be below 0, got {nats.min():g}: a discrete image has a probability. "
            "If these are log P(x), `nats = -nats`; if -log of a density of pixels in 0..1, "
            f"`nats = nats + {spec.dims} * np.log({spec.levels})`"
        )
    total = float(logsumexp(-nats))
    if total > 0:
        return (
            f"nats have a mean of {nats.mean():g}, by which the probabilities of these {len(nats)} "
            f"images alone add up to e^{total:.3g}, above 1. If these are bits/dim, "
            f"`nats = nats * {spec.dims} * np.log(2)`; if nats per pixel, "
            f"`nats = nats * {spec.dims}`"
        )
    return None


def nats_metrics(nats: Nats, spec: DataSpec) -> dict[str, Metric]:
    """``nats`` and ``bits_per_dim`` with their standard errors, of the kind ``REPORTED``."""
    n = len(nats.values)
    mean, stderr = float(nats.values.mean()), float(nats.values.std(ddof=1) / math.sqrt(n))
    pairs = {
        "nats": (mean, stderr),
        "bits_per_dim": (bits_per_dim(mean, spec.dims), bits_per_dim(stderr, spec.dims)),
    }
    return {
        name: Metric(*pair, n, higher_is_better=False, kind=REPORTED)
        for name, pair in pairs.items()
    }
