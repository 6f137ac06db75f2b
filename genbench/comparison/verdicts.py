"""What a comparison says: one outcome for each pair of entries.

A difference that is not significant separates nothing. Of one that is, the outcome follows from the
kinds of both likelihoods (:mod:`genbench.comparison.kinds`): that of the entry with the lower nats
in the rows, that of the other in the columns.

===========  ================  ===========  ================
lower        against exact     bound        estimate
===========  ================  ===========  ================
exact        better            unproven     better, at least
bound        better, at least  lower bound  better, at least
estimate     unproven          unproven     lower estimate
===========  ================  ===========  ================

*At least*: the difference of the models is no smaller than the one that is seen, and may be larger.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from genbench.comparison.holm import holm
from genbench.comparison.kinds import can_lose, can_win
from genbench.comparison.paired import Comparison, compare_models
from genbench.comparison.scored import LEAST_IMAGES, Scored
from genbench.comparison.seed_spread import SeedSpreads
from genbench.errors import UserError

__all__ = ["LEVEL", "Outcome", "Verdict", "judge", "outcome", "verdicts"]

LEVEL = 0.05
"""p, after correction, below which a difference is significant."""


class Outcome(StrEnum):
    """What is said of a pair of entries."""

    BETTER = "better"
    NOT_SEPARATED = "not_separated"
    LOWER_BOUND = "lower_bound"
    """The bounds differ, which says nothing of the models."""
    LOWER_ESTIMATE = "lower_estimate"
    """The estimates differ, which proves nothing."""
    UNPROVEN = "unproven"
    """The numbers differ in the direction in which their kinds prove nothing."""
    UNKNOWN = "unknown"
    """Nothing tells how far scores move from seed to seed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judged comparison.

    Attributes:
        comparison: the numbers.
        p: of the test, corrected for the other pairs; None without one.
        outcome: what is said.
        separated: whether the numbers differ significantly, whatever that proves; of rows of one
            kind, letters stand for it.
    """

    comparison: Comparison
    p: float | None
    outcome: Outcome
    separated: bool

    @property
    def lower(self) -> str:
        """The entry with the lower nats; where they are equal, the first."""
        return self.comparison.b if self.comparison.delta > 0 else self.comparison.a

    @property
    def higher(self) -> str:
        """The other entry."""
        return self.comparison.a if self.comparison.delta > 0 else self.comparison.b

    @property
    def kinds(self) -> tuple[str, str]:
        """Those of the likelihoods of the lower and of the higher one."""
        of_a, of_b = self.comparison.kinds
        return (of_b, of_a) if self.comparison.delta > 0 else (of_a, of_b)

    @property
    def winner(self) -> str | None:
        """The better entry, where one is shown to be."""
        return self.lower if self.outcome is Outcome.BETTER else None

    @property
    def at_least(self) -> bool:
        """Whether the difference of the models may be larger than the one that is seen."""
        return self.outcome is Outcome.BETTER and self.kinds != ("exact", "exact")


def outcome(lower: str, higher: str) -> Outcome:
    """What a significant difference says, from the kinds of the lower and the higher number; see
    the table above.
    """
    if can_win(lower) and can_lose(higher):
        return Outcome.BETTER
    if lower == higher:
        return Outcome.LOWER_BOUND if lower == "lower_bound" else Outcome.LOWER_ESTIMATE
    return Outcome.UNPROVEN


def judge(comparison: Comparison, p: float | None) -> Verdict:
    """The verdict on a comparison; ``p`` is its own, corrected for what else is tested."""
    if p is None or comparison.p is None:
        return Verdict(comparison, None, Outcome.UNKNOWN, separated=False)
    if p < comparison.p:
        raise UserError(
            f"p: a corrected p is no smaller than that of the test, {comparison.p}, got {p}"
        )
    if p >= LEVEL:
        return Verdict(comparison, p, Outcome.NOT_SEPARATED, separated=False)
    of_a, of_b = comparison.kinds
    said = outcome(of_b, of_a) if comparison.delta > 0 else outcome(of_a, of_b)
    return Verdict(comparison, p, said, separated=True)


def verdicts(entries: Sequence[Scored], spreads: SeedSpreads) -> list[Verdict]:
    """A verdict on each pair of entries of one data set, in the order of ``entries``, with Holm's
    correction over all of them.

    Pairs with fewer than ``LEAST_IMAGES`` common images are left out; :func:`compare_models` raises
    an error that names them.
    """
    pairs = [(a, b) for a, b in itertools.combinations(entries, 2) if _overlap(a, b)]
    found = [compare_models(a, b, spreads) for a, b in pairs]
    adjusted = iter(holm([one.p for one in found if one.p is not None]).tolist())
    return [judge(one, None if one.p is None else next(adjusted)) for one in found]


def _overlap(a: Scored, b: Scored) -> bool:
    return len(np.intersect1d(a.images, b.images, assume_unique=True)) >= LEAST_IMAGES
