"""A chart: as a PNG file, and as SVG that takes its colours from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

__all__ = ["INK", "MUTED", "SERIES", "Chart", "chart"]

INK, MUTED, _LINE = "#1b1c1e", "#6b7077", "#d9dce0"
SERIES = ("#2f6fde", "#d9480f", "#0c8f6f", "#a33ea1", "#b58900", "#5f6b7a", "#c2255c", "#3d8b37")
# In SVG each drawing colour stands for one of the page's, which has a light and a dark set of them.
_PAGE = {INK: "var(--ink)", MUTED: "var(--muted)", _LINE: "var(--line)"}
_PAGE |= {colour: f"var(--series-{i + 1})" for i, colour in enumerate(SERIES)}
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.color": INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "svg.fonttype": "none",
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart twice: ``png`` at double resolution (144 dpi) on white, ``svg`` for inclusion in the
    page.
    """

    png: bytes
    svg: str


def chart(draw: Callable[[], Figure], label: str) -> Chart:
    """A figure as a chart.

    Arguments:
        draw: draws it, in the style of the page.
        label: what it shows, for those who cannot see it.
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": label}):
        figure = draw()
        figure.draw_without_rendering()  # settles the layout, once for both files
        figure.set_layout_engine("none")
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(png, format="png", dpi=144, facecolor="white", metadata={"Software": None})
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(svg, format="svg", transparent=True, metadata=nothing)
    return Chart(_small(png.getvalue()), _inline(svg.getvalue(), label))


def _small(png: bytes) -> bytes:
    """The same picture in 160 colours, at half the size: reports are kept in git."""
    small, whole = io.BytesIO(), Image.open(io.BytesIO(png)).convert("RGB")
    whole.quantize(160, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
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
