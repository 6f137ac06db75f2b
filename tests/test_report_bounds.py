"""What the report says of likelihoods beside their numbers: floors of schedules, and rows above
independent pixels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genbench.config.load import load_params
from genbench.config.params import Entry
from genbench.registry import model_class
from genbench.report.bounds import floor_of, remark, stands_above
from genbench.report.page import Material, page
from genbench.report.tables import markdown
from genbench.results import entry as reading
from tests.invented_results import Bench
from tests.pages import section_of

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"widths": [16], "blocks": 1}


def floor(model: str, dataset: str = "mnist", **arch: Any) -> float | None:
    entry = Entry("one", model, dataset, 0, arch, {}, {}, {})
    results: Any = SimpleNamespace(entry=entry, model=model_class(model))
    return floor_of(results)


@pytest.mark.parametrize(
    ("model", "arch", "bits"),
    [
        ("ddpm", {}, 0.90),
        ("ddpm", {"variance": "posterior"}, 0.54),
        ("ddpm", {"variance": "learned"}, None),
        ("ddpm_vlb", {}, 0.015),
        ("made", {"hidden": [8]}, None),
    ],
)
def test_the_floor_of_a_row_is_that_of_its_models_schedule(
    model: str, arch: dict[str, Any], bits: float | None
) -> None:
    found = floor(model, **arch if model == "made" else {**SMALL, **arch})
    assert found == (None if bits is None else pytest.approx(bits, rel=0.03))


def test_the_floor_is_of_grey_levels() -> None:
    assert floor("ddpm", "binary_mnist", **SMALL) is None


def test_an_entry_of_quick_has_the_floor_of_its_own_options() -> None:
    entry = load_params("quick", root=ROOT).entry("ddpm")
    more = replace(entry, arch={**entry.arch, "timesteps": 500})
    cls = model_class("ddpm")
    found: list[Any] = [SimpleNamespace(entry=one, model=cls) for one in (entry, more)]
    assert floor_of(found[0]) == pytest.approx(0.90, abs=0.005)
    assert floor_of(found[1]) != floor_of(found[0])


# ---------------------------------------------------------------------- what is said


def row(entry: str, kind: str, bits: float | None = None, **more: Any) -> dict[str, Any]:
    metrics = {} if bits is None else {"bits_per_dim": {"value": bits, "kind": kind}}
    own = {"control": False, "floor_bits_per_dim": None, **more}
    return {"entry": entry, "likelihood_kind": kind, "metrics": metrics, **own}


ROWS = [
    row("copy", "none", control=True),
    row("marginals", "exact", 1.69, control=True),
    row("below", "exact", 1.1),
    row("above", "exact", 1.8),
    row("bound", "lower_bound", 4.1),
    row("floored", "lower_bound", 2.8, floor_bits_per_dim=0.9023),
    row("low", "lower_bound", 0.9, floor_bits_per_dim=0.0148),
    row("gan", "none"),
]


def test_what_stands_above_independent_pixels_is_not_called_worthless() -> None:
    said = {one["entry"]: remark(one, ROWS) for one in ROWS}
    assert [name for name, text in said.items() if not text] == [
        "copy",
        "marginals",
        "below",
        "gan",
    ]
    assert said["above"] == "Above marginals: how pixels go together is not yet learned."
    assert said["bound"] == (
        "Its bound is not there yet: it stands above marginals. That says nothing of its samples. "
        "What exceeds the images' own entropy is not yet learned."
    )
    assert said["floored"].startswith("Its bound is not there yet: it stands above marginals.")
    assert "0.90 bits/dim of its bound are the schedule's" in said["floored"]
    assert said["low"].startswith("0.015 bits/dim of its bound are the schedule's")
    assert [stands_above(one, ROWS) for one in ROWS[2:5]] == ["", "marginals", "marginals"]
    assert stands_above(ROWS[4], ROWS[2:]) == "", "there is no control"


def test_page_and_markdown_say_it_of_the_row(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.add("beta", "beta", bits=1.9)
    bench.add("ceiling", "ceiling", bits=1.7)
    board = bench.board()
    assert {one["floor_bits_per_dim"] for one in board["rows"]} == {None}
    text = remark(board["rows"][1], board["rows"])
    assert text.startswith("Its bound is not there yet: it stands above ceiling.")
    html = page(board, reading.read_entries(bench.params), Material())[0]
    notes = section_of(html, "board-mnist").split('<ol class="notes">')[1]
    assert f"<li>{text.replace(chr(39), '&#39;')}</li>" in notes
    said = markdown(board)
    assert f"‡ `beta`: {text}" in said
    assert said.count("‡") == 2, "the row, and what it means"
