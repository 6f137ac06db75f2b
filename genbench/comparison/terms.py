"""Standard errors that are put together from independent parts, and what Student's distribution
says of a difference with such an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtr, ndtri, stdtr, stdtrit

__all__ = ["Term", "half_width", "satterthwaite", "stderr", "two_sided_p"]


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a squared standard error.

    Attributes:
        name: of what it comes from.
        variance: in nats squared, at least 0.
        df: degrees of freedom of its estimate; infinite where it is taken as known.
    """

    name: str
    variance: float
    df: float


def stderr(terms: Sequence[Term]) -> float:
    """The standard error that independent parts make together, in nats."""
    return math.sqrt(sum(term.variance for term in terms))


def satterthwaite(terms: Sequence[Term]) -> float:
    r"""Degrees of freedom of a sum of estimated variances.

    .. math::
        \nu = \frac{(\sum_k v_k)^2}{\sum_k v_k^2 / \nu_k}

    They lie between the smallest :math:`\nu_k` and the sum of all; infinite where nothing that is
    above 0 is estimated.

    References:
        Welch, "The Generalization of 'Student's' Problem when Several Different Population
            Variances are Involved", 1947, https://doi.org/10.1093/biomet/34.1-2.28.
        Satterthwaite, "An Approximate Distribution of Estimates of Variance Components", 1946,
            https://doi.org/10.2307/3002019.
    """
    total = sum(term.variance for term in terms)
    # shares, whose squares cannot vanish as those of tiny variances do
    uncertain = sum((term.variance / total) ** 2 / term.df for term in terms) if total > 0 else 0.0
    return 1 / uncertain if uncertain > 0 else math.inf


def two_sided_p(delta: float, error: float, df: float) -> float:
    """Probability of a difference at least as far from 0 as ``delta`` if there is none.

    Where there is no error at all it is 1 for a difference of 0 and 0 for all others.
    """
    if error == 0:
        return 1.0 if delta == 0 else 0.0
    t = -abs(delta) / error
    return 2 * float(ndtr(t) if math.isinf(df) else stdtr(df, t))


def half_width(error: float, df: float, level: float) -> float:
    """Half of the confidence interval of that level (0.95 for 95 %) around a difference."""
    below = (1 + level) / 2
    return error * float(ndtri(below) if math.isinf(df) else stdtrit(df, below))
