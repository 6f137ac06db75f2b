"""Verdicts in words, for a researcher who reads one line."""

from __future__ import annotations

import math
from collections.abc import Callable

from genbench.comparison.kinds import NAMES
from genbench.comparison.paired import Comparison
from genbench.comparison.verdicts import Outcome, Verdict

__all__ = ["p_value", "remarks", "sentence", "weights_sentence"]

_LOOSE = "the bound may be loose"
_FLATTERS = "an estimate errs towards too good a number, so it never wins"


def sentence(verdict: Verdict) -> str:
    """What the verdict says of two models, as one sentence with a full stop."""
    return _SENTENCES[verdict.outcome](verdict)


def weights_sentence(verdict: Verdict) -> str:
    """The same of two trained networks (:func:`genbench.comparison.paired.compare_weights`), worded
    so that nobody takes it for more.
    """
    return f"Of these weights alone, which another seed may turn round: {sentence(verdict)}"


def remarks(comparison: Comparison) -> tuple[str, ...]:
    """What a reader should know besides, a sentence each: the images, and whose seeds are
    borrowed.
    """
    images = f"Both were scored on {comparison.n:,} common images of {comparison.dataset}."
    return images, *(
        f"How far the score of {name} moves with the seed is borrowed from {_listed(sources)}."
        for name, sources in comparison.borrowed.items()
    )


def p_value(p: float) -> str:
    """A p with its sign.

    >>> p_value(0.03456), p_value(0.00012), p_value(0.000099), p_value(1.0)
    ('p = 0.035', 'p = 0.00012', 'p < 0.0001', 'p = 1')
    """
    if p < 0.0001:
        return "p < 0.0001"
    decimals = max(2, 1 - math.floor(math.log10(p)))
    return f"p = {p:.{decimals}f}".removesuffix(".00")


def _better(verdict: Verdict) -> str:
    size = f"{'at least ' if verdict.at_least else ''}{_gap(verdict)}"
    claim = f"{verdict.lower} is better than {verdict.higher} by {size}"
    if not verdict.at_least:
        return f"{claim}."
    lower, higher = (NAMES[kind] for kind in verdict.kinds)
    flatters = ", which errs towards too good a number," if higher == "estimate" else ""
    return f"{claim}: the {lower} of the first is below the {higher}{flatters} of the second."


def _not_separated(verdict: Verdict) -> str:
    """Δ is A's minus B's, in the order in which they are named."""
    one = verdict.comparison
    of_a, of_b = (NAMES[kind] for kind in one.kinds)
    if one.kinds == ("exact", "exact"):
        names = f"{one.a} and {one.b}"
    elif of_a == of_b:
        names = f"The {of_a}s of {one.a} and {one.b}"
    else:
        names = f"The {of_a} of {one.a} and the {of_b} of {one.b}"
    assert one.stderr is not None
    delta = _plus_minus(one.delta, one.stderr, signed=True)
    return f"{names} are not separated: their difference is {delta} nats ({_p(verdict)})."


def _lower_bound(verdict: Verdict) -> str:
    return (
        f"{verdict.lower} has the lower bound, {_gap(verdict)} below that of {verdict.higher}, "
        "which says nothing of the models beyond it."
    )


def _lower_estimate(verdict: Verdict) -> str:
    return (
        f"{verdict.lower} has the lower estimate, {_gap(verdict)} below that of "
        f"{verdict.higher}, which proves nothing: {_FLATTERS}."
    )


def _unproven(verdict: Verdict) -> str:
    lower, higher = verdict.kinds
    why = [_FLATTERS] if lower == "estimate" else []
    why += [_LOOSE] if higher == "lower_bound" else []
    return (
        f"The {NAMES[lower]} of {verdict.lower} is below the {NAMES[higher]} of {verdict.higher} "
        f"by {_gap(verdict)}, which proves nothing: {', and '.join(why)}."
    )


def _unknown(verdict: Verdict) -> str:
    one = verdict.comparison
    return (
        f"Whether {one.a} or {one.b} is the better model is not known: no entry of {one.dataset} "
        "has three seeds, which would tell how far a score moves from seed to seed."
    )


_SENTENCES: dict[Outcome, Callable[[Verdict], str]] = {
    Outcome.BETTER: _better,
    Outcome.NOT_SEPARATED: _not_separated,
    Outcome.LOWER_BOUND: _lower_bound,
    Outcome.LOWER_ESTIMATE: _lower_estimate,
    Outcome.UNPROVEN: _unproven,
    Outcome.UNKNOWN: _unknown,
}


def _gap(verdict: Verdict) -> str:
    """``1.23 ± 0.20 nats (p = 0.003)``, of the distance whatever its sign."""
    one = verdict.comparison
    assert one.stderr is not None
    return f"{_plus_minus(abs(one.delta), one.stderr)} nats ({_p(verdict)})"


def _p(verdict: Verdict) -> str:
    assert verdict.p is not None
    return p_value(verdict.p)


def _plus_minus(value: float, error: float, *, signed: bool = False) -> str:
    """Both to the error's second significant digit, with a minus that stands out."""
    decimals = min(6, max(0, 1 - math.floor(math.log10(error)))) if error > 0 else 3
    plus = "+" if signed else ""
    return f"{value:{plus}.{decimals}f} ± {error:.{decimals}f}".replace("-", "−")


def _listed(names: tuple[str, ...]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
