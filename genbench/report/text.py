"""How the report writes numbers and marks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from genbench.hardware.kind import in_words

__all__ = [
    "KIND_NAMES",
    "KIND_SENTENCES",
    "MARKS",
    "SPREADS",
    "count",
    "duration",
    "number",
    "plus_minus",
    "processor",
    "spread",
]

KIND_NAMES = {
    "exact": "exact",
    "lower_bound": "bound",
    "estimate": "estimate",
    "reported": "reported elsewhere",
    "none": "no likelihood",
}

KIND_SENTENCES = {
    "exact": "the model computes P(x) of each test image; the number is its negative logarithm",
    "lower_bound": (
        "the model computes a lower bound of log P(x), so the true negative "
        "log-likelihood is at most the number shown"
    ),
    "estimate": (
        "log P(x) needs an estimated constant (annealed importance sampling), which errs "
        "towards too good a number"
    ),
    "reported": (
        "the number came with samples that were made elsewhere; nobody here has computed it or "
        "proven that it is a likelihood of the discrete image"
    ),
    "none": "the model only draws samples; it is judged by them alone",
}

MARKS = {"exact": "=", "lower_bound": "≤", "estimate": "≈", "reported": "?"}
"""Before a negative log-likelihood: how it relates to the true one."""


SPREADS = {
    "SE": "standard error over test images or samples: another training is no part of it",
    "SD": "standard deviation between seeds: how far another training would lie",
}
"""Behind a ±, where both stand in one table."""


def spread(metric: Mapping[str, Any]) -> tuple[float | None, str]:
    """What stands behind the ± of a metric of leaderboard.json, and which of ``SPREADS`` it is."""
    if "sd" in metric["detail"]:
        return metric["detail"]["sd"], "SD"
    return metric["stderr"], "SE"


def number(value: float, digits: int = 4) -> str:
    """Plain decimal with that many significant digits, at most six of them behind the point.

    >>> number(0.123456), number(1234.56), number(42.0)
    ('0.1235', '1235', '42.00')
    """
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(6, max(0, decimals))}f}"


def plus_minus(value: float, error: float | None) -> str:
    """A value with its error, both to the error's second significant digit. An error that six
    decimals do not show is none: rounding, of images that are all alike.

    >>> plus_minus(1.34123, 0.0046), plus_minus(97.3, None), plus_minus(1450.23, 5.04)
    ('1.3412 ± 0.0046', '97.30', '1450.2 ± 5.0')
    """
    if not error or error < 0.5e-6:
        return number(value)
    decimals = min(6, max(0, 1 - math.floor(math.log10(error))))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def count(value: float) -> str:
    """A number of parameters.

    >>> count(950), count(12_345), count(3_400_000)
    ('950', '12.3 k', '3.4 M')
    """
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.1f}{name}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """A time in the unit that reads best.

    >>> duration(8.21), duration(95), duration(5400)
    ('8.2 s', '95 s', '1.5 h')
    """
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds:.0f} s"


def processor(kind: Mapping[str, Any]) -> str:
    """A kind of processor from its record, with the version of torch, whose builds bring the other
    libraries along.
    """
    return f"{in_words(kind)}, torch {kind['libraries'].get('torch', 'unknown')}"
