"""The report's numbers against what was written: each in its own cell, the best of a column, the
summary.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

from genbench.config.layout import Layout
from genbench.files import read_json, write_json
from genbench.report.columns import COLUMNS, DIAGNOSTICS
from genbench.report.page import Material, page
from genbench.report.tables import csv_table, markdown
from genbench.results import entry as reading
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.records import Metric, Record, write_record
from genbench.scoring.sample_scores import metric_names, score
from tests.invented_results import Bench
from tests.pages import Table, leaderboard_of, summary_of

LIKELIHOOD = {
    "bits/dim": ("bits_per_dim", False),
    "nats": ("nats", False),
    "ELBO nats": ("elbo_nats", False),
    "nats given y": ("conditional_nats", False),
    "Bayes acc.": ("bayes_accuracy", True),
}
QUALITY = {
    "FID": ("fid_mnist", False),
    "IS": ("is_mnist", True),
    "precision": ("precision_mnist", True),
    "recall": ("recall_mnist", True),
    "FID unb.": ("fid_unbiased_mnist", False),
    "FID train": ("fid_train_mnist", False),
    "KID": ("kid_mnist", False),
    "KID rbf": ("kid_rbf_mnist", False),
    "density": ("density_mnist", True),
    "coverage": ("coverage_mnist", True),
    "clipped dens.": ("clipped_density_mnist", True),
    "clipped cov.": ("clipped_coverage_mnist", True),
    "JSD": ("jsd_mnist", False),
    "label fid.": ("label_fidelity", True),
    "CAS": ("cas", True),
    "min class": ("min_class_share", True),
    "FID Inc.": ("fid_inception", False),
    "IS Inc.": ("is_inception", True),
}
COLUMN = LIKELIHOOD | QUALITY
"""Head of each column -> the metric, and whether more of it is better. Written by hand: the report
must agree with it.
"""

ENTRIES: dict[str, tuple[str, dict[str, Any]]] = {
    "alpha": ("alpha", {}),
    "alpha-s1": ("alpha", {"seed": 1}),
    "alpha-wide": ("alpha", {"width": 2}),
    "beta": ("beta", {}),
    "beta-wide": ("beta", {"width": 2}),
    "delta": ("delta", {}),
    "gamma": ("gamma", {}),
    "gamma-wide": ("gamma", {"width": 2}),
    "ceiling": ("ceiling", {}),
    "floor": ("floor", {}),
    "binary": ("alpha", {"dataset": "binary_mnist"}),
}
KIND = {"alpha": "exact", "beta": "lower_bound", "delta": "estimate", "ceiling": "exact"}
CONTENDERS = [name for name in ENTRIES if name not in ("ceiling", "floor", "binary")]
UNFAIR = {"binary": 1e-4, "ceiling": 1e-3, "floor": 2e-3}
"""Entries that beat all contenders and must win nothing; on likelihoods also the estimate."""


@dataclass(frozen=True)
class Written:
    """A project with a number of its own in every cell."""

    bench: Bench
    metrics: dict[str, dict[str, Metric]]
    costs: dict[str, dict[str, float]]

    def table(self, dataset: str = "mnist") -> Table:
        return leaderboard_of(self.page(), dataset)[1]

    def page(self) -> str:
        return page(self.bench.board(), reading.read_entries(self.bench.params), Material())[0]


def _metrics(name: str, model: str) -> dict[str, Metric]:
    found = {}
    for number, (key, more) in enumerate(COLUMN.values()):
        likelihood = key in {metric for metric, _ in LIKELIHOOD.values()}
        if likelihood and model not in KIND:
            continue
        kind = KIND[model] if likelihood and key != "bayes_accuracy" else None
        order = np.random.default_rng(number).permutation(len(ENTRIES))
        value = 1.5 + 0.31 * float(order[list(ENTRIES).index(name)]) + 0.013 * number
        if name in UNFAIR or kind == "estimate":
            unfair = UNFAIR.get(name, 3e-3)
            value = 1 / unfair if more else unfair
        detail = {"reference_n": 100} if key == "fid_mnist" else {}
        found[key] = Metric(
            value,
            0.01 + 0.001 * number,
            100 if key in ("nats", "fid_mnist") else 2000 + number,
            more,
            kind,
            detail,
        )
    return found


def write(bench: Bench) -> Written:
    """Of one of everything."""
    metrics, costs = {}, {}
    for number, (name, (model, options)) in enumerate(ENTRIES.items()):
        run = bench.add(name, model, **options)
        metrics[name] = _metrics(name, model)
        keys = {metric for metric, _ in LIKELIHOOD.values()}
        for file, wanted in (("likelihood.json", True), ("quality.json", False)):
            write_record(
                run / file,
                Record(
                    name, {key: m for key, m in metrics[name].items() if (key in keys) is wanted}
                ),
            )
        costs[name] = {
            "parameters": 1000.0 + number,
            "train_seconds": 20.5 + number,
            "sample_ms_per_image": 3.25 + number,
        }
        write_json(
            run / "cost.json",
            {
                **read_json(run / "cost.json"),
                **{key: costs[name][key] for key in ("parameters", "train_seconds")},
            },
        )
        write_json(
            run / "sampling.json",
            {
                **read_json(run / "sampling.json"),
                "sample_ms_per_image": costs[name]["sample_ms_per_image"],
            },
        )
    return Written(bench, metrics, costs)


@pytest.fixture
def written(bench: Bench) -> Written:
    return write(bench)


# ---------------------------------------------------------------------- each number in its cell


def test_every_cell_of_the_page_shows_its_own_number(written: Written) -> None:
    table = written.table() | written.table("binary_mnist")
    for name, metrics in written.metrics.items():
        for head, (key, _) in COLUMN.items():
            cell = table[name][head]
            if key not in metrics:
                assert (cell.value, cell.text("val")) == (None, "")
                continue
            metric = metrics[key]
            assert cell.value == metric.value
            assert float(cell.text("val")) == pytest.approx(
                metric.value, abs=0.01 if metric.value > 0.01 else 1e-3
            )
            assert float(cell.text("err").removeprefix("±")) == pytest.approx(
                metric.stderr, rel=0.05
            )
            assert f"{metric.n:,} images" in cell.attributes["title"]
            assert (
                cell.text("mark")
                == {"exact": "=", "lower_bound": "≤", "estimate": "≈", None: ""}[metric.kind]
            )
        costs = written.costs[name]
        shown = {
            "parameters": "parameters",
            "training": "train_seconds",
            "sampling": "sample_ms_per_image",
        }
        assert {head: table[name][head].value for head in shown} == {
            head: costs[key] for head, key in shown.items()
        }


def test_csv_holds_every_number(written: Written) -> None:
    lines = {
        line["entry"]: line
        for line in csv.DictReader(io.StringIO(csv_table(written.bench.board())))
    }
    for name, metrics in written.metrics.items():
        for key, _ in COLUMN.values():
            cells = [lines[name][f"{key}{suffix}"] for suffix in ("", "_stderr", "_n")]
            metric = metrics.get(key)
            assert [float(cell) if cell else None for cell in cells] == (
                [metric.value, metric.stderr, metric.n] if metric else [None] * 3
            )
        assert {key: float(lines[name][key]) for key in written.costs[name]} == written.costs[name]


def test_markdown_has_each_number_below_its_head(written: Written) -> None:
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in markdown(written.bench.board()).splitlines()
        if line[:1] == "|"
    ]
    heads = {"bits/dim": "bits_per_dim", "nats": "nats", "FID": "fid_mnist", "IS": "is_mnist"}
    entries = [dict(zip(rows[0], cells, strict=True)) for cells in rows if cells[0].startswith("`")]
    found = {cells["entry"].split("`")[1]: cells for cells in entries}
    assert found.keys() == {*ENTRIES, "alpha*"}
    for name, metrics in written.metrics.items():
        shown = {head: found[name][head] for head in heads} | dict(
            zip(
                ("precision", "recall"), found[name]["precision / recall"].split(" / "), strict=True
            )
        )
        for head, text in shown.items():
            key = COLUMN[head][0]
            if key not in metrics:
                assert text == ""
                continue
            value, _, error = text.lstrip("≤≈ ").partition(" ± ")
            assert float(value) == pytest.approx(
                metrics[key].value, abs=0.01 if metrics[key].value > 0.01 else 1e-3
            )
            assert error.endswith(" SE")
            assert float(error[:-3]) == pytest.approx(metrics[key].stderr, rel=0.05)
            mark = {"lower_bound": "≤ ", "estimate": "≈ "}.get(metrics[key].kind or "", "")
            assert text.startswith(mark) and text.removeprefix(mark)[0].isdigit()


# ---------------------------------------------------------------------- the best of a column


def best_of(written: Written, key: str, more: bool) -> set[str]:
    """By hand: the best one by its own, and what is not separated from it; seeds by their mean."""
    own = {n: written.metrics[n][key] for n in CONTENDERS if key in written.metrics[n]}
    numbers = {name: (metric.value, metric.stderr or 0.0) for name, metric in own.items()}
    seeds = [numbers.pop(name)[0] for name in ("alpha", "alpha-s1") if name in numbers]
    if seeds:
        numbers = {"alpha*": (sum(seeds) / 2, abs(seeds[0] - seeds[1]) / 2)} | numbers
    best = (max if more else min)(numbers, key=lambda name: numbers[name][0])
    p = sorted(
        (2 * norm.sf(abs(v - numbers[best][0]) / math.hypot(e, numbers[best][1])), name)
        for name, (v, e) in numbers.items()
        if name != best
    )
    for place, (value, _) in enumerate(p):
        if value * (len(p) - place) >= 0.05:
            beside = {name for _, name in p[place:]}
            return {best, *beside} if len(beside) < len(p) else set()
    return {best}


def test_the_best_of_each_column_is_marked_and_no_other(written: Written) -> None:
    """Nothing tells of the likelihoods here, which have no files of nats."""
    table, winners = written.table(), {}
    for head, (key, more) in COLUMN.items():
        told = head in LIKELIHOOD and head != "Bayes acc."
        winners[head] = set() if told else best_of(written, key, more)
        assert {name for name, cells in table.items() if cells[head].best} == winners[head], head
    # Places are dealt: neither the first row nor the last one always wins.
    assert len({frozenset(names) for names in winners.values()}) > 3
    assert max(len(names) for names in winners.values()) > 1


def test_heads_say_and_sort_by_the_direction(written: Written) -> None:
    heads, _ = leaderboard_of(written.page(), "mnist")
    for head, (_, more) in COLUMN.items():
        assert heads[head].attributes["data-first"] == ("descending" if more else "ascending")
        assert heads[head].titles[0].endswith(", higher is better" if more else ", lower is better")
    assert {column.key: column.higher_is_better for column in COLUMNS} == dict(COLUMN.values())


def test_directions_are_those_that_the_metrics_record() -> None:
    g = torch.Generator().manual_seed(0)
    sets = [
        FeatureSet(
            "mnist",
            torch.randn(40, 4, generator=g),
            torch.randn(40, 10, generator=g),
            torch.arange(40) % 10,
            torch.randint(0, 256, (40, 1, 8, 8), generator=g).byte(),
        )
        for _ in range(3)
    ]
    made, real, training = sets
    found, withheld = score(metric_names(), made, replace(real, training=training), seed=0)
    assert withheld == {}
    expected = {key: more for key, more in QUALITY.values() if not key.endswith("_inception")}
    expected |= {column.key: None for column in DIAGNOSTICS if column.key.startswith("vendi")}
    assert {key: metric.higher_is_better for key, metric in found.items()} == expected


def test_what_is_not_separated_wins_together_and_of_seeds_their_mean(bench: Bench) -> None:
    for name, seed, fid in (("alpha", 0, 1.9), ("alpha-s1", 1, 2.1)):
        bench.add(name, "alpha", bits=1.0, fid=fid, fid_error=0.1, seed=seed)
    bench.add("beta", "beta", bits=1.1, fid=2.0, fid_error=0.1)
    bench.add("gamma", "gamma", fid=4.0, fid_error=0.1)
    text = page(bench.board(), reading.read_entries(bench.params), Material())[0]
    _, table = leaderboard_of(text, "mnist")
    assert table["alpha*"]["FID"].value == 2.0
    assert {name for name, cells in table.items() if cells["FID"].best} == {
        "alpha*",
        "beta",
    }
    # No file of nats, so nothing tells.
    assert not any(cells["bits/dim"].best for cells in table.values())
    # Where all are equal there is no best.
    assert not any(cells["IS"].best for cells in table.values())


# ---------------------------------------------------------------------- the summary

UNTOLD = " (not shown to be separated)"


def competition(bench: Bench) -> Bench:
    """Of neither highlight the winner stands first or last among the contenders."""
    bench.add("a1", "alpha", bits=1.5, fid=9.0, x=1)
    bench.add("a2", "alpha", bits=1.2, fid=8.0, x=2)
    bench.add("b1", "beta", bits=1.1, fid=7.0, x=1)
    bench.add("b2", "beta", bits=1.3, fid=6.0, x=2)
    bench.add("d", "delta", bits=0.9, fid=3.5)
    bench.add("g", "gamma", fid=5.0)
    bench.add("ceiling", "ceiling", bits=0.5, fid=300.0)
    bench.add("floor", "floor", fid=0.3)
    bench.add("other", "alpha", bits=0.2, fid=0.1, dataset="binary_mnist")
    return bench


def summary(bench: Bench) -> dict[str, dict[str, tuple[str, str]]]:
    return summary_of(page(bench.board(), reading.read_entries(bench.params), Material())[0])


def test_the_summary_names_the_best_of_each_data_set(bench: Bench) -> None:
    found = summary(competition(bench))
    assert [r["entry"] for r in bench.board()["rows"]] == [
        "a2",
        "a1",
        "b1",
        "b2",
        "d",
        "g",
        "ceiling",
        "floor",
        "other",
    ]
    # Not the estimate's, not the control's.
    assert found["mnist"]["Lowest bits/dim"] == ("≤ 1.100", f"b1{UNTOLD}")
    # An estimate of its likelihood says nothing against its samples.
    assert found["mnist"]["Lowest FID"] == ("3.500", f"d{UNTOLD}")
    assert found["binary_mnist"] == {
        "Complete": ("1 of 1", "entries"),
        "Lowest bits/dim": ("0.2000", "other"),
        "Lowest FID": ("0.1000", "other"),
    }


def test_the_summary_leaves_out_what_is_withheld(bench: Bench) -> None:
    path = Layout.of(competition(bench).params).run_dir("b1").likelihood
    write_record(
        path,
        Record("b1", {}, {"bits_per_dim": "it did not converge", "nats": "it did not converge"}),
    )
    assert summary(bench)["mnist"]["Lowest bits/dim"] == ("1.200", f"a2{UNTOLD}")


def test_estimates_and_controls_alone_are_no_best(bench: Bench) -> None:
    bench.add("d", "delta", bits=0.9, fid=4.0)
    bench.add("ceiling", "ceiling", bits=0.5)
    assert summary(bench)["mnist"] == {
        "Complete": ("2 of 2", "entries"),
        "Lowest FID": ("4.000", "d"),
    }


def test_the_summary_counts_what_is_complete(bench: Bench) -> None:
    competition(bench)
    Layout.of(bench.params).run_dir("a1").quality.unlink()  # a row, and missing
    bench.declare("gone", "gamma", x=3)  # missing alone
    bench.add("a2-s1", "alpha", bits=1.2, x=2, seed=1)  # and the mean of both is no entry
    counts = {name: facts["Complete"][0] for name, facts in summary(bench).items()}
    assert counts == {"mnist": "8 of 10", "binary_mnist": "1 of 1"}
