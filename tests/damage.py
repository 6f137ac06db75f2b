"""A project of two finished entries, of which the damaged one alone is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genbench.config.params import Params
from genbench.report.page import Material, page
from genbench.report.rows import leaderboard
from genbench.report.tables import csv_table, markdown
from genbench.results.entry import read_entries
from genbench.tracking.runs import tracked_runs
from tests.entries import finished_project

__all__ = ["JSON_FILES", "VALUES", "check_left_out", "report", "two_entries"]


JSON_FILES = (
    "likelihood.json",
    "quality.json",
    "cost.json",
    "provenance.json",
    "sampling.json",
    "pictures/pictures.json",
)


VALUES: tuple[Any, ...] = (None, True, 3, -2.5, "text", [], [1], {}, {"a": {}}, 10**400)
"""A value of every type of JSON."""


def two_entries(root: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of two finished entries, ``made`` and ``vae``."""
    params = finished_project(root, ["made", "vae"])
    monkeypatch.chdir(root)
    return params


def report(params: Params) -> tuple[set[str], dict[str, str]]:
    """The entries that the report shows whole, and the reasons for the others; writes all of it but
    the pictures.
    """
    outcomes = read_entries(params)
    board = leaderboard(params, outcomes)
    page(board, outcomes, Material({}, {}, {}, {}), set())
    csv_table(board)
    markdown(board)
    return {row["entry"] for row in board["rows"] if row["status"] == "ok"}, {
        gap["entry"]: gap["reason"] for gap in board["missing"]
    }


def check_left_out(params: Params, file: str) -> None:
    """``made`` is left out for its ``file``, and ``vae`` is not, wherever entries are read."""
    whole, missing = report(params)
    assert whole == {"vae"}
    found, skipped = tracked_runs(params)
    assert [one.entry.name for one in found] == ["vae"]
    for reasons in (missing, skipped):
        assert reasons.keys() == {"made"}
        assert Path(file).name in reasons["made"]
