"""Kind ``terms``: a chart of where the nats of a bound with many terms go."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from genbench.base import Termed
from genbench.pictures.picture import Picture
from genbench.pictures.subject import Subject, exemplars, labels_for

__all__ = ["pictures", "term_chart"]

IMAGES = 10
"""Test images that the terms are averaged over."""


def pictures(subject: Subject) -> Iterator[Picture]:
    """One, where the model's bound is a sum over steps."""
    model, x, y = subject.model, subject.x, subject.y
    if not isinstance(model, Termed):
        return
    chosen = exemplars(x, y, IMAGES)
    labels = labels_for(model, None if y is None else y[chosen], IMAGES)
    rng = subject.rng_for("terms")
    terms = model.bound_terms(x[chosen].to(model.device), labels, rng=rng)
    yield Picture(
        "terms.png",
        "terms",
        "Where the nats go",
        f"What each step of the bound costs, on average over {IMAGES} test images, and the sum up "
        "to each step.",
        term_chart(terms.cpu().numpy()),
    )


def term_chart(terms: np.ndarray) -> bytes:
    """A PNG: the nats of each step on a logarithmic scale of steps, and their running sum.

    Arguments:
        terms: float (T + 1,), of steps 1..T and then of the prior.
    """
    import matplotlib as mpl  # takes a second to import
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#d9dce0",
    }
    steps, prior = np.arange(1, len(terms)), float(terms[-1])
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        upper.plot(steps, terms[:-1], color="#2f6fde", linewidth=1.2)
        upper.set_ylabel("nats of a step")
        upper.set_yscale("log")
        lower.plot(steps, terms[:-1].cumsum(), color="#d9480f", linewidth=1.4)
        lower.set_ylabel("nats up to it")
        lower.set_xlabel("step (1: the last one when sampling)")
        lower.set_xscale("log")
        title = (
            f"{terms.sum():.0f} nats: {terms[0]:.0f} of step 1, {terms[1:-1].sum():.0f} of the "
            f"others, {prior:.2g} of the prior"
        )
        upper.set_title(title, fontsize=9)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=144, facecolor="white", metadata={"Software": None})
    return png.getvalue()
