"""Entries of one model side by side: in which options they differ, and what that does to their
scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genbench.config.params import Entry
from genbench.report.columns import Column, columns, diagnostics
from genbench.report.external import trained_here
from genbench.report.text import count, duration
from genbench.report.view import Cell, Table, cost_cell, time_cell
from genbench.report.view import cell as leaderboard_cell

__all__ = ["Variant", "Variants", "inside", "numbers", "variants"]

Row = Mapping[str, Any]

_UNSAID = ("train.validations", "train.validate_images", "train.arithmetic.")
"""What changes no comparison of interest."""
_SHOWN = ("bits_per_dim", "conditional_nats", "fid_mnist", "label_fidelity")


@dataclass(frozen=True, slots=True)
class Variant:
    """An entry of the table: ``options`` are those that not all of the table's entries share."""

    entry: str
    options: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Variants:
    """Entries of one model and data set, in the order of params.yaml."""

    model: str
    columns: tuple[Column, ...]
    rows: tuple[Variant, ...]


def variants(rows: Sequence[Row], entries: Mapping[str, Entry]) -> list[Variants]:
    """The models of which these rows of one data set have several, not counting those that differ
    in the seed alone.
    """
    groups: dict[str, dict[str, Row]] = defaultdict(dict)
    order = list(entries)
    for row in sorted(_single(rows), key=lambda row: order.index(row["entry"])):
        if not row["control"]:
            options = str(sorted(_options(entries[row["entry"]]).items()))
            groups[row["model"]].setdefault(options, row)
    several = {model: list(group.values()) for model, group in groups.items() if len(group) > 1}
    return [_variants(model, group, entries) for model, group in several.items()]


def inside(rows: Sequence[Row]) -> Variants | None:
    """The diagnostics of the rows that have some, as a table; None where none has."""
    return numbers(rows, diagnostics(rows))


def numbers(rows: Sequence[Row], shown: Sequence[Column]) -> Variants | None:
    """A table of some columns, of the rows that have any of them; None where none has."""
    known = [row for row in _single(rows) if any(column.key in row["metrics"] for column in shown)]
    found = []
    for row in known:
        cells = tuple(_cell(row, column, known) for column in shown)
        found.append(Variant(row["entry"], (), cells))
    return Variants("", tuple(shown), tuple(found)) if found else None


def _cell(row: Row, column: Column, rows: Sequence[Row]) -> Cell:
    """As in the leaderboard, but for its footnotes: why a score is withheld shows when one points
    at it.
    """
    if column.key in row["withheld"]:
        return Cell("withheld", title=row["withheld"][column.key])
    return leaderboard_cell(row, column, rows, Table([column]))


def _single(rows: Sequence[Row]) -> list[Row]:
    return [row for row in trained_here(rows) if row["status"] != "aggregate"]


def _options(entry: Entry) -> dict[str, Any]:
    """All that an entry sets but its seed, flat; the options of ``arch`` by their own names."""
    parts = {"train": entry.train, "sample": entry.sample, "score": entry.score}
    found = dict(entry.arch)
    for name, part in parts.items():
        found |= {f"{name}.{key}": value for key, value in _flat(part)}
    return found


def _flat(part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in part.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", leaf) for inner, leaf in _flat(value))
        else:
            yield key, value


def _differing(options: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of what differs; options of training only where all have them, since each phase of
    training has its own.
    """
    names = dict.fromkeys(key for one in options for key in one)
    shown = [key for key in names if not key.startswith("train.") or _compares(key, options)]
    return [key for key in shown if any(one.get(key) != options[0].get(key) for one in options)]


def _compares(key: str, options: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an option of training is one of all entries, and changes a comparison."""
    return all(key in one for one in options) and not key.startswith(_UNSAID)


def _variants(model: str, rows: Sequence[Row], entries: Mapping[str, Entry]) -> Variants:
    options = [_options(entries[row["entry"]]) for row in rows]
    differing = _differing(options)
    scores = [column for column in columns(rows) if column.key in _SHOWN]
    inner = diagnostics(rows)
    costs = (
        Column("parameters", "parameters", "Trainable parameters", None),
        Column("train_seconds", "training", "Training time", None),
    )
    found = []
    for row, own in zip(rows, options, strict=True):
        told = [(key.removeprefix("train."), own[key]) for key in differing if key in own]
        cells = (
            *(_cell(row, column, rows) for column in scores),
            cost_cell(row["cost"], "parameters", count),
            time_cell(row["cost"], "train_cpu_seconds", "train_seconds", duration),
            *(_cell(row, column, rows) for column in inner),
        )
        said = tuple(f"{key}: {_plain(value)}" for key, value in told)
        found.append(Variant(row["entry"], said, cells))
    return Variants(model, (*scores, *costs, *inner), tuple(found))


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
