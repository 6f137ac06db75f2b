"""Many tests at once: Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genbench.errors import UserError

__all__ = ["holm"]


def holm(p: Sequence[float]) -> np.ndarray:
    r"""Adjusted p of m tests, float64 (m,), in the order given.

    .. math::
        \tilde p_{(k)} = \max_{j \le k} \min\{1, (m - j + 1)\, p_{(j)}\},
        \qquad p_{(1)} \le \dots \le p_{(m)}

    Where all that are below 0.05 are called significant, the probability of any wrong one is at
    most 0.05, however the tests depend on each other.

    References:
        Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979,
            https://www.jstor.org/stable/4615733.

    Raises:
        UserError: a value is no probability.
    """
    values = np.asarray(p, np.float64).reshape(-1)
    if not ((values >= 0) & (values <= 1)).all():
        bad = values[~((values >= 0) & (values <= 1))][0]
        raise UserError(f"p: must be from 0 to 1, got {bad}; leave out pairs without a test")
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted
