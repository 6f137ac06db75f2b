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
    """A line for each entry, both axes logarithmic; None without any.

    Arguments:
        entries: of one data set.
        controls: test nats of the controls, by name: horizontal lines.
        families: they fix each family's colour over all charts.
        dataset: its name.
    """
    drawn = [one for one in entries if (one.seconds > 0).all() and (one.nats > 0).all()]
    if not drawn:
        return None

    def draw() -> Figure:
        figure = Figure(figsize=(10.4, 6.4), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for i, family in enumerate(families):
            own = [one for one in drawn if one.family == family]
            _lines(axes, own, family, SERIES[i % len(SERIES)])
        for nats in controls.values():
            axes.axhline(nats, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2)
        _limits(axes, drawn, list(controls.values()))
        axes.set_xlabel(f"core-seconds of training, {dataset}")
        axes.set_ylabel("validation nats per image (lower is better)")
        style: dict[str, Any] = {"frameon": False, "fontsize": 8, "labelcolor": MUTED}
        figure.legend(loc="outside upper left", ncols=8, handlelength=1.4, **style)
        ends = [(one.name, float(one.seconds[-1]), float(one.nats[-1])) for one in drawn]
        name_points(figure, axes, ends, list(controls.items()))
        return figure

    return chart(draw, f"Validation nats against core-seconds of training, {dataset}")


def _lines(axes: Axes, own: Sequence[Course], family: str, colour: str) -> None:
    for i, one in enumerate(own):
        axes.plot(
            one.seconds,
            one.nats,
            color=colour,
            linewidth=1.2,
            marker="o",
            markersize=5 if one.is_score else 3,
            markerfacecolor="none" if one.is_score else colour,
            label=family if i == 0 else None,
            zorder=3,
        )


def _limits(axes: Axes, drawn: Sequence[Course], lines: Sequence[float]) -> None:
    x = np.log10(np.concatenate([one.seconds for one in drawn]))
    y = np.log10(np.concatenate([*(one.nats for one in drawn), np.array(lines)]))
    # To the right there must be room for names.
    for values, right, limits in ((x, 0.14, axes.set_xlim), (y, 0.05, axes.set_ylim)):
        low, high = float(values.min()), float(values.max())
        span = high - low or 0.3
        limits(10 ** (low - 0.05 * span), 10 ** (high + right * span))
    mark_log(axes.xaxis)
    mark_log(axes.yaxis)
