"""What the report says of results that are not there, and of stages that failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.invented_results import Bench, row


def test_an_entry_without_outputs_is_missing_with_the_command(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.declare("beta", "beta")
    board = bench.board()
    assert [r["entry"] for r in board["rows"]] == ["alpha"]
    (gap,) = board["missing"]
    assert (gap["entry"], gap["dataset"]) == ("beta", "mnist")
    assert (
        gap["reason"]
        == "runs/quick/beta/weights.safetensors is not there; run `genbench run --entries beta`"
    )


def test_absent_files_share_one_command(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    (run / "quality.json").unlink()
    (run / "likelihood.json").unlink()
    (gap,) = bench.board()["missing"]
    files = "runs/quick/alpha/likelihood.json and runs/quick/alpha/quality.json"
    assert gap["reason"] == f"{files} are not there; run `genbench run --entries alpha`"


def test_the_command_names_a_profile_that_is_not_the_default(bench: Bench) -> None:
    bench.declare("beta", "beta")
    bench.params = replace(bench.params, profile="smoke")
    assert (
        "run `genbench run --profile smoke --entries beta`" in bench.board()["missing"][0]["reason"]
    )


def test_a_failed_stage_gives_its_error(bench: Bench) -> None:
    bench.declare("beta", "beta")
    bench.fail("beta", "train", "the loss is nan at step 3; lower the learning rate")
    assert bench.board()["missing"][0]["reason"] == (
        "train failed: the loss is nan at step 3; lower the learning rate (log: "
        ".status/quick/beta-train.json)"
    )


def test_a_failed_preparation_of_the_data_is_the_reason(bench: Bench) -> None:
    bench.declare("beta", "beta")
    bench.fail("mnist", "prepare", "no network")
    assert bench.board()["missing"][0]["reason"].startswith("prepare of mnist failed: no network")


def test_a_failed_fingerprint_is_the_reason(bench: Bench) -> None:
    bench.declare("beta", "beta")
    run = bench.add("alpha", "alpha", bits=1.2)
    (run / "quality.json").unlink()
    (run / "likelihood.json").unlink()
    bench.fail("all", "fingerprints", "genbench/training/fit.py:3: invalid syntax")
    reason = (
        "fingerprints failed: genbench/training/fit.py:3: invalid syntax (log: "
        ".status/quick/all-fingerprints.json)"
    )
    assert [gap["reason"] for gap in bench.board()["missing"]] == [reason, reason]


@pytest.mark.parametrize(
    ("file", "stage"),
    [("likelihood.json", "prepare"), ("quality.json", "features"), ("quality.json", "prepare")],
)
def test_a_failed_stage_of_the_data_set_is_the_reason(bench: Bench, file: str, stage: str) -> None:
    (bench.add("alpha", "alpha", bits=1.2) / file).unlink()
    bench.fail("mnist", stage, "disk full")
    bench.fail("binary_mnist", stage, "of another data set")
    assert (
        bench.board()["missing"][0]["reason"]
        == f"{stage} of mnist failed: disk full (log: .status/quick/mnist-{stage}.json)"
    )


def test_a_partial_entry_is_a_row_and_listed(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    (run / "likelihood.json").unlink()
    bench.fail("alpha", "score_likelihood", "out of memory")
    board = bench.board()
    assert row(board, "alpha")["status"] == "partial"
    assert set(row(board, "alpha")["metrics"]) == {"fid_mnist", "is_mnist"}
    assert (
        board["missing"][0]["reason"]
        == "score_likelihood failed: out of memory (log: .status/quick/alpha-score_likelihood.json)"
    )


@pytest.mark.parametrize(
    ("gone", "lost"),
    [("samples.npz", {"fid_mnist", "is_mnist"}), ("quality.json", {"fid_mnist", "is_mnist"})],
)
def test_scores_of_samples_that_are_gone_do_not_count(
    bench: Bench, gone: str, lost: set[str]
) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    before = set(row(bench.board(), "alpha")["metrics"])
    (run / gone).unlink()
    assert before - set(row(bench.board(), "alpha")["metrics"]) == lost


def test_scores_of_weights_that_are_gone_do_not_count(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    (run / "weights.safetensors").unlink()
    board = bench.board()
    assert board["rows"] == []
    assert [gap["entry"] for gap in board["missing"]] == ["alpha"]


@pytest.mark.parametrize("stale", [False, True])
def test_an_old_status_of_a_complete_stage_means_nothing(bench: Bench, stale: bool) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    if stale:
        bench.fail("alpha", "train", "an error of yesterday")
    assert bench.board()["missing"] == []
