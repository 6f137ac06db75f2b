"""leaderboard.json on invented records: its fields, its order, its schema, and means over seeds."""

from __future__ import annotations

import json
import math

import pytest

from genbench.config.layout import Layout
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.report.rows import KINDS, headlines
from genbench.results.schema import leaderboard_schema, validate
from tests.invented_results import Bench, row
from tests.toys import weights_of


def test_a_complete_entry_has_all_fields(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    board = bench.board()
    assert board["missing"] == []
    assert (
        board["protocol"] | {"metrics": ["fid"]}
        == board["protocol"]
        == bench.params.protocol.plain() | {"metrics": ["fid"]}
    )
    (only,) = board["rows"]
    assert only["status"] == "ok"
    kind = ("family", "likelihood_kind", "sampler", "matches_likelihood")
    assert tuple(only[key] for key in kind) == ("autoregressive", "exact", "ancestral", True)
    assert only["cost"] == {
        "parameters": 1234,
        "train_seconds": 12.5,
        "train_images_per_second": 800.0,
        "peak_memory_mb": 300.0,
        "sample_ms_per_image": 2.0,
    }
    assert only["provenance"]["hardware"] == "a machine"
    assert only["metrics"]["bits_per_dim"] == {
        "value": 1.2,
        "stderr": 0.01,
        "n": 100,
        "kind": "exact",
        "higher_is_better": False,
        "detail": {"draws": 1},
    }


def test_score_hash_depends_on_scores_and_weights_alone(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    before = row(bench.board(), "alpha")["score_hash"]

    def hash_after(file: str, content: bytes) -> str:
        kept = (run / file).read_bytes()
        write_bytes(run / file, content)
        try:
            return row(bench.board(), "alpha")["score_hash"]
        finally:
            write_bytes(run / file, kept)

    cost = json.loads((run / "cost.json").read_text())
    assert hash_after("cost.json", json.dumps(cost | {"train_seconds": 99.0}).encode()) == before
    likelihood = (run / "likelihood.json").read_text()
    value = f'"value": {1.2!r}'
    assert value in likelihood
    # Another thread count, say.
    assert (
        hash_after(
            "likelihood.json", likelihood.replace(value, '"value": 1.2000000000001').encode()
        )
        == before
    )
    assert (
        hash_after("likelihood.json", likelihood.replace(value, '"value": 1.20000001').encode())
        != before
    )
    assert hash_after("weights.safetensors", weights_of(bench.entries["alpha"], 1.0)) != before
    bench.add("alpha-s1", "alpha", bits=1.2, seed=1)
    mean = row(bench.board(), "alpha*")["score_hash"]
    write_bytes(
        Layout.of(bench.params).run_dir("alpha-s1").weights,
        weights_of(bench.entries["alpha-s1"], 1.0),
    )
    assert row(bench.board(), "alpha*")["score_hash"] != mean


def test_headlines_are_the_main_scores_with_five_digits_a_file_for_each_entry(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.23456789, fid=12345.678)
    bench.add("alpha-s1", "alpha", bits=1.3, seed=1)
    bench.add("gamma", "gamma", fid=0.000123456)
    bench.write()
    written = {
        path.stem: json.loads(path.read_text())
        for path in (Layout.of(bench.params).report.path / "metrics").iterdir()
    }
    assert written == headlines(bench.board())
    assert written.keys() == {"alpha", "alpha-s1", "gamma"}
    assert written["alpha"] == {
        "bits_per_dim": 1.2346,
        "nats": 670.9,
        "fid_mnist": 12346.0,
        "is_mnist": 9.0,
    }
    assert written["gamma"] == {"fid_mnist": 0.00012346, "is_mnist": 9.0}


def test_rows_are_sorted_by_data_set_control_kind_and_value(bench: Bench) -> None:
    for name, model, bits in (
        ("c", "ceiling", 1.7),
        ("g", "gamma", None),
        ("d", "delta", 0.5),
        ("b2", "beta", 1.3),
        ("b1", "beta", 0.9),
    ):
        bench.add(name, model, bits=bits, x=name)
    bench.add("z", "alpha", bits=0.1, dataset="binary_mnist")
    bench.add("a2", "alpha", bits=1.5, x=2)
    bench.add("a1", "alpha", bits=1.4, x=1)
    bench.add("g0", "gamma", fid=1.0, x=3)
    assert [r["entry"] for r in bench.board()["rows"]] == [
        "a1",
        "a2",
        "b1",
        "b2",
        "d",
        "g0",
        "g",
        "c",
        "z",
    ]
    assert KINDS == ("exact", "lower_bound", "estimate", "reported", "none")


def test_matches_likelihood_is_null_where_there_is_none(bench: Bench) -> None:
    bench.add("g", "gamma")
    bench.sampling("g", matches=True)
    assert row(bench.board(), "g")["matches_likelihood"] is None


def test_the_schema_refuses_what_it_should(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    board = bench.board()
    board["rows"][0]["metrics"]["bits_per_dim"]["value"] = "1.2"
    with pytest.raises(UserError, match=r"bits_per_dim\.value"):
        validate(board)
    board["rows"][0]["metrics"]["bits_per_dim"]["value"] = float("nan")
    with pytest.raises(ValueError, match="JSON compliant"):
        validate(board)
    assert set(leaderboard_schema()["properties"]) == board.keys()
    with pytest.raises(UserError, match=r"schema_version"):
        validate({**bench.board(), "schema_version": 1})


def test_headlines_are_of_all_entries_that_have_scores_and_of_no_mean(bench: Bench) -> None:
    for seed in (0, 1):
        bench.add(f"alpha-s{seed}", "alpha", bits=1.23456789 + seed, fid=4.0, seed=seed)
    (bench.add("beta", "beta", bits=1.5, fid=7.0) / "likelihood.json").unlink()
    found = headlines(bench.board())
    assert {
        name: (scores.get("bits_per_dim"), scores["fid_mnist"]) for name, scores in found.items()
    } == {
        "alpha-s0": (1.2346, 4.0),
        "alpha-s1": (2.2346, 4.0),
        "beta": (None, 7.0),
    }


def test_seeds_get_a_row_of_their_mean(bench: Bench) -> None:
    for seed, bits in enumerate((1.0, 1.1, 1.5)):
        bench.add(f"alpha-s{seed}" if seed else "alpha", "alpha", bits=bits, seed=seed)
    bench.add("wide", "alpha", bits=0.8, width=2)
    board = bench.board()
    mean = row(board, "alpha*")
    metric = mean["metrics"]["bits_per_dim"]
    assert (mean["status"], mean["seed"], mean["provenance"]) == ("aggregate", None, None)
    assert metric["value"] == pytest.approx(1.2)
    assert metric["detail"]["sd"] == pytest.approx(math.sqrt((0.04 + 0.01 + 0.09) / 2))
    assert metric["stderr"] == pytest.approx(metric["detail"]["sd"] / math.sqrt(3))
    assert metric["detail"]["seeds"] == 3
    assert metric["kind"] == "exact"
    assert [r["entry"] for r in board["rows"] if r["status"] == "aggregate"] == ["alpha*"]
    assert headlines(board).keys() == {"alpha", "alpha-s1", "alpha-s2", "wide"}


def test_a_mean_has_only_the_metrics_of_all_seeds(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.0)
    run = bench.add("alpha-s1", "alpha", bits=1.1, seed=1)
    (run / "quality.json").unlink()
    assert set(row(bench.board(), "alpha*")["metrics"]) == {"bits_per_dim", "nats"}
