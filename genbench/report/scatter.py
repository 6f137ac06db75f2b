"""Quality against cost: labelled points, a colour for each family, the controls as lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from genbench.report.chart import INK, MUTED, SERIES, Chart, chart

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
        _label(figure, axes, usable, controls)
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
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=_ticks(high / low), numticks=12))
            axis.set_major_formatter(FuncFormatter(_tick))
            axis.set_minor_formatter(NullFormatter())


def _ticks(span: float) -> tuple[float, ...]:
    """What of each power of ten is marked on a logarithmic axis, whose ends are ``span`` apart."""
    if span < 20:
        return 1.0, 2.0, 3.0, 5.0, 7.0
    return (1.0, 3.0) if span < 1e4 else (1.0,)


def _tick(value: float, position: int | None) -> str:
    return f"{value:g}" if value < 1e5 else f"{value:.0e}"


# ---------------------------------------------------------------------- names beside points


_OFFSETS = [
    (dx, dy, ha, va)
    for r in (6, 12, 20, 30, 42)
    for dx, dy, ha, va in (
        (r, 0, "left", "center"),
        (-r, 0, "right", "center"),
        (0, r, "center", "bottom"),
        (0, -r, "center", "top"),
        (r * 0.7, r * 0.7, "left", "bottom"),
        (-r * 0.7, -r * 0.7, "right", "top"),
        (r * 0.7, -r * 0.7, "left", "top"),
        (-r * 0.7, r * 0.7, "right", "bottom"),
    )
]


_JOIN = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}


def _label(figure: Figure, axes: Axes, points: Sequence[Point], controls: Sequence[Point]) -> None:
    """Put each name at the nearest free place beside its point; a thin line joins those that had to
    move away.
    """
    lines = axes.get_yaxis_transform()
    style: dict[str, Any] = {"fontsize": 8, "color": MUTED, "va": "bottom"}
    names = [
        axes.annotate(p.name, (0, p.y), (4, 3), lines, "offset points", **style) for p in controls
    ]
    figure.draw_without_rendering()
    # The public way to a renderer needs a canvas of one format.
    renderer = figure._get_renderer()  # type: ignore[attr-defined]
    frame, pixel = axes.get_window_extent(renderer), figure.dpi / 72
    centres = [axes.transData.transform((p.x, p.y)) for p in points]
    side = 8 * pixel
    taken = [Bbox.from_bounds(x - side / 2, y - side / 2, side, side) for x, y in centres]
    taken += [Text.get_window_extent(name, renderer) for name in names]
    for point in sorted(points, key=lambda p: (p.y, p.x, p.name)):
        first = None
        for offset in _OFFSETS:
            note = _note(axes, point, *offset)
            note.update_positions(renderer)
            box = Text.get_window_extent(note, renderer)
            if _contains(frame, box) and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            first = first or note
            note.remove()
        else:  # there is no free place
            assert first is not None
            axes.add_artist(first)


def _note(axes: Axes, point: Point, dx: float, dy: float, ha: str, va: str) -> Annotation:
    style: dict[str, Any] = {"ha": ha, "va": va, "fontsize": 8, "color": INK}
    if math.hypot(dx, dy) > 15:
        style["arrowprops"] = dict(_JOIN)
    place = (point.x, point.y)
    return axes.annotate(point.name, place, (dx, dy), textcoords="offset points", **style)


def _contains(frame: Bbox, box: Bbox) -> bool:
    across = frame.x0 <= box.x0 and box.x1 <= frame.x1
    return bool(across and frame.y0 <= box.y0 and box.y1 <= frame.y1)
