"""Learning curves: the loss of each phase of training, on training and on validation images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genbench.report.chart import MUTED, SERIES, Chart, chart

__all__ = ["curves", "phases_of"]


def phases_of(history: pd.DataFrame) -> list[str]:
    """Names of the phases with a loss in a history, in its order."""
    losses = [name for name in history.columns if name.endswith(("/loss", "/valid_loss"))]
    phases = dict.fromkeys(name.rsplit("/", 1)[0] for name in losses)
    return [phase for phase in phases if _has_values(history, phase)]


def _has_values(history: pd.DataFrame, phase: str) -> bool:
    return any(len(_series(history, phase, part)[0]) for part in ("loss", "valid_loss"))


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
        stacked = figure.subplots(len(phases), 1, sharex=True, squeeze=False)[:, 0]
        for axes, phase in zip(stacked, phases, strict=True):
            _curve(axes, history, phase)
        axes.set_xlabel("step")
        return figure

    return chart(draw, f"Learning curves of {entry}")


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
            # The first steps would squeeze all others into a line.
            shown.append(values[len(values) // 20 :])
    low = min(values.min() for values in shown)
    high = max(float(np.quantile(values, 0.98)) for values in shown)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title(phase, loc="left", fontsize=9, color=MUTED)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 0.97),
        ncols=2,
        frameon=False,
        fontsize=8,
        labelcolor=MUTED,
        handlelength=1.4,
        borderpad=0.0,
    )
