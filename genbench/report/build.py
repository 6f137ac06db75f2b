"""The report of a profile: everything in reports/<profile>/."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genbench.data import SPECS
from genbench.files import write_bytes, write_json, write_text
from genbench.params import Params
from genbench.report.charts import Chart, Point, curves, scatter
from genbench.report.collect import Outcome, collect
from genbench.report.grids import real_grids, sample_grid
from genbench.report.page import Material, page
from genbench.report.rows import leaderboard, metric_values
from genbench.report.tables import csv_table, markdown

__all__ = ["write_report"]


def write_report(params: Params, folder: Path) -> None:
    """Write the report of a profile's entries into ``folder``, which exists and is empty. What is missing is listed, never fatal."""
    outcomes = collect(params)
    board = leaderboard(params, outcomes)
    material = _material(params, outcomes, board)
    html, spilled = page(board, outcomes, material)
    write_json(folder / "leaderboard.json", board)
    write_json(folder / "metrics.json", metric_values(board))
    write_text(folder / "leaderboard.csv", csv_table(board))
    write_text(folder / "leaderboard.md", markdown(board))
    write_text(folder / "index.html", html)
    for name, data in [*_figures(outcomes, material), *_real_figures(params, material), *spilled]:
        write_bytes(folder / "figures" / name, data)
