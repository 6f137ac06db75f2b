"""Errors from independent parts: degrees of freedom, and what Student's distribution says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from genbench.comparison.terms import Term, half_width, satterthwaite, stderr, two_sided_p


def test_degrees_of_freedom_lie_between_the_least_and_the_sum() -> None:
    for a, b in ((1.0, 1.0), (1e-12, 1.0), (3.0, 1e-200), (1e-200, 1e-200)):
        df = satterthwaite([Term("one", a, 4), Term("other", b, 7)])
        assert 4 - 1e-9 <= df <= 11 + 1e-9
    assert satterthwaite([Term("one", 1, 4), Term("same", 0, 7)]) == pytest.approx(4)
    assert satterthwaite([Term("one", 1, 4), Term("known", 1, math.inf)]) == pytest.approx(16)


def test_what_is_known_is_normal() -> None:
    assert satterthwaite([Term("known", 4, math.inf)]) == math.inf
    assert two_sided_p(-1.96, 1.0, math.inf) == pytest.approx(2 * stats.norm.sf(1.96))
    assert half_width(2.0, math.inf, 0.95) == pytest.approx(2 * stats.norm.ppf(0.975))


@pytest.mark.parametrize("df", [2, 4.7, 99])
def test_p_and_interval_are_students(df: float) -> None:
    for t in (0.0, 0.3, 2.5, 12.0):
        expected = 2 * stats.t.sf(t, df)
        assert two_sided_p(0.2 * t, 0.2, df) == pytest.approx(expected, rel=1e-9)
        assert two_sided_p(-0.2 * t, 0.2, df) == pytest.approx(expected, rel=1e-9)
    for level in (0.5, 0.95):
        assert two_sided_p(half_width(0.2, df, level), 0.2, df) == pytest.approx(1 - level)


def test_the_mean_of_squares_in_a_sum_has_these_degrees_of_freedom() -> None:
    """A variance with k degrees of freedom has a relative variance of 2 / k: that of a sum of two
    estimates, of 3 with 4 and of 1 with 20 degrees of freedom, over many draws.
    """
    rng = np.random.default_rng(0)
    drawn = 3 * rng.chisquare(4, 200_000) / 4 + rng.chisquare(20, 200_000) / 20
    df = satterthwaite([Term("one", 3, 4), Term("other", 1, 20)])
    assert 2 / df == pytest.approx(drawn.var() / drawn.mean() ** 2, rel=0.03)


def test_parts_add_up_in_squares() -> None:
    assert stderr([Term("one", 9, 4), Term("other", 16, 7)]) == 5
    assert stderr([]) == 0
