"""The table of docs/metrics.md: which sanity checks our scores pass, by the committed benchmark."""

from __future__ import annotations

from benchmarks.common import RESULTS
from benchmarks.speed_page import table
from genbench.files import read_json

__all__ = ["sanity"]

LETTERS = {"shape": "S", "bounds": "B", "value": "V", "numbers": "N", "invariance": "I"}


def sanity() -> str:
    """A line for each check, a column for each score; in the cells what fails."""
    result = read_json(RESULTS / "sanity_checks.json")
    order = ("fidelity", "diversity", "distance")
    roles = dict(sorted(result["roles"].items(), key=lambda one: (order.index(one[1]), one[0])))
    rows = [
        [one["check"], *[_cell(one["failed"][score]) for score in roles]]
        for one in result["checks"]
    ]
    total = ["*conditions met*"]
    for score, role in roles.items():
        asked = sum(len(one["asked"][role]) for one in result["checks"])
        missed = sum(len(one["failed"][score] or ()) for one in result["checks"])
        total.append(f"{asked - missed} of {asked}")
    heads = ["", *[f"`{score}` ({role})" for score, role in roles.items()]]
    return "\n".join(table(heads, [*rows, total])[1:])


def _cell(failed: list[str] | None) -> str:
    """Nothing was asked, all conditions hold, or the letters of those that do not."""
    if failed is None:
        return ""
    return " ".join(LETTERS[name] for name in failed) or "✓"
