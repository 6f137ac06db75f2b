"""Words in charts: names beside points that overlap nothing, and the marks of logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from genbench.report.chart import INK, MUTED

__all__ = ["mark_log", "name_points"]


def mark_log(axis: Axis) -> None:
    """Mark round numbers on a logarithmic axis, whose limits are set."""
    low, high = axis.get_view_interval()
    few = high / low < 3
    axis.set_major_locator(
        MaxNLocator(6, steps=[1, 2, 5, 10])
        if few
        else LogLocator(subs=_ticks(high / low), numticks=12)
    )
    axis.set_major_formatter(FuncFormatter(_tick))
    axis.set_minor_formatter(NullFormatter())


def _ticks(span: float) -> tuple[float, ...]:
    """What of each power of ten is marked on a logarithmic axis, whose ends are ``span`` apart."""
    if span < 20:
        return 1.0, 2.0, 3.0, 5.0, 7.0
    return (1.0, 3.0) if span < 1e4 else (1.0,)


def _tick(value: float, position: int | None) -> str:
    return f"{value:g}" if value < 1e5 else f"{value:.0e}"


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


def name_points(
    figure: Figure,
    axes: Axes,
    points: Sequence[tuple[str, float, float]],
    lines: Sequence[tuple[str, float]],
    avoid: Sequence[tuple[float, float]] = (),
) -> None:
    """Put each name at the nearest free place beside its point; a thin line joins those that had to
    move away.

    Arguments:
        figure: the figure, with its final limits.
        axes: of the points.
        points: name and place of each.
        lines: name and height of each horizontal line.
        avoid: further places that no name may cover.
    """
    along = axes.get_yaxis_transform()
    style: dict[str, Any] = {"fontsize": 8, "color": MUTED, "va": "bottom"}
    names = [
        axes.annotate(name, (0, y), (4, 3), along, "offset points", **style) for name, y in lines
    ]
    figure.draw_without_rendering()
    # The public way to a renderer needs a canvas of one format.
    renderer = figure._get_renderer()  # type: ignore[attr-defined]
    frame, pixel = axes.get_window_extent(renderer), figure.dpi / 72
    taken = [_around(axes, (x, y), 8 * pixel) for _, x, y in points]
    taken += [_around(axes, place, 2 * pixel) for place in avoid]
    taken += [Text.get_window_extent(name, renderer) for name in names]
    for name, x, y in sorted(points, key=lambda point: (point[2], point[1], point[0])):
        first = None
        for offset in _OFFSETS:
            note = _note(axes, name, (x, y), *offset)
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


def _around(axes: Axes, place: tuple[float, float], side: float) -> Bbox:
    """A square around a place, whose side is in pixels."""
    x, y = axes.transData.transform(place)
    return Bbox.from_bounds(x - side / 2, y - side / 2, side, side)


def _note(
    axes: Axes, name: str, place: tuple[float, float], dx: float, dy: float, ha: str, va: str
) -> Annotation:
    style: dict[str, Any] = {"ha": ha, "va": va, "fontsize": 8, "color": INK}
    if math.hypot(dx, dy) > 15:
        style["arrowprops"] = dict(_JOIN)
    return axes.annotate(name, place, (dx, dy), textcoords="offset points", **style)


def _contains(frame: Bbox, box: Bbox) -> bool:
    across = frame.x0 <= box.x0 and box.x1 <= frame.x1
    return bool(across and frame.y0 <= box.y0 and box.y1 <= frame.y1)
