"""Results of other parameters, weights or samples than those that there are now do not count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from genbench.files import read_json, sha256, write_bytes, write_json, write_npz
from genbench.scoring.records import Metric, Record, read_record, write_record
from tests.invented_results import Bench, row
from tests.params_factory import likelihood_images
from tests.toys import weights_of


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "train is out of date: seed was 0 and is now 1"),
        ({"model": "beta"}, "train is out of date: model was 'alpha' and is now 'beta'"),
        (
            {"arch": {"width": (2, 3)}},
            "train is out of date: arch was {'width': 1} and is now {'width': [2, 3]}",
        ),
        (
            {"train": {"steps": 20}},
            "train is out of date: train was {'steps': 10} and is now {'steps': 20}",
        ),
        ({"sample": {"steps": 5}}, "sample is out of date: sample was {} and is now {'steps': 5}"),
        (
            {"score": {"draws": 5}},
            "score_likelihood is out of date: score.draws was None and is now 5",
        ),
    ],
)
def test_results_of_another_entry_block_do_not_count(
    bench: Bench, change: dict[str, object], said: str
) -> None:
    bench.add("alpha", "alpha", bits=1.2, width=1)
    bench.add("beta", "beta", bits=1.3)
    assert bench.board()["missing"] == []
    bench.entries["alpha"] = replace(bench.entries["alpha"], **change)
    board = bench.board()
    (gap,) = board["missing"]
    assert (gap["entry"], gap["reason"]) == ("alpha", f"{said}; run `genbench run --entries alpha`")
    assert row(board, "beta")["status"] == "ok"
    kept = [r["metrics"].keys() for r in board["rows"] if r["entry"] == "alpha"]
    left = {"score": [{"fid_mnist", "is_mnist"}], "sample": [{"bits_per_dim", "nats"}]}
    assert kept == left.get(next(iter(change)), [])


@pytest.mark.parametrize(
    ("change", "kept", "said"),
    [
        (
            {"samples": 50},
            {"bits_per_dim", "nats"},
            "sample is out of date: protocol.samples was 100 and is now 50",
        ),
        (
            likelihood_images({1: 50, 10: 10, 200: 10}),
            {"fid_mnist", "is_mnist"},
            "score_likelihood is out of date: test images was 100 and is now 50",
        ),
        (
            {"feature_reference_images": 50},
            {"bits_per_dim", "nats"},
            "score_samples is out of date: test images was 100 and is now 50",
        ),
    ],
)
def test_scores_of_another_protocol_do_not_count(
    bench: Bench, change: dict[str, Any], kept: set[str], said: str
) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.params = replace(bench.params, protocol=replace(bench.params.protocol, **change))
    board = bench.board()
    assert row(board, "alpha")["status"] == "partial"
    assert row(board, "alpha")["metrics"].keys() == kept
    assert board["missing"][0]["reason"] == f"{said}; run `genbench run --entries alpha`"


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("weights.safetensors", "sample is out of date: the weights are other ones now"),
        ("samples.npz", "score_samples is out of date: the samples are other ones now"),
    ],
)
def test_results_of_other_weights_or_samples_do_not_count(
    bench: Bench, file: str, reason: str
) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    write_json(
        run / "sampling.json",
        read_json(run / "sampling.json") | {"weights": sha256(run / "weights.safetensors")},
    )
    for name, source in (("likelihood", "weights.safetensors"), ("quality", "samples.npz")):
        record = read_record(run / f"{name}.json")
        write_record(
            run / f"{name}.json",
            replace(record, made_from={source.split(".")[0]: sha256(run / source)}),
        )
    assert bench.board()["missing"] == []
    if file == "samples.npz":
        images = np.zeros((100, 28, 28), np.uint8)
        write_npz(run / file, {"images": images})
        kept = {"bits_per_dim", "nats"}
    else:
        write_bytes(run / file, weights_of(bench.entries["alpha"], 2.0))
        kept = set()
    board = bench.board()
    assert row(board, "alpha")["metrics"].keys() == kept
    assert board["missing"][0]["reason"].startswith(reason)


def test_scores_of_other_metrics_do_not_count(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    write_record(
        run / "quality.json",
        replace(read_record(run / "quality.json"), made_from={"metrics": ["kid"]}),
    )
    assert bench.board()["missing"][0]["reason"].startswith(
        "score_samples is out of date: metrics was ['kid'] and is now ['fid']"
    )


def test_more_test_images_than_there_are_change_nothing(bench: Bench) -> None:
    run = bench.add("alpha", "alpha")
    write_record(
        run / "likelihood.json",
        Record("alpha", {"nats": Metric(80.0, 1.0, 10_000, False, "exact")}),
    )
    images = likelihood_images({1: 20_000, 10: 10, 200: 10})
    bench.params = replace(bench.params, protocol=replace(bench.params.protocol, **images))
    assert bench.board()["missing"] == []


def test_why_a_stage_that_is_out_of_date_failed(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.fail("all", "fingerprints", "invalid syntax")
    bench.entries["alpha"] = replace(bench.entries["alpha"], seed=1)
    assert bench.board()["missing"][0]["reason"].startswith(
        "train is out of date: seed was 0 and is now 1; fingerprints failed: invalid syntax"
    )
