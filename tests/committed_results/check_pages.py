"""README and docs/speed.md show what the committed runs gave, and nothing else."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.common import RESULTS
from benchmarks.pages import PAGES, ROOT, generated, marked
from genbench.config.load import load_params


@pytest.mark.parametrize("page", PAGES)
def test_the_generated_block_is_that_of_the_committed_results(page: str) -> None:
    found = marked(PAGES[page]).search((ROOT / page).read_text(encoding="utf-8"))
    assert found, f"{page} lost the marks of its block {PAGES[page]!r}"
    assert found.group() == generated(page), "python -m benchmarks.pages"


def test_the_readme_counts_the_rows_of_the_whole_table() -> None:
    board = json.loads((ROOT / "reports" / "quick" / "leaderboard.json").read_text("utf-8"))
    own = load_params("quick", root=ROOT).entries
    rows = [row for row in board["rows"] if row["entry"] in own]
    said = re.search(r"has (\d+) entries", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert said and int(said[1]) == len(rows)


@pytest.mark.parametrize("name", sorted(path.stem for path in RESULTS.glob("*.json")))
def test_benchmarks_were_run_on_the_machine_that_the_page_names(name: str) -> None:
    result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert result["machine"]["hardware"] in (ROOT / "docs" / "speed.md").read_text("utf-8")
