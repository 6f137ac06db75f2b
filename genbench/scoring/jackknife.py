"""The delete-group jackknife: what a score would be without each group of images tells its standard
error, that of a difference of two scores, and its bias.

Quenouille, "Notes on Bias in Estimation", 1956, https://doi.org/10.1093/biomet/43.3-4.353; Shao and
Tu, "The Jackknife and Bootstrap", 1995, chapter 2. With θ the score of all images, θ₋g that of
all but group g of G, and θ̄ the mean of the latter:

    SE² = (G - 1)/G Σ (θ₋g - θ̄)²,    corrected value = G θ - (G - 1) θ̄.

If the expectation of θ is t + b/n + O(1/n²) for n images, that of the corrected value is t +
O(1/n²). Both hold for groups of equal size; sizes that differ by one image change little where a
group has many.

The standard error is that of drawing other samples from the same weights and other reference
images. It leaves training out: how far a model moves with another seed is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genbench.errors import UserError
from genbench.scoring.groups import GROUPS
from genbench.scoring.records import LEFT_OUT, Metric

__all__ = [
    "Estimate",
    "bias_corrected",
    "left_out_of",
    "means_without",
    "paired_stderr",
    "stderr",
]

_DIGITS = 12  # of the stored values: short in a file, and beyond what `genbench diff` looks at


def stderr(left_out: Sequence[float]) -> float:
    """Standard error of a score from its values without each group.

    Raises:
        UserError: fewer than two values, or one that is not finite.
    """
    values = _checked(left_out)
    spread = float(np.square(values - values.mean()).sum())
    return math.sqrt((len(values) - 1) / len(values) * spread)


def bias_corrected(value: float, left_out: Sequence[float]) -> float:
    """A score without its bias in 1/n, which may lie beyond the range of the score itself.

    Arguments:
        value: the score of all images.
        left_out: its values without each group.

    Raises:
        UserError: fewer than two values, or one that is not finite.
    """
    values = _checked(left_out)
    return len(values) * value - (len(values) - 1) * float(values.mean())


def paired_stderr(first: Sequence[float], second: Sequence[float]) -> float:
    """Standard error of the difference of two scores that have the groups of reference images in
    common; what both owe to these images cancels.

    Arguments:
        first: values of the one score without each group.
        second: the same of the other score, group by group.

    Raises:
        UserError: different numbers of groups, fewer than two, or a value that is not finite.
    """
    if len(first) != len(second):
        raise UserError(
            f"the scores were left without {len(first)} and {len(second)} groups of images, so "
            "their difference has no paired standard error; score both again"
        )
    return stderr(_checked(first) - _checked(second))


def left_out_of(metric: Metric) -> tuple[float, ...]:
    """The values without each group that a metric was stored with; empty if it has none."""
    return tuple(metric.detail.get(LEFT_OUT, ()))


def means_without(values: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Means over images: of all, then of all but each group; float64 (1 + G,), or (1,) without
    groups.

    Arguments:
        values: a term of each image (N,); or (N, 1 + G), if it depends on which group is left out.
        groups: the group of each image (N,), or None.
    """
    values = np.asarray(values, np.float64)
    if groups is None:
        return values.reshape(len(values), -1)[:, :1].mean(0)
    columns = values if values.ndim == 2 else np.repeat(values[:, None], 1 + GROUPS, 1)
    stays = np.ones(columns.shape, bool)
    stays[np.arange(len(groups)), 1 + groups] = False
    return np.where(stays, columns, 0).sum(0) / stays.sum(0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with its values without each group of images.

    Attributes:
        value: of all images.
        left_out: without each group, in their order; empty where there are too few images.
    """

    value: float
    left_out: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: np.ndarray) -> Estimate:
        """Of the values of all images and of all but each group, (1 + G,) or (1,)."""
        value, *left_out = np.asarray(values, np.float64).tolist()
        return cls(value, tuple(left_out))

    @property
    def stderr(self) -> float | None:
        """Standard error, or None without groups."""
        return stderr(self.left_out) if self.left_out else None

    @property
    def detail(self) -> Mapping[str, Any]:
        """What a metric keeps of it besides value and standard error."""
        if not self.left_out:
            return {}
        return {LEFT_OUT: [float(f"{value:.{_DIGITS}g}") for value in self.left_out]}


def _checked(left_out: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(left_out, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise UserError(
            f"a jackknife needs the values without each of at least two groups, got {values.size}"
        )
    if not np.isfinite(values).all():
        raise UserError(f"a value without a group is not finite: {values.tolist()}")
    return values
