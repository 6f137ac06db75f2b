"""How far each model is from the one with the lowest nats, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from genbench.comparison.terms import half_width
from genbench.report.chart import INK, MUTED, SERIES, Chart, chart
from genbench.report.text import KIND_NAMES

__all__ = ["Distance", "distances", "forest"]

_COLOURS = {"exact": SERIES[0], "lower_bound": SERIES[1], "estimate": SERIES[5]}
_LINEAR = 1.0  # nats around 0 where the axis is linear


@dataclass(frozen=True, slots=True)
class Distance:
    """A model's mean nats minus those of the best.

    Attributes:
        name: of the model.
        kind: of its likelihood.
        delta: in nats.
        half: half of the 95 % confidence interval, in nats.
    """

    name: str
    kind: str
    delta: float
    half: float


def distances(said: Mapping[str, Any]) -> tuple[str, list[Distance]] | None:
    """The model with the lowest nats, estimates left aside, and how far the others are from it, the
    nearest first; None where nothing tells how far scores move.

    Arguments:
        said: the ``comparisons`` of a data set.
    """
    pairs = [pair for pair in said["pairs"] if pair["delta_nats_stderr"] is not None]
    names = {name for pair in pairs for name in (pair["a"], pair["b"])}
    above = {
        pair["a"] if pair["delta_nats"] > 0 else pair["b"]
        for pair in pairs
        if "estimate" not in pair["kinds"]
    }
    estimates = {
        pair[which]
        for pair in pairs
        for which, kind in zip("ab", pair["kinds"], strict=True)
        if kind == "estimate"
    }
    lowest = sorted(names - above - estimates)
    if not lowest:
        return None
    best = lowest[0]
    found = [_from(best, pair) for pair in pairs if best in (pair["a"], pair["b"])]
    return best, sorted(found, key=lambda one: one.delta)


def _from(best: str, pair: Mapping[str, Any]) -> Distance:
    is_first = pair["a"] == best
    df = float("inf") if pair["df"] is None else pair["df"]
    return Distance(
        pair["b"] if is_first else pair["a"],
        pair["kinds"][1 if is_first else 0],
        -pair["delta_nats"] if is_first else pair["delta_nats"],
        half_width(pair["delta_nats_stderr"], df, 0.95),
    )


def forest(best: str, others: Sequence[Distance], dataset: str) -> Chart:
    """A line for each model with its interval, over an axis that is linear near 0 and logarithmic
    beyond.
    """

    def draw() -> Figure:
        figure = Figure(figsize=(5.6, 1.0 + 0.22 * len(others)), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("symlog", linthresh=_LINEAR, linscale=0.5)
        for kind, colour in _COLOURS.items():
            own = [(place, one) for place, one in enumerate(others) if one.kind == kind]
            if own:
                axes.errorbar(
                    [one.delta for _, one in own],
                    [place for place, _ in own],
                    xerr=[one.half for _, one in own],
                    fmt="o",
                    markersize=4,
                    capsize=2,
                    linewidth=1.2,
                    color=colour,
                    label=KIND_NAMES[kind],
                )
        axes.axvline(0.0, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(others)), [one.name for one in others], color=INK, fontsize=8)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(f"nats above {best}, {dataset}, with 95 % intervals")
        figure.legend(loc="outside upper left", ncols=3, frameon=False, labelcolor=MUTED)
        return figure

    return chart(draw, f"Nats above {best} on {dataset}")
