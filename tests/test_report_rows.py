"""Rows of the leaderboard against values worked out beside it: means over seeds, what makes a group
of them, the hash of scores.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from genbench.files import read_json, write_bytes, write_json
from genbench.report.page import Material, page
from genbench.report.tables import csv_table, markdown
from genbench.results import entry as reading
from genbench.scoring.records import Metric, read_record, write_record
from tests.invented_results import Bench, row
from tests.pages import leaderboard_of, section_of, tables_of
from tests.params_factory import protocol
from tests.toys import weights_of

# ---------------------------------------------------------------------- means over seeds


def test_a_mean_over_seeds_is_numpys(bench: Bench) -> None:
    rng, seeds = np.random.default_rng(0), (0, 3, 7, 8)
    bits, fids, seconds = rng.uniform(1, 2, 4), rng.uniform(5, 9, 4), rng.uniform(10, 90, 4)
    for seed, bit, fid, second in zip(
        seeds, bits.tolist(), fids.tolist(), seconds.tolist(), strict=True
    ):
        run = bench.add(f"alpha-s{seed}", "alpha", bits=bit, fid=fid, seed=seed)
        write_json(run / "cost.json", {**read_json(run / "cost.json"), "train_seconds": second})
        record = read_record(run / "likelihood.json")
        metrics = record.metrics | {
            "bits_per_dim": replace(record.metrics["bits_per_dim"], n=100 + seed)
        }
        write_record(run / "likelihood.json", replace(record, metrics=metrics))
    mean = row(bench.board(), "alpha-s0*")
    for key, values in (("bits_per_dim", bits), ("fid_mnist", fids)):
        metric = mean["metrics"][key]
        assert metric["value"] == pytest.approx(np.mean(values), rel=1e-12)
        assert metric["detail"]["sd"] == pytest.approx(np.std(values, ddof=1), rel=1e-12)
        assert metric["stderr"] == pytest.approx(np.std(values, ddof=1) / 2, rel=1e-12)
        assert metric["detail"]["entries"] == [f"alpha-s{seed}" for seed in seeds]
        assert metric["detail"]["seeds"] == 4
    assert (mean["metrics"]["bits_per_dim"]["n"], mean["metrics"]["bits_per_dim"]["kind"]) == (
        100,
        "exact",
    )
    assert mean["metrics"]["is_mnist"]["higher_is_better"] is True
    assert mean["cost"]["train_seconds"] == pytest.approx(np.mean(seconds), rel=1e-12)
    cell = leaderboard_of(
        page(bench.board(), reading.read_entries(bench.params), Material())[0], "mnist"
    )[1]["alpha-s0*"]["bits/dim"]
    # Not the error of the mean.
    assert float(cell.text("err").removeprefix("±")) == pytest.approx(
        np.std(bits, ddof=1), rel=0.05
    )


def test_markdown_shows_the_deviation_between_seeds(bench: Bench) -> None:
    """As the page does: not the error of the mean, which four seeds make half as large."""
    bits = [1.10, 1.30, 1.15, 1.45]
    for seed, bit in enumerate(bits):
        bench.add(f"alpha-s{seed}", "alpha", bits=bit, seed=seed)
    (line,) = (
        line for line in markdown(bench.board()).splitlines() if line.startswith("| `alpha-s0*`")
    )
    value, _, deviation = line.split("|")[3].strip().partition(" ± ")
    assert float(value) == pytest.approx(np.mean(bits), abs=0.01)
    assert deviation.endswith(" SD")
    assert float(deviation.removesuffix(" SD")) == pytest.approx(np.std(bits, ddof=1), rel=0.05)


def test_both_errors_are_named_where_both_stand_in_one_column(bench: Bench) -> None:
    """That of one training over images, and the deviation between seeds; where there are no seeds,
    nothing needs a name.
    """
    bench.add("beta", "beta", bits=1.25)
    for alone in (True, False):
        board = bench.board()
        html = page(board, reading.read_entries(bench.params), Material())[0]
        table = leaderboard_of(html, "mnist")[1]
        named = {name: row["bits/dim"].text("abbr") for name, row in table.items()}
        text = markdown(board)
        if alone:
            assert named == {"beta": ""}
            assert "| ≤ 1.250 ± 0.010 |" in text
            assert "± is one standard error." in text
            bench.add("alpha", "alpha", bits=1.1)
            bench.add("alpha-s1", "alpha", bits=1.3, seed=1)
        else:
            assert named == {"beta": "SE", "alpha": "SE", "alpha-s1": "SE", "alpha*": "SD"}
            assert table["alpha*"]["FID"].text("abbr") == "", "equal values have no deviation"
            assert "| ≤ 1.250 ± 0.010 SE |" in text
            assert "| 1.20 ± 0.14 SD |" in text
            assert "SD the standard deviation between seeds" in text
            assert html.count("SD: standard deviation between seeds") == 1


def test_csv_has_the_deviation_between_seeds_beside_the_error_of_the_mean(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.1)
    assert "bits_per_dim_sd" not in csv_table(bench.board())
    bench.add("alpha-s1", "alpha", bits=1.3, seed=1)
    lines = {line["entry"]: line for line in csv.DictReader(io.StringIO(csv_table(bench.board())))}
    sd = np.std([1.1, 1.3], ddof=1)
    assert float(lines["alpha*"]["bits_per_dim_sd"]) == pytest.approx(sd, rel=1e-12)
    assert float(lines["alpha*"]["bits_per_dim_stderr"]) == pytest.approx(sd / 2**0.5, rel=1e-12)
    assert (lines["alpha"]["bits_per_dim_sd"], lines["alpha"]["bits_per_dim_stderr"]) == (
        "",
        "0.01",
    )


CHANGES: dict[str, tuple[Any, Any]] = {
    "model": ("alpha", "ceiling"),
    "dataset": ("mnist", "binary_mnist"),
    "arch": ({"net": {"widths": [8, 16]}}, {"net": {"widths": [8, 17]}}),
    "train": (
        {"steps": 10, "optim": {"loss": {"lr": 0.1}}},
        {"steps": 10, "optim": {"loss": {"lr": 0.2}}},
    ),
    "sample": ({"clip": True}, {"clip": False}),
    "score": ({"terms": 4}, {"terms": 5}),
}


@pytest.mark.parametrize("setting", CHANGES)
@pytest.mark.parametrize("differ", [False, True])
def test_seeds_are_one_group_only_if_all_settings_agree(
    bench: Bench, setting: str, differ: bool
) -> None:
    values = CHANGES[setting] if differ else (CHANGES[setting][0],) * 2
    for seed, value in enumerate(values):
        dataset = value if setting == "dataset" else "mnist"
        run = bench.add(f"e{seed}", "alpha", bits=1.0 + seed, dataset=dataset, seed=seed)
        entry = bench.entries[f"e{seed}"] = replace(bench.entries[f"e{seed}"], **{setting: value})
        write_bytes(run / "weights.safetensors", weights_of(entry))
        write_json(
            run / "provenance.json", {**read_json(run / "provenance.json"), "train": entry.train}
        )
        write_json(
            run / "sampling.json", {**read_json(run / "sampling.json"), "options": entry.sample}
        )
    board = bench.board()
    assert board["missing"] == []
    assert sorted(r["entry"] for r in board["rows"]) == ["e0", *([] if differ else ["e0*"]), "e1"]


def test_twice_the_same_seed_is_no_spread(bench: Bench) -> None:
    bench.add("one", "alpha", bits=1.0)
    bench.add("two", "alpha", bits=1.2)
    assert [r["status"] for r in bench.board()["rows"]] == ["ok", "ok"]


# ---------------------------------------------------------------------- the hash of scores


def _value(metric: Metric) -> Metric:
    return replace(metric, value=metric.value * (1 + 2e-8))


FIELDS: dict[str, Callable[[dict[str, Metric]], dict[str, Metric]]] = {
    "value": lambda m: {**m, "is_mnist": _value(m["is_mnist"])},
    "another value": lambda m: {**m, "fid_mnist": _value(m["fid_mnist"])},
    "stderr": lambda m: {**m, "is_mnist": replace(m["is_mnist"], stderr=0.1 * (1 + 2e-8))},
    "no stderr": lambda m: {**m, "is_mnist": replace(m["is_mnist"], stderr=None)},
    "n": lambda m: {**m, "is_mnist": replace(m["is_mnist"], n=101)},
    "kind": lambda m: {**m, "is_mnist": replace(m["is_mnist"], kind="estimate")},
    "detail": lambda m: {**m, "is_mnist": replace(m["is_mnist"], detail={"splits": 10})},
    "a number of the detail": lambda m: {
        **m,
        "fid_mnist": replace(m["fid_mnist"], detail={"reference_n": 100, "subsets": 1}),
    },
    "missing": lambda m: {"fid_mnist": m["fid_mnist"]},
    "one more": lambda m: {**m, "kid_mnist": m["is_mnist"]},
    "name": lambda m: {"fid_mnist": m["fid_mnist"], "is_inception": m["is_mnist"]},
    "exchanged": lambda m: {
        "fid_mnist": replace(m["fid_mnist"], value=m["is_mnist"].value),
        "is_mnist": replace(m["is_mnist"], value=m["fid_mnist"].value),
    },
}


def test_each_field_of_each_score_changes_the_hash(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    record = read_record(run / "quality.json")

    def hash_with(metrics: dict[str, Metric]) -> str:
        write_record(run / "quality.json", replace(record, metrics=metrics))
        return str(row(bench.board(), "alpha")["score_hash"])

    plain = dict(record.metrics)
    hashes = {name: hash_with(change(plain)) for name, change in FIELDS.items()} | {
        "": hash_with(plain)
    }
    for a, b in itertools.combinations(hashes, 2):
        assert hashes[a] != hashes[b], (a, b)
    assert hash_with(dict(reversed(plain.items()))) == hashes[""]  # the order says nothing
    likelihood = read_record(run / "likelihood.json")
    bits = likelihood.metrics["bits_per_dim"]
    write_record(
        run / "likelihood.json",
        replace(
            likelihood,
            metrics={**likelihood.metrics, "bits_per_dim": replace(bits, kind="lower_bound")},
        ),
    )
    assert hash_with(plain) != hashes[""]


# ---------------------------------------------------------------------- where and by what protocol


def test_each_environment_lists_the_entries_that_were_trained_there(bench: Bench) -> None:
    for name, machine, threads in (
        ("alpha", "a laptop", 1),
        ("beta", "a server", 8),
        ("gamma", "a laptop", 1),
    ):
        run = bench.add(name, name)
        write_json(
            run / "provenance.json",
            {**read_json(run / "provenance.json"), "hardware": machine, "threads": threads},
        )
    (table,) = tables_of(
        section_of(
            page(bench.board(), reading.read_entries(bench.params), Material())[0], "environment"
        )
    )
    found = {
        cells[0].text("entry"): (cells[1].texts[0][1], cells[2].texts[0][1]) for cells in table[1:]
    }
    assert found == {
        "alpha gamma": ("a laptop", "cpu, 1 thread"),
        "beta": ("a server", "cpu, 8 threads"),
    }


def test_the_protocol_is_shown_number_by_number(bench: Bench) -> None:
    bench.declare("gone", "alpha")
    images = {1: 1003, 7: 1004, 2000: 1005}
    bench.params = replace(
        bench.params,
        protocol=protocol(samples=1001, sample_chunk=1002, images=images, references=1006),
    )
    text = section_of(
        page(bench.board(), reading.read_entries(bench.params), Material())[0], "summary"
    )
    shown = dict(re.findall(r"<dt>([^<]*)</dt><dd>([\d,]*)</dd>", text))
    assert shown == {
        "samples per entry": "1,001",
        "samples per seeded chunk": "1,002",
        "test images for a likelihood": "1,003",
        "test images for a likelihood of 7 network passes per image or more": "1,004",
        "test images for a likelihood of 2,000 network passes per image or more": "1,005",
        "test images that samples are compared with": "1,006",
    }
