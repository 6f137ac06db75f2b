"""The likelihood of an entry as comparisons need it: nats of each seed and each test image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from genbench.comparison.kinds import check_kind
from genbench.errors import UserError
from genbench.scoring.records import Metric

__all__ = ["LEAST_IMAGES", "Common", "Scored", "in_common", "scored"]

LEAST_IMAGES = 100
"""Common images below which two entries are not compared: nats per image have long tails, and of
fewer a mean is not yet near enough to a normal distribution.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One entry, with all seeds that it was trained with.

    No Monte Carlo error of an image is kept, because none is needed: noise that is drawn anew for
    each image spreads the nats of the images, and is measured with them.

    Attributes:
        name: of the entry.
        family: of its model.
        dataset: that it was scored on.
        kind: what its numbers say of log P, ``exact``, ``lower_bound`` or ``estimate``.
        images: numbers of test images, each once (n,).
        nats: negative log-likelihoods of these images under each seed's weights (seeds, n).
        log_z_stderr: of each seed the standard error of log Z in nats, 0 where the constant is
            known (seeds,).
    """

    name: str
    family: str
    dataset: str
    kind: str
    images: np.ndarray
    nats: np.ndarray
    log_z_stderr: tuple[float, ...]

    def __post_init__(self) -> None:
        check_kind(self.kind, self.name)
        seeds, n = self.nats.shape if self.nats.ndim == 2 else (0, 0)
        if seeds < 1 or n < 2:
            raise UserError(
                f"{self.name}: nats must have the shape (seeds, images) with at least 2 images, "
                f"got {self.nats.shape}; score the entry on more"
            )
        if self.images.shape != (n,) or len(np.unique(self.images)) < n:
            raise UserError(
                f"{self.name}: {n} nats of each seed need the numbers of {n} different images, got "
                f"{len(np.unique(self.images))} in the shape {self.images.shape}; score the entry "
                "again"
            )
        if not np.isfinite(self.nats).all():
            seed, at = np.argwhere(~np.isfinite(self.nats))[0]
            raise UserError(
                f"{self.name}: the nats of test image {self.images[at]} (seed {seed + 1} of "
                f"{seeds}) are not finite; score the entry again"
            )
        errors = np.asarray(self.log_z_stderr, float)
        if errors.shape != (seeds,) or not (np.isfinite(errors).all() and (errors >= 0).all()):
            raise UserError(
                f"{self.name}: log_z_stderr must have a finite error of at least 0 for each of "
                f"{seeds} seeds, got {self.log_z_stderr}"
            )

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.nats)

    def of_seed(self, number: int) -> Scored:
        """The same entry with one of its seeds, counted from 0."""
        one = slice(number, number + 1)
        return replace(self, nats=self.nats[one], log_z_stderr=self.log_z_stderr[one])


@dataclass(frozen=True, slots=True, eq=False)
class Common:
    """Two entries on the images that both were scored on.

    Attributes:
        images: their numbers, rising (n,).
        a: nats of the first entry (its seeds, n).
        b: nats of the second (its seeds, n).
    """

    images: np.ndarray
    a: np.ndarray
    b: np.ndarray

    @property
    def differences(self) -> np.ndarray:
        """Of each image the mean over seeds of the first entry's nats minus that of the
        second's (n,).
        """
        return self.a.mean(axis=0) - self.b.mean(axis=0)


def in_common(a: Scored, b: Scored) -> Common:
    """Both entries on their common images.

    Raises:
        UserError: they are of different data sets, or have fewer than ``LEAST_IMAGES`` in common.
    """
    if a.dataset != b.dataset:
        raise UserError(
            f"{a.name} is an entry of {a.dataset} and {b.name} of {b.dataset}: nats of different "
            "data sets do not compare; choose entries of one data set"
        )
    images, at_a, at_b = np.intersect1d(a.images, b.images, assume_unique=True, return_indices=True)
    if len(images) < LEAST_IMAGES:
        raise UserError(
            f"{a.name} and {b.name} were both scored on {len(images)} images, and a comparison "
            f"needs {LEAST_IMAGES}; raise protocol.likelihood_images and score them again"
        )
    return Common(images, a.nats[:, at_a], b.nats[:, at_b])


def scored(
    name: str,
    *,
    family: str,
    dataset: str,
    metrics: Sequence[Metric],
    arrays: Sequence[Mapping[str, np.ndarray]],
) -> Scored:
    """An entry from what scoring its likelihood has left, once for each seed.

    Arguments:
        name: of the entry, for sentences and errors.
        family: of its model.
        dataset: that it was scored on.
        metrics: the metric ``nats`` of each seed's record.
        arrays: each seed's per-image values: ``index`` (n,) and ``nats`` (n,).

    Raises:
        UserError: the seeds differ in kind or draws or have no images in common, or an array is
            missing, of another shape than its index, or names an image twice.
    """
    settings = {(metric.kind, metric.detail.get("draws")) for metric in metrics}
    if len(settings) != 1 or len(metrics) != len(arrays):
        told = ", ".join(sorted(f"{kind} with draws {draws}" for kind, draws in settings))
        raise UserError(
            f"{name}: its seeds must be scored alike, got {len(metrics)} records ({told}) and "
            f"{len(arrays)} files of nats; score them with the same options"
        )
    for one in arrays:
        _check_arrays(name, one)
    images = reduce(np.intersect1d, [one["index"] for one in arrays])
    return Scored(
        name,
        family,
        dataset,
        str(metrics[0].kind),
        images,
        np.stack([_on(images, one) for one in arrays]),
        tuple(float(metric.detail.get("log_z_stderr", 0.0)) for metric in metrics),
    )


def _check_arrays(name: str, one: Mapping[str, np.ndarray]) -> None:
    index, nats = one.get("index"), one.get("nats")
    if index is None or nats is None:
        raise UserError(
            f"{name}: its files of nats must have the arrays index and nats, one has "
            f"{', '.join(sorted(one)) or 'none'}; score the entry again"
        )
    if index.ndim != 1 or index.shape != nats.shape or len(np.unique(index)) < len(index):
        raise UserError(
            f"{name}: index and nats of a seed must be of one shape (n,) and name each image once, "
            f"got {index.shape} and {nats.shape}; score the entry again"
        )


def _on(images: np.ndarray, one: Mapping[str, np.ndarray]) -> np.ndarray:
    """The nats of these images, float64 (n,)."""
    order = np.argsort(one["index"])
    at = order[np.searchsorted(one["index"], images, sorter=order)]
    return one["nats"][at].astype(np.float64)
