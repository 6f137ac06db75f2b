"""What the page's tables show: rows and cells with text, sort value, marks and footnotes, from the
content of leaderboard.json.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from genbench.report.best import best_of_column, letters_of
from genbench.report.bounds import remark
from genbench.report.columns import Column, columns
from genbench.report.external import EXTERNAL
from genbench.report.published import Line, best_of_family, best_of_model, literature
from genbench.report.rows import KINDS, has_means
from genbench.report.text import (
    KIND_NAMES,
    KIND_SENTENCES,
    MARKS,
    count,
    duration,
    number,
    plus_minus,
    spread,
)

__all__ = ["Cell", "Group", "Table", "TableRow", "cell", "cost_cell", "table", "time_cell"]

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: ``value`` is what it sorts by; ``notes`` are numbers of footnotes; ``place`` is
    0..1 between FID's floor and ceiling; ``spread`` names the error where a table has two kinds;
    rows that share one of ``letters`` are not separated.
    """

    text: str = ""
    error: str = ""
    mark: str = ""
    value: float | None = None
    title: str = ""
    best: bool = False
    notes: tuple[int, ...] = ()
    place: float | None = None
    spread: str = ""
    letters: str = ""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: the entry with what describes it, and a cell per metric; ``published`` is the best
    confirmed number of the model, or else of the family.
    """

    entry: str
    model: str
    family: str
    tags: tuple[str, ...]
    notes: tuple[int, ...]
    cells: Mapping[str, Cell]
    published: Line | None
    parameters: Cell
    training: Cell
    sampling: Cell


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one likelihood kind, or the controls."""

    name: str
    sentence: str
    rows: tuple[TableRow, ...]


@dataclass(slots=True)
class Table:
    """The leaderboard of one data set."""

    columns: list[Column]
    groups: list[Group] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_published: bool = False
    several_kinds: bool = False
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_letters(self) -> bool:
        """Whether letters tell which rows are not separated."""
        return bool(self.said.get("letters"))

    @property
    def has_places(self) -> bool:
        """Whether some FID has a place between the controls'."""
        return any(
            cell.place is not None
            for group in self.groups
            for row in group.rows
            for cell in row.cells.values()
        )

    def note(self, text: str) -> int:
        """The number of the footnote with this text; the same text has one number."""
        if text not in self.notes:
            self.notes.append(text)
        return self.notes.index(text) + 1


def table(
    rows: Sequence[Row],
    dataset: str,
    *,
    several_kinds: bool = False,
    said: Mapping[str, Any] = MappingProxyType({}),
) -> Table:
    """The leaderboard's table of the rows of one data set.

    Arguments:
        rows: in the order of leaderboard.json.
        dataset: its name.
        several_kinds: whether each names its processor.
        said: the comparisons of the data set, of leaderboard.json.
    """
    published = dataset in literature() and dataset != "fid"
    result = Table(columns(rows), has_published=published, several_kinds=several_kinds, said=said)
    contenders = [row for row in rows if not row["control"]]
    for kind in KINDS:
        members = [row for row in contenders if row["likelihood_kind"] == kind]
        if members:
            name = KIND_NAMES[kind][0].upper() + KIND_NAMES[kind][1:]
            shown = tuple(_row(row, rows, result) for row in members)
            result.groups.append(Group(name, KIND_SENTENCES[kind], shown))
    controls = [row for row in rows if row["control"]]
    if controls:
        sentence = (
            "no contenders: real training images as samples (the floor of FID) and the "
            "simplest model of all (the ceiling)"
        )
        shown = tuple(_row(row, rows, result) for row in controls)
        result.groups.append(Group("Controls", sentence, shown))
    return result


def _row(row: Row, rows: Sequence[Row], table: Table) -> TableRow:
    cost = row["cost"]
    return TableRow(
        entry=row["entry"],
        model=row["model"],
        family=row["family"],
        tags=tuple(_tags(row, table)),
        notes=tuple(table.note(text) for text in _remarks(row, rows)),
        cells={column.key: cell(row, column, rows, table) for column in table.columns},
        published=None if row["control"] else _published(row),
        parameters=cost_cell(cost, "parameters", count),
        training=time_cell(cost, "train_cpu_seconds", "train_seconds", duration),
        sampling=time_cell(
            cost, "sample_cpu_ms_per_image", "sample_ms_per_image", lambda ms: f"{number(ms, 3)} ms"
        ),
    )


