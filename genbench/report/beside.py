"""Our results beside published ones of the same data set, family by family: all that others have
published, and of each row of ours what they have got with the same model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from genbench.report.chart import INK, MUTED, SERIES, Chart, chart
from genbench.report.labels import mark_log
from genbench.report.published import Line, Published

__all__ = ["beside"]

Row = Mapping[str, Any]

_INCHES = 0.235
"""Of a line."""


def beside(
    results: Published, rows: Sequence[Row], families: Sequence[str], dataset: str
) -> Chart | None:
    """A line for each row of ours with the metric that compares, below one of what the family has
    published; None without any.

    Arguments:
        results: the published results of the data set.
        rows: contenders of it, one for each group of seeds.
        families: they fix each family's colour over all charts.
        dataset: its name.
    """
    ours = [row for row in rows if results.metric in row["metrics"]]
    if not ours:
        return None
    shown = [family for family in families if any(row["family"] == family for row in ours)]

    def draw() -> Figure:
        count = len(ours) + len(shown)
        figure = Figure(figsize=(9.0, 1.1 + _INCHES * count), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        names: list[str] = []
        for family in shown:
            colour = SERIES[families.index(family) % len(SERIES)]
            _family(axes, results, family, len(names))
            names.append(f"{family}, published")
            for row in _in_order(ours, family, results.metric):
                _row(axes, results, row, len(names), colour)
                names.append(row["entry"])
        axes.set_yticks(range(count), names)
        axes.set_ylim(count - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        mark_log(axes.xaxis)
        axes.set_xlabel(f"{results.unit} (lower is better), {dataset}")
        style: dict[str, Any] = {"frameon": False, "fontsize": 8, "labelcolor": MUTED}
        figure.legend(handles=_legend(), loc="outside upper left", ncols=4, **style)
        return figure

    return chart(draw, f"Ours beside published results, {dataset}")


def _in_order(rows: Sequence[Row], family: str, metric: str) -> list[Row]:
    own = [row for row in rows if row["family"] == family]
    return sorted(own, key=lambda row: float(row["metrics"][metric]["value"]))


def _family(axes: Axes, results: Published, family: str, y: int) -> None:
    """What others have published of a family."""
    values = [line.value for line in results.lines if line.family == family and line.comparable]
    axes.plot(values, [y] * len(values), "|", color=MUTED, markersize=8, markeredgewidth=1.0)
    axes.axhspan(y - 0.5, y + 0.5, color=MUTED, alpha=0.08, linewidth=0)


def _row(axes: Axes, results: Published, row: Row, y: int, colour: str) -> None:
    """A row of ours, and what others have got with its model."""
    value = row["metrics"][results.metric]["value"]
    theirs = [line for line in results.lines if line.of == row["model"] and line.comparable]
    if theirs:
        ends = [value, *(line.value for line in theirs)]
        axes.plot([min(ends), max(ends)], [y, y], color=MUTED, linewidth=0.8, zorder=2)
    for line in theirs:
        axes.plot([line.value], [y], zorder=3, **_diamond(line))
    axes.plot([value], [y], "o", color=colour, markersize=6, zorder=4)


def _diamond(line: Line) -> dict[str, Any]:
    """How a published number of a model looks: hollow if nobody has looked it up."""
    face = "none" if line.unconfirmed else INK
    return {
        "marker": "D",
        "markersize": 5,
        "markerfacecolor": face,
        "markeredgecolor": INK,
        "linestyle": "none",
    }


def _legend() -> list[Line2D]:
    plain: dict[str, Any] = {"linestyle": "none"}
    diamond: dict[str, Any] = {"marker": "D", "markersize": 5, "markeredgecolor": INK, **plain}
    return [
        Line2D([], [], marker="o", color=MUTED, markersize=6, label="ours", **plain),
        Line2D([], [], markerfacecolor=INK, label="published, the same model", **diamond),
        Line2D([], [], markerfacecolor="none", label="the same, unconfirmed", **diamond),
        Line2D([], [], marker="|", color=MUTED, label="published, the family", **plain),
    ]
