"""Published results beside ours: literature.yaml, its kinds of bound in our terms, and our rows at
their place among them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from genbench.report.text import spread

__all__ = [
    "Line",
    "Published",
    "best_of_family",
    "best_of_model",
    "literature",
    "merged",
    "published",
]

KINDS = {
    "exact": "exact",
    "upper_bound": "lower_bound",
    "is_estimate": "lower_bound",
    "dequantized_bound": "lower_bound",
    "ais_estimate": "estimate",
    "lower_bound_approx": "estimate",
}
"""Literature says how its number relates to the negative log-likelihood, our records how log P
does: an upper bound there is a lower one here.
"""

STATUS = {
    "primary": "",
    "secondary": "as quoted by another paper",
    "unconfirmed": "from memory, unconfirmed",
}

_VISIBLE = 25


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table of published results, or one of ours (``entry`` is set, the citation is
    not).

    ``comparable`` is False for numbers per another count of pixels, which have no place in the
    order; ``spread`` says what ``stderr`` is (:data:`genbench.report.text.SPREADS`); ``of`` is the
    model of ours that a published line is a result of.
    """

    model: str
    family: str
    value: float
    kind: str | None
    stderr: float | None = None
    entry: str | None = None
    title: str = ""
    venue: str = ""
    arxiv: str | None = None
    status: str = ""
    note: str = ""
    comparable: bool = True
    spread: str = ""
    of: str = ""

    @property
    def unconfirmed(self) -> bool:
        """Whether nobody looked the number up."""
        return self.status == STATUS["unconfirmed"]


@dataclass(frozen=True, slots=True)
class Published:
    """The published results that a data set's ``metric`` compares with; ``lines`` from best to
    worst.
    """

    metric: str
    unit: str
    protocol: str
    lines: tuple[Line, ...]


@cache
def literature() -> dict[str, Any]:
    """The content of literature.yaml; treat it as constant."""
    return yaml.safe_load(files(__package__).joinpath("literature.yaml").read_text("utf-8"))


def published(dataset: str) -> Published | None:
    """The published results of a data set, or of ``fid``; None if there are none."""
    results = literature().get(dataset) if dataset != "citations" else None
    if results is None:
        return None
    lines = sorted(map(_line, results["rows"]), key=lambda line: (line.value, line.model))
    metric, unit = results.get("metric", dataset), results.get("unit", "")
    return Published(metric, unit, results["protocol"], tuple(lines))


def _line(row: Mapping[str, Any]) -> Line:
    citation = literature()["citations"][row["cite"]]
    return Line(
        model=row["model"],
        family=row["family"],
        value=row["value"],
        kind=KINDS[row["bound"]] if "bound" in row else None,
        stderr=row.get("sd"),
        spread="SD",
        title=citation["title"],
        venue=citation["venue"],
        arxiv=citation.get("arxiv"),
        status=STATUS[row["status"]],
        note=row.get("note", ""),
        comparable=row.get("dims", 784) == 784,
        of=row.get("of", ""),
    )


def best_of_family(dataset: str, family: str) -> Line | None:
    """The lowest published number of a family that somebody confirmed; None where there is none."""
    results = published(dataset)
    lines = () if results is None else results.lines
    own = [line for line in lines if line.family == family]
    return next((line for line in own if line.comparable and not line.unconfirmed), None)


def best_of_model(dataset: str, model: str) -> Line | None:
    """The same of a model of ours: others' results with the same method by the same protocol."""
    results = published(dataset)
    lines = () if results is None else results.lines
    own = [line for line in lines if line.of == model]
    return next((line for line in own if line.comparable and not line.unconfirmed), None)


def merged(results: Published, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Line], list[Line]]:
    """Published lines and our rows in one order by value: a selection of about 25 lines, and all of
    them.

    The selection holds all of ours, and of each family the best, the worst and lines evenly
    between, so that a modest result still finds its neighbours.
    """
    ours = []
    for row in rows:
        if results.metric in row["metrics"]:
            metric = row["metrics"][results.metric]
            error, kind = spread(metric)
            own = (row["entry"], row["family"], metric["value"], metric["kind"])
            ours.append(Line(*own, stderr=error, spread=kind, entry=row["entry"]))
    comparable = [line for line in results.lines if line.comparable]
    chosen = _spread(comparable, max(10, _VISIBLE - len(ours)))
    return _ordered([*chosen, *ours]), _ordered([*results.lines, *ours])


def _ordered(lines: Sequence[Line]) -> list[Line]:
    def place(line: Line) -> tuple[bool, float, bool, str]:
        return not line.comparable, line.value, line.entry is None, line.model

    return sorted(lines, key=place)


def _spread(lines: Sequence[Line], limit: int) -> list[Line]:
    families: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        families[line.family].append(line)
    quota = dict.fromkeys(families, 0)
    left = min(limit, len(lines))
    while left:
        for family in sorted(families, key=lambda name: -len(families[name])):
            if left and quota[family] < len(families[family]):
                quota[family] += 1
                left -= 1
    return [line for family, members in families.items() for line in _even(members, quota[family])]


def _even(lines: Sequence[Line], n: int) -> list[Line]:
    if n <= 1:
        return list(lines[:n])
    return [lines[round(i * (len(lines) - 1) / (n - 1))] for i in range(n)]
