"""Which numbers of a column are printed bold: the best one only if it is separated from the second,
else all that are not separated from it; none where numbers have no standard error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from genbench.comparison.holm import holm
from genbench.comparison.terms import two_sided_p
from genbench.comparison.verdicts import LEVEL, Outcome
from genbench.report.columns import Column
from genbench.report.rows import without_seeds

__all__ = [
    "KINDS_THAT_WIN",
    "best_of_column",
    "best_of_kind",
    "best_scores",
    "letters_of",
    "models",
    "name_of_model",
]

Row = Mapping[str, Any]

KINDS_THAT_WIN = ("exact", "lower_bound")
_COMPARED = ("bits_per_dim", "nats")
"""Columns that show the nats which the comparisons are of."""


def name_of_model(row: Row) -> str:
    """The name that comparisons have for a row's model: that of the first of its seeds."""
    name = str(row["entry"])
    return name.removesuffix("*") if row["status"] == "aggregate" else name


def models(rows: Sequence[Row]) -> list[Row]:
    """The rows that compete: a contender each, of one with several seeds their mean."""
    return [
        row for row in without_seeds(rows) if not row["control"] and row["status"] != "external"
    ]


def best_of_column(
    column: Column, row: Row, rows: Sequence[Row], said: Mapping[str, Any]
) -> set[str]:
    """The rows whose numbers in a column are printed bold, of a likelihood among the row's kind.

    Arguments:
        column: of the table.
        row: one that has a number there.
        rows: all of the data set.
        said: its comparisons, of leaderboard.json.
    """
    if column.higher_is_better is None:
        return set()
    competing = models(rows)
    if column.key in _COMPARED:
        kind = row["likelihood_kind"]
        return best_of_kind(said, competing, kind) if kind in KINDS_THAT_WIN else set()
    if row["metrics"][column.key]["kind"] is not None:
        return set()  # another likelihood, which was not compared
    return best_scores(competing, column.key, higher_is_better=column.higher_is_better)


def letters_of(row: Row, column: Column, rows: Sequence[Row], said: Mapping[str, Any]) -> str:
    """The letters beside a row's bits/dim, which it shares with those that it is not separated
    from; empty in other columns. The arguments are those of :func:`best_of_column`.
    """
    controls = [one for one in rows if one["control"]]
    if column.key != _COMPARED[0] or row not in [*models(rows), *controls]:
        return ""
    return str(said.get("letters", {}).get(name_of_model(row), ""))


def best_of_kind(said: Mapping[str, Any], rows: Sequence[Row], kind: str) -> set[str]:
    """The rows whose nats are printed bold among those of one kind: not separated from the lowest,
    and not shown to be worse than one of another kind.

    Arguments:
        said: the comparisons of their data set, of leaderboard.json.
        rows: that compete.
        kind: one of ``KINDS_THAT_WIN``; of estimates there is no best.

    Returns:
        names of the rows; none where there is nothing to choose from, or none is separated.
    """
    letters = said.get("letters", {})
    nats = {
        name_of_model(row): row["metrics"]["nats"]["value"]
        for row in rows
        if row["likelihood_kind"] == kind and "nats" in row["metrics"]
    }
    nats = {name: value for name, value in nats.items() if name in letters}
    if len(nats) < 2:
        return set()
    first = set(letters[min(nats, key=nats.__getitem__)])
    chosen = {name for name in nats if first & set(letters[name])} - _beaten(said)
    if len(chosen) == len(nats):
        return set()
    return {row["entry"] for row in rows if name_of_model(row) in chosen}


def _beaten(said: Mapping[str, Any]) -> set[str]:
    """Models of which another one is shown to be better."""
    better = [pair for pair in said["pairs"] if pair["outcome"] == Outcome.BETTER.value]
    return {pair["b"] if pair["winner"] == pair["a"] else pair["a"] for pair in better}


def best_scores(rows: Sequence[Row], key: str, *, higher_is_better: bool) -> set[str]:
    """The rows whose score is printed bold: the best one and those that are not separated from it
    by their standard errors, with Holm's correction for the number of rows; none where a row has no
    error, or none is separated. The errors count as independent, so that scores with common
    reference images are rather too seldom separated.
    """
    own = {row["entry"]: row["metrics"][key] for row in rows if key in row["metrics"]}
    if len(own) < 2 or any(not metric["stderr"] for metric in own.values()):
        return set()
    sign = -1 if higher_is_better else 1
    best = min(own, key=lambda name: sign * own[name]["value"])
    others = [name for name in own if name != best]
    p = holm([_p(own[best], own[name]) for name in others])
    beside = {name for name, one in zip(others, p, strict=True) if one >= LEVEL}
    return {best, *beside} if len(beside) < len(others) else set()


def _p(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    error = math.hypot(one["stderr"], other["stderr"])
    return two_sided_p(one["value"] - other["value"], error, math.inf)
