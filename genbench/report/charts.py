"""Learning curves and quality against cost, as PNG files and as SVG that takes its colours from the
page.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox
from PIL import Image

__all__ = ["Chart", "Point", "curves", "phases_of", "scatter"]

_INK, _MUTED, _LINE = "#1b1c1e", "#6b7077", "#d9dce0"
SERIES = ("#2f6fde", "#d9480f", "#0c8f6f", "#a33ea1", "#b58900", "#5f6b7a", "#c2255c", "#3d8b37")
# In SVG each drawing colour stands for one of the page's, which has a light and a dark set of them.
_PAGE = {_INK: "var(--ink)", _MUTED: "var(--muted)", _LINE: "var(--line)"} | {
    c: f"var(--series-{i + 1})" for i, c in enumerate(SERIES)
}
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "svg.fonttype": "none",
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart twice: ``png`` at double resolution (144 dpi) on white, ``svg`` for inclusion in the
    page.
    """

    png: bytes
    svg: str


def _chart(draw: Callable[[], Figure], label: str) -> Chart:
    with mpl.rc_context(_STYLE | {"svg.hashsalt": label}):
        figure = draw()
        figure.draw_without_rendering()  # settles the layout, once for both files
        figure.set_layout_engine("none")
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(png, format="png", dpi=144, facecolor="white", metadata={"Software": None})
        figure.savefig(
            svg,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    return Chart(_small(png.getvalue()), _inline(svg.getvalue(), label))


def _small(png: bytes) -> bytes:
    """The same picture in 160 colours, at half the size: reports are kept in git."""
    small = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(160, dither=Image.Dither.NONE).save(
        small, format="PNG", optimize=True
    )
    return small.getvalue()


def _inline(svg: str, label: str) -> str:
    """SVG as an element of the page: no prologue, no ids that repeat, the page's colours and
    font.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)[ >].*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="([\d.]+)pt"', r'\1 style="max-width:\2pt"', svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', r"\1", svg, count=1)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r"\s+", " ", svg)
    for colour, variable in _PAGE.items():
        svg = svg.replace(colour, variable)
    escaped = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escaped}"', 1)


# ---------------------------------------------------------------------- learning curves


def phases_of(history: pd.DataFrame) -> list[str]:
    """Names of the phases with a loss in history.csv, in its order."""
    names = dict.fromkeys(
        c.rsplit("/", 1)[0] for c in history.columns if c.endswith(("/loss", "/valid_loss"))
    )
    return [
        name
        for name in names
        if any(len(_series(history, name, part)[0]) for part in ("loss", "valid_loss"))
    ]


def _series(history: pd.DataFrame, phase: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values where a column has them, at most 300 of them (means of runs of equal
    length).
    """
    column = f"{phase}/{part}"
    if column not in history:
        return np.empty(0), np.empty(0)
    both = history[["step", column]].replace([np.inf, -np.inf], np.nan).dropna().to_numpy(float)
    if not len(both):
        return np.empty(0), np.empty(0)
    runs = np.array_split(both, min(300, len(both)))
    means = np.array([run.mean(axis=0) for run in runs])
    return means[:, 0], means[:, 1]


def curves(history: pd.DataFrame, entry: str) -> Chart | None:
    """Loss on training and validation images per phase; None where there was nothing to train."""
    phases = phases_of(history)
    if not phases:
        return None

    def draw() -> Figure:
        figure = Figure(figsize=(4.1, 0.5 + 1.9 * len(phases)), layout="constrained")
        for axes, phase in zip(
            figure.subplots(len(phases), 1, sharex=True, squeeze=False)[:, 0], phases, strict=True
        ):
            _curve(axes, history, phase)
        axes.set_xlabel("step")
        return figure

    return _chart(draw, f"Learning curves of {entry}")


def _curve(axes: Axes, history: pd.DataFrame, phase: str) -> None:
    shown: list[np.ndarray] = []
    for part, name, colour, width in (
        ("loss", "training", SERIES[0], 1.1),
        ("valid_loss", "validation", SERIES[1], 1.5),
    ):
        steps, values = _series(history, phase, part)
        if len(steps):
            dot: dict[str, Any] = {"marker": "o", "markersize": 3} if len(steps) <= 12 else {}
            axes.plot(steps, values, color=colour, linewidth=width, label=name, **dot)
            shown.append(
                values[len(values) // 20 :]
            )  # the first steps would squeeze all others into a line
    low, high = min(v.min() for v in shown), max(float(np.quantile(v, 0.98)) for v in shown)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title(phase, loc="left", fontsize=9, color=_MUTED)
    above: dict[str, Any] = {
        "loc": "lower right",
        "bbox_to_anchor": (1.0, 0.97),
        "ncols": 2,
        "borderpad": 0.0,
    }
    axes.legend(frameon=False, fontsize=8, labelcolor=_MUTED, handlelength=1.4, **above)


# ---------------------------------------------------------------------- quality against cost


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
        for family in families:
            _dots(
                axes,
                [p for p in usable if p.family == family],
                family,
                SERIES[families.index(family) % len(SERIES)],
            )
        for point in controls:
            axes.axhline(point.y, color=_MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2)
        _limits(axes, [p.x for p in usable], [p.y for p in (*usable, *controls)], log_y)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        figure.legend(
            loc="outside upper left",
            ncols=4,
            frameon=False,
            fontsize=8,
            labelcolor=_MUTED,
            handletextpad=0.1,
        )
        _label(figure, axes, usable, controls)
        return figure

    return _chart(draw, f"{ylabel} against {xlabel}")


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
            subs = (
                (1.0, 2.0, 3.0, 5.0, 7.0)
                if high / low < 20
                else (1.0, 3.0)
                if high / low < 1e4
                else (1.0,)
            )
            axis.set_major_locator(LogLocator(subs=subs, numticks=12))
            axis.set_major_formatter(
                FuncFormatter(lambda v, _: f"{v:g}" if v < 1e5 else f"{v:.0e}")
            )
            axis.set_minor_formatter(NullFormatter())


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


def _label(figure: Figure, axes: Axes, points: Sequence[Point], controls: Sequence[Point]) -> None:
    """Put each name at the nearest free place beside its point; a thin line joins those that had to
    move away.
    """
    places = axes.get_yaxis_transform()
    names = [
        axes.annotate(
            p.name, (0, p.y), (4, 3), places, "offset points", fontsize=8, color=_MUTED, va="bottom"
        )
        for p in controls
    ]
    figure.draw_without_rendering()
    renderer = figure._get_renderer()  # type: ignore[attr-defined]  # the public way needs a canvas of one format
    frame = axes.get_window_extent(renderer)
    pixel = figure.dpi / 72
    centres = [axes.transData.transform((p.x, p.y)) for p in points]
    taken = [
        Bbox.from_bounds(x - 4 * pixel, y - 4 * pixel, 8 * pixel, 8 * pixel) for x, y in centres
    ]
    taken += [Text.get_window_extent(name, renderer) for name in names]
    for point in sorted(points, key=lambda p: (p.y, p.x, p.name)):
        notes = []
        for dx, dy, ha, va in _OFFSETS:
            style: dict[str, Any] = {"ha": ha, "va": va, "fontsize": 8, "color": _INK}
            if math.hypot(dx, dy) > 15:
                style["arrowprops"] = {
                    "arrowstyle": "-",
                    "color": _MUTED,
                    "linewidth": 0.6,
                    "shrinkA": 0,
                    "shrinkB": 4,
                }
            note = axes.annotate(
                point.name, (point.x, point.y), (dx, dy), textcoords="offset points", **style
            )
            note.update_positions(renderer)
            box = Text.get_window_extent(note, renderer)
            free = all(not box.overlaps(other) for other in taken)
            if (
                free
                and frame.x0 <= box.x0
                and box.x1 <= frame.x1
                and frame.y0 <= box.y0
                and box.y1 <= frame.y1
            ):
                taken.append(box)
                break
            notes.append(note)
            note.remove()
        else:
            axes.add_artist(notes[0])
