"""Figures of the report, kept instead of drawn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from genbench.report.chart import Chart

__all__ = ["Figures", "keep_figures"]

Figures = dict[str, Figure]


def keep_figures(monkeypatch: pytest.MonkeyPatch, *modules: str) -> Figures:
    """The figures of charts of ``genbench.report.<module>`` by their label, as they come. The
    charts themselves hold nothing else.
    """
    drawn: Figures = {}

    def keep(draw: Callable[[], Figure], label: str) -> Chart:
        drawn[label] = draw()
        return Chart(label.encode(), f"<svg>{label}</svg>")

    for module in modules:
        monkeypatch.setattr(f"genbench.report.{module}.chart", keep)
    return drawn
