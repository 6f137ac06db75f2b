"""Published numbers beside ours: by reading literature.yaml once more, and by what the page shows
of it.
"""

from __future__ import annotations

import html
import json
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import yaml

from genbench.config.layout import Layout
from genbench.registry import model_class, model_names
from genbench.report.page import Material, page
from genbench.report.published import best_of_family, literature, merged, published
from genbench.report.text import MARKS
from genbench.results import entry as reading
from genbench.results.schema import validate
from tests.invented_results import Bench
from tests.pages import leaderboard_of, section_of, tables_of

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


def test_published_results_stand_beside_the_models_of_their_family() -> None:
    """Both write a family's name alike; ``circuit`` has no model here. That each family has results
    is looked at by `make check-results`.
    """
    ours = {model_class(name).family for name in model_names()}
    blocks = ("mnist", "binary_mnist", "fid")
    listed = {row["family"] for block in blocks for row in literature()[block]["rows"]}
    assert listed <= ours | {"circuit"}


def test_literature_is_whole() -> None:
    cited = {
        r["cite"] for block in ("mnist", "binary_mnist", "fid") for r in literature()[block]["rows"]
    }
    assert cited == set(literature()["citations"])
    for block in ("mnist", "binary_mnist"):
        assert {line.kind for line in published(block).lines} <= {
            "exact",
            "lower_bound",
            "estimate",
        }
    values = {(line.model, line.value): line for line in published("binary_mnist").lines}
    assert values["PixelCNN (original)", 81.3].kind == "exact"
    assert values["DRAW (with attention)", 80.97].kind == "lower_bound"
    assert values["IWAE k=50, static", 87.1].kind == "lower_bound"
    assert values["RBM CD-25, 500 hidden (AIS)", 86.34].kind == "estimate"
    assert values["DBN 2hl", 84.55].kind == "estimate"
    assert (
        next(line for line in published("mnist").lines if line.model == "Residual Flow").kind
        == "lower_bound"
    )


def test_our_rows_stand_at_their_place(full_report: Bench) -> None:
    board = json.loads(Layout.of(full_report.params).report.leaderboard.read_text())
    validate(board)
    rows = [r for r in board["rows"] if r["dataset"] == "mnist" and not r["control"]]
    selection, whole = merged(published("mnist"), rows)
    for lines in (selection, whole):
        values = [line.value for line in lines if line.comparable]
        assert values == sorted(values)
        assert {line.entry for line in lines if line.entry} == {
            r["entry"] for r in rows if "bits_per_dim" in r["metrics"]
        }
    assert len(selection) <= 25 + 5
    assert len(whole) == len(published("mnist").lines) + 5
    assert [line.model for line in whole if not line.comparable] == ["Bit-Swap"]


def test_unconfirmed_numbers_are_marked(full_report: Bench) -> None:
    section = full_report.page().split('id="published"')[1].split("</section>")[0]
    tables = section.split("<details>")
    unconfirmed = [line for line in published("mnist").lines if line.unconfirmed]
    assert unconfirmed
    whole = next(part for part in tables if "All published results for mnist" in part)
    for line in unconfirmed:
        body = next(
            part
            for part in whole.split("<tr")
            if html.escape(line.model, quote=False) in html.unescape(part)
        )
        assert "(from memory, unconfirmed)" in body
    assert "compare with the column FID" in section
    assert 'href="https://arxiv.org/abs/2006.16236"' in section
