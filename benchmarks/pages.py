"""The tables of README.md, docs/speed.md and docs/metrics.md, from the committed report and the
committed benchmarks; ``python -m benchmarks.pages`` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.metrics_page import sanity
from benchmarks.speed_page import speed, table
from genbench.files import read_json, write_bytes
from genbench.report.rows import without_seeds
from genbench.report.text import MARKS, number, plus_minus, spread

__all__ = ["PAGES", "ROOT", "generated", "leaders", "marked"]

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "leaders", "docs/speed.md": "speed", "docs/metrics.md": "sanity"}
"""Pages with a generated block, and the block's name."""


def marked(name: str) -> re.Pattern[str]:
    """Finds what stands between the marks of a block."""
    begin, end = f"<!-- {name}: by benchmarks/pages.py -->\n", f"<!-- end of {name} -->"
    return re.compile(rf"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)


def generated(page: str) -> str:
    """What stands between the marks of a page of :data:`PAGES`."""
    return {"leaders": leaders, "speed": speed, "sanity": sanity}[PAGES[page]]()


def leaders() -> str:
    """For each data set and family, the entries of ``quick`` with the best likelihood and FID."""
    board = read_json(ROOT / "reports" / "quick" / "leaderboard.json")
    lines: list[str] = []
    for dataset in dict.fromkeys(row["dataset"] for row in board["rows"]):
        # Of seeds their mean: the best of several is luck.
        rows = without_seeds([row for row in board["rows"] if row["dataset"] == dataset])
        header = [f"{dataset}: family", "best likelihood", "bits/dim", "best samples", "FID"]
        kinds = dict.fromkeys(row["family"] for row in rows if not row["control"])
        shown = [_leaders_of([row for row in rows if row["family"] == kind]) for kind in kinds]
        controls = [_leaders_of([row]) for row in rows if row["control"]]
        lines += table(header, [*shown, *controls])[1:]
    return "\n".join(lines)


def _leaders_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line of the table: a family's name, and who leads it."""
    family = (
        "*control*" if rows[0]["control"] else f"[{rows[0]['family']}](docs/{rows[0]['family']}.md)"
    )
    return [family, *_leader(rows, "bits_per_dim"), *_leader(rows, "fid_mnist")]


def _leader(rows: Sequence[Mapping[str, Any]], metric: str) -> list[str]:
    """The entry with the lowest value of a metric, and that value with what it means."""
    scored = [row for row in rows if metric in row["metrics"]]
    if not scored:
        return [
            "",
            "withheld" if any(metric in row["withheld"] for row in rows) else "no likelihood",
        ]
    best = min(scored, key=lambda row: row["metrics"][metric]["value"])
    value = best["metrics"][metric]
    if metric == "bits_per_dim":
        mark, (error, kind) = MARKS[value["kind"]].replace("=", ""), spread(value)
        named = " SD" if kind == "SD" else ""
        return [
            f"`{best['entry']}`",
            f"{mark} {plus_minus(value['value'], error)}{named}".strip(),
        ]
    cheaper = " †" if best["matches_likelihood"] is False else ""
    return [f"`{best['entry']}`{cheaper}", number(value["value"], 3)]


if __name__ == "__main__":
    for page, name in PAGES.items():
        block = generated(page)
        path = ROOT / page
        before = path.read_text("utf-8")
        if len(marked(name).findall(before)) != 1:
            raise SystemExit(f"{path}: the marks of the block {name!r} are not there")
        start, end = marked(name).search(before).span()  # type: ignore[union-attr]
        write_bytes(path, (before[:start] + block + before[end:]).encode())