def _published(row: Row) -> Line | None:
    return best_of_model(row["dataset"], row["model"]) or best_of_family(
        row["dataset"], row["family"]
    )


def _remarks(row: Row, rows: Sequence[Row]) -> Iterator[str]:
    if told := remark(row, rows):
        yield told
    if row["matches_likelihood"] is False:
        yield (
            "The samples come from a cheaper or sharpened sampler, not from the scored "
            "distribution."
        )
    if row["status"] == "partial":
        yield "Not complete: see Missing results."
    if row["status"] == "aggregate":
        yield "Mean over seeds; ± is the standard deviation between them (SD)."
    if row["status"] == EXTERNAL:
        yield (
            "Made elsewhere, its samples scored here: how it was trained is not known, so it is "
            "compared and is no best of a column."
        )


def _tags(row: Row, table: Table) -> Iterator[str]:
    if row["seed"]:
        yield f"seed {row['seed']}"
    details = [metric["detail"] for metric in row["metrics"].values()]
    seeds = next((detail["seeds"] for detail in details if "seeds" in detail), None)
    if seeds:
        yield f"{seeds} seeds"
    if row["conditional"]:
        yield "conditional"
    if table.several_kinds:
        yield row["processor"]


def time_cell(cost: Mapping[str, float], cpu: str, wall: str, form: Callable[[float], str]) -> Cell:
    """CPU time, by which entries compare whatever ran beside them, with the wall time as its title;
    of results that do not tell it, wall time.
    """
    if cpu not in cost:
        return cost_cell(cost, wall, form)
    shared = cost.get("at_once")
    alone = shared == 1
    beside = ", perhaps beside others" if shared is None else f", {shared:.0f} entries at once"
    told = f"{cost[cpu]:,.6g} of CPU time; {cost[wall]:,.6g} of wall time"
    return Cell(
        form(cost[cpu]),
        value=cost[cpu],
        mark="" if alone else "∥",
        title=told if alone else told + beside,
    )


def cost_cell(cost: Mapping[str, float], key: str, form: Callable[[float], str]) -> Cell:
    """A cost, empty where it is not known."""
    if key not in cost:
        return Cell()
    return Cell(form(cost[key]), value=cost[key], title=f"{cost[key]:,.6g}")


def cell(row: Row, column: Column, rows: Sequence[Row], table: Table) -> Cell:
    """What a table shows of a row in a column; best and place are among ``rows``."""
    if column.key in row["withheld"]:
        note = table.note(f"{row['entry']}: {row['withheld'][column.key]}")
        return Cell("withheld", notes=(note,))
    if column.key not in row["metrics"]:
        return Cell()
    metric = row["metrics"][column.key]
    value, (error, kind) = metric["value"], spread(metric)
    text, _, told = plus_minus(value, error).partition(" ± ")
    if column.higher_is_better is None and float(value).is_integer():
        text, told = f"{value:.0f}", ""  # a diagnostic that counts something
    return Cell(
        text=text,
        error=told,
        spread=kind if told and has_means(rows) else "",
        mark=MARKS.get(metric["kind"] or "", ""),
        value=value,
        title=_title(metric),
        best=row["entry"] in best_of_column(column, row, rows, table.said),
        letters=letters_of(row, column, rows, table.said),
        place=_place(row, rows) if column.key == "fid_mnist" and not row["control"] else None,
    )


def _title(metric: Mapping[str, Any]) -> str:
    kind = f"{KIND_NAMES[metric['kind']]}, " if metric["kind"] else ""
    told = [
        f"{key} {value}"
        for key, value in sorted(metric["detail"].items())
        if isinstance(value, int | float | str)
    ]
    return kind + ", ".join([f"{metric['n']:,} images", *told])


def _place(row: Row, rows: Sequence[Row]) -> float | None:
    """Where the row's FID lies between the best and the worst control's, on a logarithmic scale;
    None without two controls.
    """
    controls = [
        other["metrics"]["fid_mnist"]["value"]
        for other in rows
        if other["control"] and "fid_mnist" in other["metrics"]
    ]
    if len(controls) < 2 or not 0 < min(controls) < max(controls):
        return None
    value = row["metrics"]["fid_mnist"]["value"]
    if value <= 0:
        return 0.0
    low, high = math.log(min(controls)), math.log(max(controls))
    return min(1.0, max(0.0, (math.log(value) - low) / (high - low)))
