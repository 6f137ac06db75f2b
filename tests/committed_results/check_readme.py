"""The README shows what the committed runs gave, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from benchmarks.readme import BLOCK, block

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def between(begin: str, end: str) -> str:
    found = re.search(rf"<!-- {begin}[^>]*-->\n(.*?)<!-- {end} -->", README, re.DOTALL)
    assert found, f"the README lost its marks {begin!r} and {end!r}"
    return found.group(1).strip()


def test_the_table_is_that_of_the_committed_report() -> None:
    assert (
        between("leaderboard:", "end of leaderboard")
        == (ROOT / "reports" / "quick" / "leaderboard.md").read_text().strip()
    )


def test_the_speeds_are_those_of_the_committed_results() -> None:
    found = BLOCK.search(README)
    assert found, "the README lost its block of speeds"
    assert found.group() == block()


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json"))
)
def test_benchmarks_were_run_on_the_machine_that_the_readme_names(name: str) -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    assert result["machine"]["hardware"] in README
