"""Published numbers beside ours: by reading literature.yaml once more, and by what the page shows
of it.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from genbench.report.page import Material, page
from genbench.report.published import best_of_family, merged, published
from genbench.report.text import MARKS
from genbench.results import entry as reading
from tests.pages import leaderboard_of, section_of, tables_of
from tests.test_report import Bench, fake_class

LITERATURE: dict[str, Any] = yaml.safe_load(
    files("genbench.report").joinpath("literature.yaml").read_text("utf-8")
)
SIGNS = {
    "exact": "=",
    "upper_bound": "≤",
    "is_estimate": "≤",
    "dequantized_bound": "≤",
    "ais_estimate": "≈",
    "lower_bound_approx": "≈",
}
"""How a published negative log-likelihood relates to the true one."""
DATASETS = ("mnist", "binary_mnist")


def confirmed(dataset: str, family: str) -> dict[str, Any] | None:
    """The lowest number of a family that somebody looked up, per 784 pixels."""
    rows = [
        line
        for line in LITERATURE[dataset]["rows"]
        if line["family"] == family
        and line["status"] in ("primary", "secondary")
        and line.get("dims", 784) == 784
    ]
    return min(rows, key=lambda line: (line["value"], line["model"]), default=None)


def families(dataset: str) -> list[str]:
    return sorted({line["family"] for line in LITERATURE[dataset]["rows"]})


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(reading, "model_class", fake_class)
    return Bench(tmp_path)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_selection_holds_the_best_and_the_worst_of_each_family_and_lines_evenly_between(
    dataset: str,
) -> None:
    block = published(dataset)
    assert block is not None
    selection, whole = merged(block, [])
    assert len(selection) < len(whole) == len(LITERATURE[dataset]["rows"])
    for family in {line.family for line in block.lines if line.comparable}:
        all_of_it = [line for line in whole if line.family == family and line.comparable]
        places = [all_of_it.index(line) for line in selection if line.family == family]
        assert places[0] == 0, family
        if len(places) > 1:
            assert places[-1] == len(all_of_it) - 1, family
        gaps = np.diff(places)
        assert gaps.size == 0 or gaps.max() - gaps.min() <= 1, family


def test_there_are_numbers_that_must_not_count() -> None:
    """Without both filters other numbers would be the best of a family; or the next test would say
    nothing.
    """
    lowest = {
        f: min(line["value"] for line in LITERATURE["mnist"]["rows"] if line["family"] == f)
        for f in families("mnist")
    }
    assert lowest["diffusion"] < confirmed("mnist", "diffusion")["value"]  # type: ignore[index]
    assert lowest["variational"] < confirmed("mnist", "variational")["value"]  # type: ignore[index]
    binary = {
        f: min(line["value"] for line in LITERATURE["binary_mnist"]["rows"] if line["family"] == f)
        for f in families("binary_mnist")
    }
    assert binary["energy"] < confirmed("binary_mnist", "energy")["value"]  # type: ignore[index]


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_best_of_a_family_is_the_lowest_confirmed_number(dataset: str) -> None:
    for family in [*families(dataset), "control", "no such family"]:
        found, expected = best_of_family(dataset, family), confirmed(dataset, family)
        if expected is None:
            assert found is None
            continue
        assert found is not None
        assert (found.value, found.family, found.comparable, found.unconfirmed) == (
            expected["value"],
            family,
            True,
            False,
        )
        assert found.model == expected["model"]
        assert found.title == LITERATURE["citations"][expected["cite"]]["title"]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_line_is_the_files_with_its_sign(dataset: str) -> None:
    block = published(dataset)
    assert block is not None
    found = sorted(
        (line.model, line.value, line.unconfirmed, MARKS[line.kind or ""]) for line in block.lines
    )
    assert found == sorted(
        (line["model"], line["value"], line["status"] == "unconfirmed", SIGNS[line["bound"]])
        for line in LITERATURE[dataset]["rows"]
    )


def test_the_leaderboard_shows_each_familys_best_beside_its_entries(bench: Bench) -> None:
    for name in ("alpha", "beta", "delta", "gamma", "ceiling", "floor"):
        bench.add(name, name, bits=1.0)
        bench.add(f"binary-{name}", name, bits=0.2, dataset="binary_mnist")
    text = page(bench.board(), reading.read_entries(bench.params), Material())[0]
    family = {
        "alpha": "autoregressive",
        "beta": "variational",
        "delta": "energy",
        "gamma": "adversarial",
        "ceiling": "control",
        "floor": "control",
    }
    for dataset, prefix in (("mnist", ""), ("binary_mnist", "binary-")):
        _, table = leaderboard_of(text, dataset)
        for name, of in family.items():
            cell, expected = table[prefix + name]["published"], confirmed(dataset, of)
            assert cell.value == (None if expected is None else expected["value"])
            if expected is not None:
                assert (cell.text("a"), cell.text("mark")) == (
                    str(expected["value"]),
                    SIGNS[expected["bound"]],
                )
                assert cell.attributes["title"].startswith(f"{expected['model']}: ")


def test_of_ours_one_line_per_group_of_seeds_stands_among_the_published(bench: Bench) -> None:
    bits = (1.0, 1.3, 1.4)
    for seed, value in enumerate(bits):
        bench.add(f"alpha-s{seed}", "alpha", bits=value, seed=seed)
    bench.add("beta", "beta", bits=1.123)
    bench.add("gamma", "gamma")
    bench.add("ceiling", "ceiling", bits=1.2)
    text = page(bench.board(), reading.read_entries(bench.params), Material())[0]
    for table in tables_of(section_of(text, "published"))[:2]:  # a selection, and everything
        _, *rows = table
        ours = [
            (row[1].text("entry"), row[0].text("val"), row[0].text("mark"))
            for row in rows
            if row[1].text("entry")
        ]
        assert [name for name, _, _ in ours] == ["beta", "alpha-s0*"]
        assert [mark for _, _, mark in ours] == ["≤", "="]
        assert ours[0][1] == "1.123 ± 0.010"
        mean, _, spread = ours[1][1].partition(" ± ")
        assert float(mean) == pytest.approx(np.mean(bits), abs=0.005)
        assert float(spread) == pytest.approx(np.std(bits, ddof=1), rel=0.05)
        values = [
            float(row[0].text("val").split(" ± ")[0])
            for row in rows
            if "not comparable" not in row[1].text("tag")
        ]
        assert values == sorted(values)
