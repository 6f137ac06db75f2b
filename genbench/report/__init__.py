"""Tables, figures and the HTML page of a profile."""

from __future__ import annotations

from genbench.report.build import write_report
from genbench.results.schema import leaderboard_schema, validate

__all__ = ["leaderboard_schema", "validate", "write_report"]
