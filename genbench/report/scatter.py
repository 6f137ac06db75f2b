"""Quality against cost: labelled points, a colour for each family, the controls as lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genbench.report.chart import MUTED, SERIES, Chart, chart
from genbench.report.labels import mark_log, name_points

__all__ = ["Point", "scatter"]


@dataclass(frozen=True, slots=True)
class Point:
    """An entry in a scatter plot. Controls cost nothing that compares: of them ``y`` alone
    counts.
    """

    name: str
    family: str
    x: float
    y: float
    control: bool = False


def scatter(
    points: Sequence[Point], families: Sequence[str], *, xlabel: str, ylabel: str, log_y: bool
) -> Chart | None:
    """Labelled points over a logarithmic cost, controls as horizontal lines; None without a
    contender.

    ``families`` fixes each family's colour over all charts.
    """
    controls = [p for p in points if p.control and (p.y > 0 or not log_y)]
    usable = [p for p in points if not p.control and p.x > 0 and (p.y > 0 or not log_y)]
    if not usable:
        return None

    def draw() -> Figure:
        figure = Figure(figsize=(5.6, 4.0), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        if log_y:
            axes.set_yscale("log")
        for i, family in enumerate(families):
            own = [p for p in usable if p.family == family]
            _dots(axes, own, family, SERIES[i % len(SERIES)])
        for point in controls:
            axes.axhline(point.y, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2)
        _limits(axes, [p.x for p in usable], [p.y for p in (*usable, *controls)], log_y)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        figure.legend(
            loc="outside upper left",
            ncols=4,
            frameon=False,
            fontsize=8,
            labelcolor=MUTED,
            handletextpad=0.1,
        )
        name_points(
            figure,
            axes,
            [(p.name, p.x, p.y) for p in usable],
            [(p.name, p.y) for p in controls],
        )
        return figure

    return chart(draw, f"{ylabel} against {xlabel}")


def _dots(axes: Axes, points: Sequence[Point], label: str, colour: str) -> None:
    if points:
        x, y = [p.x for p in points], [p.y for p in points]
        axes.scatter(x, y, s=34, color=colour, label=label, linewidth=1.3, zorder=3, alpha=0.9)


def _limits(axes: Axes, x: Sequence[float], y: Sequence[float], log_y: bool) -> None:
    for values, log, limits in ((x, True, axes.set_xlim), (y, log_y, axes.set_ylim)):
        transform, back = (math.log10, lambda v: 10**v) if log else (float, float)
        low, high = transform(min(values)), transform(max(values))
        margin = 0.16 * (high - low) or (0.3 if log else 0.1 * abs(high) or 1.0)
        limits(back(low - margin), back(high + margin))
    for axis, log in ((axes.xaxis, True), (axes.yaxis, log_y)):
        if log:
            mark_log(axis)
