"""What training buys: the negative log-likelihood of validation images against the CPU time that it
took, of all entries of a data set in one chart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from genbench.config.params import Entry
from genbench.report.chart import MUTED, SERIES, Chart, chart
from genbench.report.labels import mark_log, name_points
from genbench.results.entry import EntryResults
from genbench.results.reader import Training

__all__ = ["Course", "courses", "learning", "measures_nats"]

_LOSS = "loss/valid_loss"
"""Of the history of a model that has one loss."""


@dataclass(frozen=True, slots=True)
class Course:
    """How an entry learned.

    Attributes:
        name: of the entry.
        family: of its model.
        seconds: core-seconds at its validations (N,), rising; or after the training, if its loss
            is no likelihood.
        nats: of validation images (N,); or of test images, after the training.
        is_score: whether it is that of test images.
    """

    name: str
    family: str
    seconds: np.ndarray
    nats: np.ndarray
    is_score: bool


def measures_nats(entry: Entry, family: str) -> bool:
    """Whether the loss that an entry is trained on is the negative log-likelihood of an image,
    given its label where there is one, or a bound of it. A test holds all models to this.
    """
    if family == "variational":
        weighs_alike = entry.arch.get("beta", 1.0) == 1.0 and not entry.arch.get("free_bits", 0.0)
        return entry.model != "vq_vae" and weighs_alike
    return family in ("autoregressive", "flows") or entry.model == "ddpm_vlb"


def courses(entries: Sequence[EntryResults]) -> Iterator[Course]:
    """Those of the contenders whose core-seconds are known, as far as there are nats."""
    for results in entries:
        training, model = results.training.result, results.model
        if training is None or model is None or model.control:
            continue
        total = training.cost.get("train_cpu_seconds", 0.0)
        if total <= 0:
            continue
        own = results.entry.name, model.family
        seconds, nats = _validations(training)
        scores = results.likelihood.result
        if measures_nats(results.entry, model.family) and len(nats):
            yield Course(*own, seconds, nats, is_score=False)
        elif scores is not None and "nats" in scores.metrics:
            score = np.array([scores.metrics["nats"].value])
            yield Course(*own, np.array([total]), score, is_score=True)


def _validations(training: Training) -> tuple[np.ndarray, np.ndarray]:
    """Core-seconds and losses (N,) of the validations. A history tells wall time: the cores work
    alike from the first step to the last.
    """
    told = [(row["seconds"], row.get(_LOSS)) for row in training.history]
    known = [(s, loss) for s, loss in told if s and loss is not None and math.isfinite(loss)]
    wall = training.cost["train_seconds"]
    share = training.cost["train_cpu_seconds"] / wall if wall > 0 else 0.0
    rows = np.array([pair for pair in known if pair[1] > 0], float).reshape(-1, 2)
    return share * rows[:, 0], rows[:, 1]


def learning(
    entries: Sequence[Course], controls: Mapping[str, float], families: Sequence[str], dataset: str
) -> Chart | None:
    """A line for each entry, both axes logarithmic; those that are above all controls throughout
    have a panel of their own, so that the others have room. None without any.

    Arguments:
        entries: of one data set.
        controls: test nats of the controls, by name: horizontal lines.
        families: they fix each family's colour over all charts.
        dataset: its name.
    """
    drawn = [one for one in entries if (one.seconds > 0).all() and (one.nats > 0).all()]
    if not drawn:
        return None
    colours = {family: SERIES[i % len(SERIES)] for i, family in enumerate(families)}

    def draw() -> Figure:
        panels = _panels(drawn, controls)
        figure = Figure(figsize=(10.4, 5.2 + len(panels)), layout="constrained")
        ratios = [1.0, 3.6][-len(panels) :]
        stacked = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=ratios)[
            :, 0
        ]
        for axes, (own, lines) in zip(stacked, panels, strict=True):
            _draw(axes, own, lines, colours)
        _limit(stacked[-1].set_xlim, [one.seconds for one in drawn], right=0.14)
        mark_log(stacked[-1].xaxis)
        stacked[-1].set_xlabel(f"core-seconds of training, {dataset}")
        stacked[-1].set_ylabel("validation nats per image (lower is better)")
        shown = [family for family in families if any(one.family == family for one in drawn)]
        handles = [Line2D([], [], color=colours[family], label=family) for family in shown]
        style: dict[str, Any] = {"frameon": False, "fontsize": 8, "labelcolor": MUTED}
        figure.legend(handles=handles, loc="outside upper left", ncols=8, **style)
        for axes, (own, lines) in zip(stacked, panels, strict=True):
            ends = [(one.name, float(one.seconds[-1]), float(one.nats[-1])) for one in own]
            name_points(figure, axes, ends, list(lines.items()), avoid=_along(own))
        return figure

    return chart(draw, f"Validation nats against core-seconds of training, {dataset}")


def _panels(
    drawn: Sequence[Course], controls: Mapping[str, float]
) -> list[tuple[list[Course], Mapping[str, float]]]:
    """The entries of each panel from top to bottom, with its horizontal lines."""
    top = max(controls.values(), default=math.inf)
    above = [one for one in drawn if one.nats.min() > top]
    rest = [one for one in drawn if one.nats.min() <= top]
    if not above or not rest:
        return [(list(drawn), controls)]
    return [(above, {}), (rest, controls)]


def _draw(
    axes: Axes, own: Sequence[Course], lines: Mapping[str, float], colours: Mapping[str, str]
) -> None:
    """The lines of a panel, and its vertical axis."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for one in own:
        colour = colours[one.family]
        hollow = {"markersize": 5, "markerfacecolor": "none"}
        style: dict[str, Any] = hollow if one.is_score else {"markersize": 3}
        axes.plot(one.seconds, one.nats, color=colour, linewidth=1.2, marker="o", zorder=3, **style)
    for nats in lines.values():
        axes.axhline(nats, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2)
    heights = [*(one.nats for one in own), np.array(list(lines.values()))]
    _limit(axes.set_ylim, heights, right=0.08)
    mark_log(axes.yaxis)


def _limit(set_limits: Any, values: Sequence[np.ndarray], *, right: float) -> None:
    """Limits of a logarithmic axis around values, with some more room at its upper end."""
    logs = np.log10(np.concatenate(list(values)))
    low, high = float(logs.min()), float(logs.max())
    span = high - low or 0.3
    set_limits(10 ** (low - 0.08 * span), 10 ** (high + right * span))


def _along(own: Sequence[Course]) -> list[tuple[float, float]]:
    """Places along the lines of a panel, which no name may cover."""
    places = []
    for one in own:
        x, y = np.log10(one.seconds), np.log10(one.nats)
        at = np.linspace(0, len(x) - 1, 8 * (len(x) - 1) + 1)
        steps = np.arange(len(x))
        along = zip(np.interp(at, steps, x), np.interp(at, steps, y), strict=True)
        places += [(float(10**a), float(10**b)) for a, b in along]
    return places
