"""Holm's correction against the closed testing procedure that it is the short form of, and against
what it promises.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from genbench.comparison.holm import holm
from genbench.errors import UserError


def closed_testing(p: Sequence[float]) -> list[float]:
    """Each hypothesis is rejected where all sets with it are, a set by Bonferroni's test; so its p
    is the largest of those of the sets.
    """
    adjusted = []
    for i in range(len(p)):
        others = [j for j in range(len(p)) if j != i]
        sets = [
            (i, *rest) for size in range(len(p)) for rest in itertools.combinations(others, size)
        ]
        adjusted.append(max(min(1.0, len(one) * min(p[j] for j in one)) for one in sets))
    return adjusted


def test_an_example_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03 and 0.2 times 4, 3, 2 and 1: none may be below the one before."""
    assert holm([0.2, 0.01, 0.03, 0.02]) == pytest.approx([0.2, 0.04, 0.06, 0.06])


@pytest.mark.parametrize("m", [1, 2, 3, 5, 7])
def test_it_is_closed_testing(m: int) -> None:
    rng = np.random.default_rng(m)
    for _ in range(20):
        p = (rng.uniform(size=m) ** 3).tolist()
        assert holm(p) == pytest.approx(closed_testing(p), rel=1e-12)


def test_ties_are_alike() -> None:
    p = [0.01, 0.5, 0.01, 0.5]
    assert holm(p) == pytest.approx(closed_testing(p))
    assert holm(p)[0] == holm(p)[2]


def test_a_wrong_rejection_is_as_rare_as_promised() -> None:
    """Of ten tests nine are of true hypotheses, and the tenth is always rejected: any of the nine
    is in 1 - (1 - 0.05/9)^9 = 4.9 % of cases, as they are independent.
    """
    p = np.random.default_rng(0).uniform(size=(20_000, 9))
    wrong = [bool((holm([1e-9, *row])[1:] < 0.05).any()) for row in p]
    expected = 1 - (1 - 0.05 / 9) ** 9
    assert abs(np.mean(wrong) - expected) < 4 * np.sqrt(expected / len(wrong))


def test_none_are_none() -> None:
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(bad: float) -> None:
    with pytest.raises(UserError, match="p: must be from 0 to 1, got"):
        holm([0.5, bad])
