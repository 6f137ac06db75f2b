"""README and the page of speeds show what the committed runs gave, and nothing else."""

from __future__ import annotations

import json

import pytest

from benchmarks.pages import PAGES, ROOT, generated, marked


@pytest.mark.parametrize("page", PAGES)
def test_what_is_generated_is_from_the_committed_results(page: str) -> None:
    found = marked(PAGES[page]).search((ROOT / page).read_text("utf-8"))
    assert found, f"{page} lost the marks of its block {PAGES[page]!r}"
    assert found.group() == generated(page), "python -m benchmarks.pages"


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json"))
)
def test_benchmarks_were_run_on_the_machine_that_the_page_names(name: str) -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    assert result["machine"]["hardware"] in (ROOT / "docs" / "speed.md").read_text("utf-8")
