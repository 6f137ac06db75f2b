"""A chart of where the nats of a bound with many terms go."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

__all__ = ["term_chart"]


def term_chart(terms: np.ndarray) -> bytes:
    """A PNG: the nats of each step on a logarithmic scale of steps, and their running sum.

    Arguments:
        terms: float (T + 1,), of steps 1..T and then of the prior.
    """
    steps, prior = np.arange(1, len(terms)), float(terms[-1])
    with mpl.rc_context(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#d9dce0",
        }
    ):
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        upper.plot(steps, terms[:-1], color="#2f6fde", linewidth=1.2)
        upper.set_ylabel("nats of a step")
        upper.set_yscale("log")
        lower.plot(steps, terms[:-1].cumsum(), color="#d9480f", linewidth=1.4)
        lower.set_ylabel("nats up to it")
        lower.set_xlabel("step (1: the last one when sampling)")
        lower.set_xscale("log")
        upper.set_title(
            (
                f"{terms.sum():.0f} nats: {terms[0]:.0f} of step 1, {terms[1:-1].sum():.0f} of the "
                f"others, {prior:.2g} of the prior"
            ),
            fontsize=9,
        )
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=144, facecolor="white", metadata={"Software": None})
    return png.getvalue()
