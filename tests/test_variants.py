"""The report's comparison of entries of one model, and its table of diagnostics, on invented
records.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from genbench.config.layout import Layout
from genbench.report.columns import columns, diagnostics
from genbench.report.variants import inside, variants
from genbench.scoring.records import Metric, read_record, write_record
from tests.invented_results import Bench


@pytest.fixture
def bench(bench: Bench) -> Bench:
    bench.add("one", "beta", bits=1.4, fid=7.0, size=8, joint=True)
    bench.add("two", "beta", bits=1.2, fid=4.0, size=8, joint=False)
    bench.add("two-s1", "beta", bits=1.3, fid=5.0, size=8, joint=False, seed=1)
    bench.add("alpha", "alpha", bits=1.1)
    bench.add("floor", "floor", fid=0.5)
    bench.add("floor_again", "floor", fid=0.6, size=1)
    for name, rate in (("one", 120.25), ("two", 100.0)):
        path = Layout.of(bench.params).run_dir(name).likelihood
        record = read_record(path)
        write_record(
            path,
            replace(record, metrics={**record.metrics, "rate_nats": Metric(rate, None, 100, None)}),
        )
    return bench


def test_entries_of_one_model_stand_side_by_side_with_what_differs(bench: Bench) -> None:
    (found,) = variants(bench.board()["rows"], bench.entries)
    assert found.model == "beta"
    assert [(row.entry, row.options) for row in found.rows] == [
        ("one", ("joint: true",)),
        ("two", ("joint: false",)),
    ]
    keys = [column.key for column in found.columns]
    assert keys == ["bits_per_dim", "fid_mnist", "parameters", "train_seconds", "rate_nats"]
    assert [[cell.value for cell in row.cells] for row in found.rows] == [
        [1.4, 7.0, 1234, 12.5, 120.25],
        [1.2, 4.0, 1234, 12.5, 100.0],
    ]
    assert [[cell.best for cell in row.cells] for row in found.rows] == [
        [False] * 5,
        [False] * 5,
    ], "of two numbers without an error neither is called better"


def test_a_setting_that_one_entry_leaves_out_is_shown_where_it_is_given(bench: Bench) -> None:
    rows = [row for row in bench.board()["rows"] if row["seed"] == 0]
    changed = replace(bench.entries["two"], arch={"size": 8}, train={"steps": 20})
    (found,) = variants(rows, {**bench.entries, "two": changed})
    assert [row.options for row in found.rows] == [("joint: true", "steps: 10"), ("steps: 20",)]


def test_entries_that_differ_in_sampling_or_optimisation_alone_are_variants_too(
    bench: Bench,
) -> None:
    rows = [row for row in bench.board()["rows"] if row["seed"] == 0]
    blocks = {
        name: replace(
            bench.entries[name],
            arch={"size": 8},
            train={"optim": {"loss": {"lr": 0.1}}, "validations": 1 + (name == "two")},
        )
        for name in ("one", "two")
    }
    blocks["one"] = replace(blocks["one"], sample={"steps": 20})
    (found,) = variants(rows, {**bench.entries, **blocks})
    assert [row.options for row in found.rows] == [("sample.steps: 20",), ()]
    blocks["two"] = replace(
        blocks["two"], train={"optim": {"loss": {"lr": 0.2}, "prior": {"lr": 0.3}}}
    )
    (found,) = variants(rows, {**bench.entries, **blocks})
    assert [row.options for row in found.rows] == [
        ("optim.loss.lr: 0.1", "sample.steps: 20"),
        ("optim.loss.lr: 0.2",),
    ]


def test_entries_that_differ_in_scoring_alone_are_variants_too(bench: Bench) -> None:
    rows = [row for row in bench.board()["rows"] if row["seed"] == 0]
    blocks = {
        name: replace(bench.entries["one"], name=name, score={"draws": draws})
        for name, draws in (("one", 8), ("two", 64))
    }
    (found,) = variants(rows, {**bench.entries, **blocks})
    assert [row.options for row in found.rows] == [("score.draws: 8",), ("score.draws: 64",)]


def test_what_is_withheld_says_why(bench: Bench) -> None:
    path = Layout.of(bench.params).run_dir("one").likelihood
    record = read_record(path)
    kept = {name: metric for name, metric in record.metrics.items() if name != "bits_per_dim"}
    write_record(
        path, replace(record, metrics=kept, withheld={"bits_per_dim": "it did not converge"})
    )
    (found,) = variants(bench.board()["rows"], bench.entries)
    cell = found.rows[0].cells[0]
    assert (cell.text, cell.title, cell.notes) == ("withheld", "it did not converge", ())


def test_seeds_and_controls_are_no_variants(bench: Bench) -> None:
    del bench.entries["one"]
    assert variants(bench.board()["rows"], bench.entries) == []


def test_diagnostics_have_a_table_of_their_own(bench: Bench) -> None:
    rows = bench.board()["rows"]
    assert "rate_nats" not in [column.key for column in columns(rows)]
    assert [column.key for column in diagnostics(rows)] == ["rate_nats"]
    found = inside(rows)
    assert found is not None
    assert {row.entry: row.cells[0].value for row in found.rows} == {"one": 120.25, "two": 100.0}
    # What is whole is a count.
    assert {row.entry: row.cells[0].text for row in found.rows} == {"one": "120.2", "two": "100"}
    assert not any(cell.best for row in found.rows for cell in row.cells)
    assert inside([row for row in rows if row["entry"] == "alpha"]) is None


def test_the_page_has_both(bench: Bench) -> None:
    bench.data("mnist")
    bench.write()
    text = bench.page()
    assert '<section id="variants">' in text
    assert "<code>joint: true</code>" in text
    assert "What happens inside" in text
    for name in ("one", "two", "two-s1"):
        del bench.entries[name]
    bench.write()
    assert '"#variants"' not in bench.page()
