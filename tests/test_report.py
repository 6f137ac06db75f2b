"""The report on invented records: what is shown, what is missing and why, and that the page stands
alone.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from genbench.base import Conditioning, DataSpec, Likelihood
from genbench.config.layout import Layout
from genbench.config.params import Entry, Params, Protocol
from genbench.data.datasets import EXCERPT
from genbench.errors import UserError
from genbench.files import read_json, sha256, write_bytes, write_json, write_npz, write_text
from genbench.hardware.compute import Compute
from genbench.pictures.grids import png
from genbench.registry import model_class, model_names
from genbench.report.curves import curves
from genbench.report.grids import pick
from genbench.report.page import MAX_BYTES, Material, page
from genbench.report.published import literature, merged, published
from genbench.report.rows import KINDS, headlines, leaderboard
from genbench.report.scatter import Point, scatter
from genbench.report.tables import csv_table, markdown
from genbench.report.text import number, plus_minus
from genbench.results import entry as reading
from genbench.results.schema import leaderboard_schema, validate
from genbench.scoring.records import Metric, Record, read_record, write_record
from pipelines import report
from tests.toys import weights_of

MODELS = {
    "alpha": (Likelihood.EXACT, "autoregressive", False),
    "beta": (Likelihood.LOWER_BOUND, "variational", False),
    "gamma": (Likelihood.NONE, "adversarial", False),
    "delta": (Likelihood.ESTIMATE, "energy", False),
    "floor": (Likelihood.NONE, "control", True),
    "ceiling": (Likelihood.EXACT, "control", True),
}
LEVELS = {"mnist": 256, "binary_mnist": 2}


def fake_class(name: str) -> SimpleNamespace:
    if name not in MODELS:
        raise UserError(f"{name!r} is no model")
    kind, family, control = MODELS[name]
    return SimpleNamespace(
        likelihood=kind, family=family, control=control, conditioning=Conditioning.OPTIONAL
    )


class Bench:
    """A project with invented outputs of its stages."""

    def __init__(self, root: Path) -> None:
        entries: dict[str, Entry] = {}
        images = {
            "likelihood_images": 100,
            "likelihood_images_many_passes": 10,
            "many_passes": 10,
            "feature_reference_images": 100,
        }
        images |= {"likelihood_images_very_many_passes": 10, "very_many_passes": 200}
        protocol = Protocol(samples=100, sample_chunk=50, **images)
        self.params = Params(
            root, "quick", entries, ("mnist", "binary_mnist"), ("fid",), protocol, Compute()
        )
        self.entries = entries

    def declare(
        self, name: str, model: str, dataset: str = "mnist", seed: int = 0, **arch: object
    ) -> Path:
        self.entries[name] = Entry(name, model, dataset, seed, arch, {"steps": 10}, {}, {})
        return Layout.of(self.params).run_dir(name).path

    def add(
        self,
        name: str,
        model: str,
        *,
        bits: float | None = None,
        fid: float = 5.0,
        dataset: str = "mnist",
        **entry: object,
    ) -> Path:
        """Declare an entry and write all of its outputs."""
        run = self.declare(name, model, dataset, **entry)  # type: ignore[arg-type]
        write_bytes(run / "weights.safetensors", weights_of(self.entries[name]))
        steps = "".join(
            f"{s},{s / 10},1000,{5.0 / (s + 1)},0.001,1,{6.0 / (s + 1) if s % 2 else ''}\n"
            for s in range(10)
        )
        heads = "step,seconds,images_per_second,loss/loss,loss/lr,loss/grad_norm,loss/valid_loss\n"
        write_text(run / "history.csv", heads + ("" if MODELS[model][2] else steps))
        cost = {
            "parameters": 1234,
            "train_seconds": 12.5,
            "train_images_per_second": 800.0,
            "peak_memory_mb": 300.0,
            "steps": 10,
        }
        write_json(run / "cost.json", cost)
        versions = {"python": "3.12", "torch": "2.9", "genbench": "0.1"}
        provenance = {
            "git": "abcdef0123",
            "versions": versions,
            "hardware": "a machine",
            "threads": 2,
            "device": "cpu",
            "precision": "float32",
            "train": {"steps": 10},
        }
        write_json(run / "provenance.json", provenance)
        images = np.random.default_rng(0).integers(
            0, LEVELS[dataset], (100, 28, 28), dtype=np.uint8
        )
        labels = (
            {"labels": np.arange(100, dtype=np.int64) % 10}
            if self.entries[name].arch.get("conditional")
            else {}
        )
        write_npz(run / "samples.npz", {"images": images, **labels})
        matches = None if MODELS[model][0] is Likelihood.NONE else True
        self.sampling(name, matches=matches)
        write_json(run / "pictures" / "pictures.json", [])
        kind = MODELS[model][0].value
        scores = {} if bits is None else {
            "bits_per_dim": Metric(bits, 0.01, 100, False, kind, {"draws": 1}),
            "nats": Metric(bits * 784 * math.log(2), 5.0, 100, False, kind),
        }  # fmt: skip
        write_record(run / "likelihood.json", Record(name, scores))
        write_record(
            run / "quality.json",
            Record(
                name,
                {
                    "fid_mnist": Metric(fid, None, 100, False, detail={"reference_n": 100}),
                    "is_mnist": Metric(9.0, 0.1, 100, True),
                },
            ),
        )
        return run

    def sampling(self, name: str, *, matches: bool | None, sampler: str = "ancestral") -> None:
        info = {
            "sampler": sampler,
            "options": {},
            "matches_likelihood": matches,
            "n": 100,
            "sample_ms_per_image": 2.0,
            "peak_memory_mb": 9.0,
            "device": "cpu",
        }
        write_json(Layout.of(self.params).run_dir(name).sampling, info)

    def data(self, dataset: str) -> None:
        rng = np.random.default_rng(1)
        arrays = dict(EXCERPT)
        for split in ("train", "valid", "test"):
            arrays[f"{split}_x"] = rng.integers(0, LEVELS[dataset], (200, 28, 28), dtype=np.uint8)
            if dataset == "mnist":
                arrays[f"{split}_y"] = (np.arange(200) % 10).astype(np.uint8)
        write_npz(Layout.of(self.params).data(dataset), arrays)

    def fail(self, name: str, stage: str, error: str) -> None:
        status = {
            "stage": stage,
            "entry": name,
            "error": error,
            "type": "UserError",
            "time": "2026-01-01T00:00:00",
            "log": "Traceback (most recent call last):",
        }
        write_json(Layout.of(self.params).status(name, stage), status)

    def board(self) -> dict:
        """The leaderboard's content alone, which needs no drawing."""
        return leaderboard(self.params, reading.read_entries(self.params))

    def write(self) -> dict:
        """The stage."""
        report.run(self.params)
        return json.loads(Layout.of(self.params).report.leaderboard.read_text())

    def page(self) -> str:
        return Layout.of(self.params).report.page.read_text()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(reading, "model_class", fake_class)
    return Bench(tmp_path)


def row(board: dict, entry: str) -> dict:
    return next(r for r in board["rows"] if r["entry"] == entry)


# ---------------------------------------------------------------------- leaderboard.json


def test_a_complete_entry_has_all_fields(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    board = bench.board()
    assert board["missing"] == []
    assert (
        board["protocol"] | {"metrics": ["fid"]}
        == board["protocol"]
        == asdict(bench.params.protocol) | {"metrics": ["fid"]}
    )
    (only,) = board["rows"]
    assert only["status"] == "ok"
    assert (
        only["family"],
        only["likelihood_kind"],
        only["sampler"],
        only["matches_likelihood"],
    ) == (
        "autoregressive",
        "exact",
        "ancestral",
        True,
    )
    assert only["cost"] == {
        "parameters": 1234, "train_seconds": 12.5, "train_images_per_second": 800.0, "peak_memory_mb": 300.0, "sample_ms_per_image": 2.0,
    }  # fmt: skip
    assert only["provenance"]["hardware"] == "a machine"
    assert only["metrics"]["bits_per_dim"] == {
        "value": 1.2, "stderr": 0.01, "n": 100, "kind": "exact", "higher_is_better": False, "detail": {"draws": 1},
    }  # fmt: skip


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
    assert (
        hash_after(
            "likelihood.json", likelihood.replace(value, '"value": 1.2000000000001').encode()
        )
        == before
    )  # another thread count, say
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
    assert KINDS == ("exact", "lower_bound", "estimate", "none")


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
    assert set(leaderboard_schema()["properties"]) == {"profile", "protocol", "rows", "missing"}


# ---------------------------------------------------------------------- missing, partial, damaged


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
        "fingerprints failed: genbench/training/fit.py:3: invalid syntax "
        "(log: .status/quick/all-fingerprints.json)"
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
    ("key", "kept", "said"),
    [
        (
            "samples",
            {"bits_per_dim", "nats"},
            "sample is out of date: protocol.samples was 100 and is now 50",
        ),
        (
            "likelihood_images",
            {"fid_mnist", "is_mnist"},
            "score_likelihood is out of date: test images was 100 and is now 50",
        ),
        (
            "feature_reference_images",
            {"bits_per_dim", "nats"},
            "score_samples is out of date: test images was 100 and is now 50",
        ),
    ],
)
def test_scores_of_another_protocol_do_not_count(
    bench: Bench, key: str, kept: set[str], said: str
) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.params = replace(bench.params, protocol=replace(bench.params.protocol, **{key: 50}))
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
    bench.params = replace(
        bench.params, protocol=replace(bench.params.protocol, likelihood_images=20_000)
    )
    assert bench.board()["missing"] == []


def test_why_a_stage_that_is_out_of_date_failed(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.fail("all", "fingerprints", "invalid syntax")
    bench.entries["alpha"] = replace(bench.entries["alpha"], seed=1)
    assert bench.board()["missing"][0]["reason"].startswith(
        "train is out of date: seed was 0 and is now 1; fingerprints failed: invalid syntax"
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


NAN = b'{"value": NaN, "stderr": null, "n": 1, "higher_is_better": false}'


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("quality.json", b"{"),
        ("quality.json", b"[]"),
        ("quality.json", b'{"entry": "alpha", "metrics": [], "withheld": {}}'),
        ("quality.json", b'{"entry": "other", "metrics": {}, "withheld": {}}'),
        ("likelihood.json", b'{"entry": "alpha", "metrics": {"nats": ' + NAN + (b'}, "withheld": '
                                                                               b'{}}')),
        ("cost.json", b'{"parameters": "many"}'),
        ("cost.json", b'{"train_seconds": NaN}'),
        ("provenance.json", b"\xff\xfe"),
        ("weights.safetensors", b"\x10\x00\x00"),
        ("history.csv", b""),
        ("history.csv", b"step,loss/loss\n1,abc\n"),
        ("samples.npz", b"PK"),
        ("sampling.json", b"{}"),
        ("pictures/pictures.json", (b'[{"file": "../../weights.png", "kind": "process", "title": "t", '
                                 b'"caption": "c"}]')),
        ("pictures/pictures.json", (b'[{"file": "gone.png", "kind": "process", "title": "t", '
                                 b'"caption": "c"}]')),
    ],
)  # fmt: skip
def test_a_damaged_file_costs_its_own_entry_only(bench: Bench, file: str, content: bytes) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    bench.add("beta", "beta", bits=1.3)
    write_bytes(run / file, content)
    board = bench.board()
    assert row(board, "beta")["status"] == "ok"
    (gap,) = board["missing"]
    assert gap["entry"] == "alpha"
    assert Path(file).name in gap["reason"] or "gone.png" in gap["reason"]
    assert str(bench.params.root) not in gap["reason"]


def test_samples_of_another_shape_are_refused(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=0.2, dataset="binary_mnist")
    write_npz(run / "samples.npz", {"images": np.full((3, 28, 28), 2, np.uint8)})
    assert "levels 0..1, got 2" in bench.board()["missing"][0]["reason"]
    write_npz(run / "samples.npz", {"images": np.zeros((3, 1, 28, 28), np.uint8)})
    assert "uint8 (n, 28, 28)" in bench.board()["missing"][0]["reason"]


def test_a_model_that_cannot_be_imported_costs_its_own_entries_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> SimpleNamespace:
        if name == "beta":
            raise SyntaxError("invalid syntax (beta.py, line 3)")
        return fake_class(name)

    bench.add("alpha", "alpha", bits=1.2)
    bench.add("beta", "beta", bits=1.3)
    monkeypatch.setattr(reading, "model_class", broken)
    board = bench.board()
    assert [r["entry"] for r in board["rows"]] == ["alpha"]
    assert "line 3" in board["missing"][0]["reason"]


def test_a_failing_report_leaves_the_former_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.write()
    before = bench.page()
    monkeypatch.setattr("genbench.report.build.csv_table", lambda board: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.run(bench.params)
    assert bench.page() == before
    assert [p.name for p in Layout.of(bench.params).report.path.parent.iterdir()] == ["quick"]


# ---------------------------------------------------------------------- seeds


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


# ---------------------------------------------------------------------- csv and md


def test_csv_holds_every_number(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.23456789)
    bench.add("g", "gamma")
    rows = {line["entry"]: line for line in csv.DictReader(io.StringIO(csv_table(bench.board())))}
    assert float(rows["alpha"]["bits_per_dim"]) == 1.23456789
    assert rows["alpha"]["bits_per_dim_n"] == "100"
    assert rows["g"]["bits_per_dim"] == rows["g"]["matches_likelihood"] == ""
    assert rows["g"]["fid_mnist_stderr"] == ""
    assert rows["g"]["parameters"] == "1234"


def test_csv_leaves_empty_what_is_absent_and_nothing_else(bench: Bench) -> None:
    """A seed of 0, a flag that is false and a score of 0 are there."""
    bench.add("alpha", "alpha", bits=0.0)
    bench.sampling("alpha", matches=False, sampler="ddim-20")
    board = bench.board()
    (line,) = csv.DictReader(io.StringIO(csv_table(board)))
    (one,) = board["rows"]
    own = {key: one[key] for key in line if key in one}
    assert (own["seed"], own["control"], own["matches_likelihood"]) == (0, False, False)
    assert {key: line[key] for key in own} == {key: str(value) for key, value in own.items()}
    assert (line["bits_per_dim"], line["bits_per_dim_n"]) == ("0.0", "100")


def test_markdown_marks_kinds_and_samplers(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.add("beta", "beta", bits=1.25)
    bench.add("delta", "delta", bits=1.0)
    bench.add("floor", "floor", fid=0.5)
    bench.sampling("beta", matches=False, sampler="ddim-20")
    bench.declare("gone", "gamma")
    bench.fail("gone", "train", "a | pipe and <b>")
    text = markdown(bench.board())
    lines = {
        line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")
    }
    assert "| 1.200 ± 0.010 |" in lines["`alpha`"]
    assert "| ≤ 1.250 ± 0.010 |" in lines["`beta` †"]
    assert "| ≈ 1.000 ± 0.010 |" in lines["`delta`"]
    assert "(control)" in lines["`floor`"]
    assert {line.count("|") for line in lines.values()} == {10}
    assert r"a \| pipe and \<b\>" in text
    assert "cheaper or sharpened sampler" in text


def kind(isa: str) -> dict[str, object]:
    return {
        "machine": "x86_64",
        "vendor": "AuthenticAMD",
        "isa": isa,
        "libraries": {"torch": "2.9"},
        "limits": {},
    }


def on(bench: Bench, name: str, trained: str, **later: str) -> None:
    """Say on which kind of processor the stages of an entry ran."""
    run = Layout.of(bench.params).run_dir(name).path
    files = {"provenance.json": trained, "sampling.json": later.get("sampled", trained)}
    for file, isa in files.items():
        write_json(run / file, json.loads((run / file).read_text()) | {"kind": kind(isa)})
    for file, isa in (
        ("likelihood.json", later.get("likelihood", trained)),
        ("quality.json", later.get("quality", trained)),
    ):
        record = json.loads((run / file).read_text())
        write_json(run / file, record | {"made_from": record["made_from"] | {"kind": kind(isa)}})


def test_the_processor_is_named_for_each_row_as_soon_as_rows_differ(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.add("beta", "beta", bits=1.25)
    for name in ("alpha", "beta"):
        on(bench, name, "AVX2")
    board = bench.board()
    assert [r["processor"] for r in board["rows"]] == [
        "AMD, AVX2, torch 2.9",
        "AMD, AVX2, torch 2.9",
    ]
    assert "processor" not in markdown(board)
    assert "· AMD, AVX2" not in page(board, reading.read_entries(bench.params), Material())[0]
    on(bench, "beta", "AVX512_BF16", quality="AVX2")
    board = bench.board()
    text = markdown(board)
    assert text.count("| processor |") == 1
    lines = {
        line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")
    }
    assert lines["`alpha`"].endswith("| AMD, AVX2, torch 2.9 |")
    assert lines["`beta`"].endswith(
        "| AMD, AVX512_BF16, torch 2.9; samples scored on AMD, AVX2, torch 2.9 |"
    )
    html = page(board, reading.read_entries(bench.params), Material())[0]
    assert "· AMD, AVX2, torch 2.9</small>" in html
    assert "· AMD, AVX512_BF16, torch 2.9; samples scored on AMD, AVX2, torch 2.9</small>" in html
    rows = {line["entry"]: line for line in csv.DictReader(io.StringIO(csv_table(board)))}
    assert rows["alpha"]["processor"] == "AMD, AVX2, torch 2.9"


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("sampled", "sampled on"),
        ("likelihood", "likelihood scored on"),
        ("quality", "samples scored on"),
    ],
)
def test_a_stage_on_another_processor_is_named(bench: Bench, stage: str, words: str) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    on(bench, "alpha", "AVX2", **{stage: "AVX512"})
    assert (
        row(bench.board(), "alpha")["processor"]
        == f"AMD, AVX2, torch 2.9; {words} AMD, AVX512, torch 2.9"
    )


def test_a_mean_over_seeds_names_the_processors_of_all(bench: Bench) -> None:
    for seed, isa in enumerate(("AVX2", "AVX512")):
        bench.add(f"alpha-s{seed}", "alpha", bits=1.2, seed=seed)
        on(bench, f"alpha-s{seed}", isa)
    mean = next(r for r in bench.board()["rows"] if r["status"] == "aggregate")
    assert mean["processor"] == "AMD, AVX2, torch 2.9 / AMD, AVX512, torch 2.9"


def test_markdown_of_nothing(bench: Bench) -> None:
    bench.declare("alpha", "alpha")
    assert "Not complete: `alpha`" in markdown(bench.board())


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.23456, 0.0123, "1.235 ± 0.012"),
        (83.456, 0.5, "83.46 ± 0.50"),
        (1234.5, 12.0, "1234 ± 12"),
        (0.5, 0.0, "0.5000"),
        (0.0, None, "0"),
    ],
)
def test_errors_have_two_digits(value: float, error: float | None, text: str) -> None:
    assert plus_minus(value, error) == text


def test_small_numbers_are_not_rounded_away() -> None:
    assert float(number(0.00123)) == pytest.approx(0.00123, rel=1e-2)
    assert float(number(-0.5)) == -0.5


# ---------------------------------------------------------------------- the page


class Reader(HTMLParser):
    """Collects what a browser would load, the links, the texts of tables, and the tags that are not
    closed.
    """

    VOID = frozenset(("meta", "link", "img", "br", "use", "path"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.scripts = 0
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.scripts += tag == "script"
        if given.get("id"):
            self.ids.append(str(given["id"]))
        for key in ("src", "srcset", "data", "poster", "xlink:href"):
            if key in given:
                self.loaded.append(str(given[key]))
        if "href" in given:
            (self.links if tag == "a" else self.loaded).append(str(given["href"]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A written report with one of everything; tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "model_class", fake_class)
        bench = everything(Bench(tmp_path_factory.mktemp("full")))
        bench.write()
        yield bench


def everything(bench: Bench) -> Bench:
    bench.add("alpha", "alpha", bits=1.2)
    bench.add("alpha-s1", "alpha", bits=1.3, seed=1)
    run = bench.add("beta_cond", "beta", bits=1.25, conditional=True)
    image = io.BytesIO()
    Image.new("L", (8, 8)).save(image, "PNG")
    write_bytes(run / "pictures" / "walk.png", image.getvalue())
    picture = {
        "file": "walk.png",
        "kind": "interpolation",
        "title": "A <walk>",
        "caption": "from a to b",
    }
    write_json(run / "pictures" / "pictures.json", [picture])
    bench.add("delta", "delta", bits=1.0)
    bench.add("gamma", "gamma", fid=3.0)
    bench.add("floor", "floor", fid=0.5)
    bench.add("ceiling", "ceiling", bits=1.7, fid=300.0)
    bench.add("binary-alpha", "alpha", bits=0.2, dataset="binary_mnist")
    bench.declare("gone", "gamma", x=1)
    bench.fail("gone", "train", '</pre><script>alert(1)</script> & "quotes"')
    for dataset in LEVELS:
        bench.data(dataset)
    return bench


def test_the_page_stands_alone(full: Bench) -> None:
    text = full.page()
    reader = Reader(text)
    assert reader.open == []
    assert [place for place in reader.loaded if not place.startswith(("data:", "#"))] == []
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", text)
    assert all(
        link.startswith(("#", "https://arxiv.org/abs/", "../../docs/", "leaderboard."))
        for link in reader.links
    )
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    assert len(text.encode()) <= MAX_BYTES
    sections = (
        "summary",
        "board-mnist",
        "missing",
        "samples",
        "pictures",
        "curves",
        "cost",
        "published",
        "environment",
    )
    assert set(sections) <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))


def test_errors_are_shown_and_not_run(full: Bench) -> None:
    text = full.page()
    assert Reader(text).scripts == 1
    assert html.escape("</pre><script>alert(1)</script>") in text
    assert "A <walk>" not in text
    assert "A &lt;walk&gt;" in text


def test_equal_inputs_give_equal_files(bench: Bench, full: Bench) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {
            str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
        }

    everything(bench).write()
    first = files(Layout.of(full.params).report.path)
    assert first == files(Layout.of(bench.params).report.path)
    names = {
        "alpha-samples.png",
        "alpha-curves.png",
        "real-mnist-mixed.png",
        "real-mnist-by_class.png",
        "cost-mnist-1.png",
        "cost-mnist-2.png",
    }
    assert {f"figures/{name}" for name in names} <= first.keys()
    assert "figures/floor-curves.png" not in first


def test_groups_are_apart_and_controls_last(full: Bench) -> None:
    table = full.page().split('id="board-mnist"')[1].split("</table>")[0]
    groups = re.findall(r'<tr class="group">.*?<b>(.*?)</b>', table)
    assert groups == ["Exact", "Bound", "Estimate", "No likelihood", "Controls"]
    controls = table.split('<tbody class="controls">')[1]
    assert re.findall(r'<span class="entry">(.*?)</span>', controls) == ["ceiling", "floor"]
    assert table.count('<tbody class="controls">') == 1


def test_marks_and_notes_of_the_table(bench: Bench) -> None:
    everything(bench).sampling("beta_cond", matches=False, sampler="ddim-20")
    run = Layout.of(bench.params).run_dir("delta").path
    write_record(
        run / "likelihood.json",
        Record("delta", {}, {"nats": "ESS 3 is below 10", "bits_per_dim": "ESS 3 is below 10"}),
    )
    text, _ = page(bench.board(), reading.read_entries(bench.params), Material())
    section = text.split('id="board-mnist"')[1].split("</section>")[0]
    notes = re.findall(r"<li>(.*?)</li>", section.split('<ol class="notes">')[1])
    row_of = {
        name: part
        for part in section.split("<tr>")
        for name in re.findall(r'class="entry">(.*?)<', part)[:1]
    }
    (number_of,) = re.findall(r'<span class="entry">beta_cond</span><sup>(\d)</sup>', section)
    assert "cheaper or sharpened sampler" in notes[int(number_of) - 1]
    assert (
        '<span class="mark">≤</span><span class="val">1.250</span> <span class="err">± 0.010</span>'
        in row_of["beta_cond"]
    )
    assert '<span class="mark">=</span><span class="val">1.200</span>' in row_of["alpha"]
    withheld = set(re.findall(r"withheld</span><sup>(\d)</sup>", row_of["delta"]))
    assert {notes[int(n) - 1] for n in withheld} == {"delta: ESS 3 is below 10"}
    assert "conditional" in row_of["beta_cond"]


def test_estimates_do_not_win(full: Bench) -> None:
    section = full.page().split('id="board-mnist"')[1].split("</section>")[0]
    row_of = {
        name: part
        for part in section.split("<tr>")
        for name in re.findall(r'class="entry">(.*?)<', part)[:1]
    }
    assert 'class="best" title="bits/dim' in row_of["alpha"]
    assert "best" not in row_of["delta"]


def test_the_place_of_an_fid_between_the_controls(full: Bench) -> None:
    section = full.page().split('id="board-mnist"')[1].split("</section>")[0]
    places = dict(
        re.findall(
            r'class="entry">(\w+)</span>(?:(?!class="entry">).)*?left:([\d.]+)%',
            section,
            flags=re.DOTALL,
        )
    )
    assert float(places["gamma"]) == pytest.approx(
        100 * math.log(3.0 / 0.5) / math.log(300.0 / 0.5), abs=0.06
    )
    assert "floor" not in places


def test_every_entry_has_its_samples_and_real_ones_beside(full: Bench) -> None:
    section = full.page().split('id="samples"')[1].split("</section>")[0]
    pictures = {
        alt: data
        for data, alt in re.findall(r'src="data:image/png;base64,([^"]*)" alt="([^"]*)"', section)
    }
    assert {
        f"Samples of {name}" for name in ("alpha", "beta_cond", "gamma", "floor", "binary-alpha")
    } <= pictures.keys()
    assert {
        "100 real test images of mnist",
        "Real test images of mnist, a class per row",
        "100 real test images of binary_mnist",
    } <= pictures.keys()
    shown = Image.open(io.BytesIO(base64.b64decode(pictures["Samples of alpha"])))
    assert shown.size == (10 * 57 - 1, 10 * 57 - 1)
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28), dtype=np.uint8)
    pixels = np.asarray(shown)
    assert (pixels[57 * 3 : 57 * 3 + 56 : 2, 57 * 4 : 57 * 4 + 56 : 2] == images[34]).all()


@pytest.mark.parametrize("entries", [("alpha",), ("gamma",), ("floor",), ()])
def test_the_page_of_few_entries(bench: Bench, entries: tuple[str, ...]) -> None:
    bench.declare("gone", "beta", dataset="binary_mnist")
    for name in entries:
        bench.add(name, name, bits=None if MODELS[name][0] is Likelihood.NONE else 1.2)
    board = bench.write()
    assert Reader(bench.page()).open == []
    assert [r["entry"] for r in board["rows"]] == list(entries)
    assert "No entry of this data set has been trained yet." in bench.page()


def test_pictures_beyond_the_budget_become_files(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    noise = np.random.default_rng(0)
    items = []
    for i in range(40):
        write_bytes(
            run / "pictures" / f"v{i}.png", png(noise.integers(0, 256, (300, 500), dtype=np.uint8))
        )  # 150 kB, as noise stays
        items.append({"file": f"v{i}.png", "kind": "process", "title": f"title {i}", "caption": ""})
    write_json(run / "pictures" / "pictures.json", items)
    bench.write()
    text = bench.page()
    assert len(text.encode()) <= MAX_BYTES
    beside = re.findall(r'src="(figures/alpha-v\d+\.png)"', text)
    assert 0 < len(beside) < 40
    assert all((Layout.of(bench.params).report.path / name).is_file() for name in beside)
    assert sum(f"title {i} of alpha" in text for i in range(40)) == 40


def test_a_page_above_its_limit_has_its_pictures_beside_it_or_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything(bench)
    outcomes, pictures = (
        reading.read_entries(bench.params),
        Material(samples={"alpha": bytes(100_000)}),
    )
    board = bench.board()
    bare = len(page(board, outcomes, Material(samples={"alpha": bytes(10**7)}))[0].encode())
    monkeypatch.setattr("genbench.report.page.MAX_BYTES", bare + 1000)
    text, _ = page(board, outcomes, pictures)
    assert 'src="figures/alpha-samples.png"' in text
    assert len(text.encode()) <= bare + 1000
    monkeypatch.setattr("genbench.report.page.MAX_BYTES", bare // 2)
    with pytest.raises(UserError, match=r"without its pictures, above its limit .* 'quick'"):
        page(board, outcomes, pictures)


def test_only_families_with_a_page_are_linked(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.add("gamma", "gamma")
    write_text(bench.params.root / "docs" / "autoregressive.md", "# Autoregressive models")
    bench.write()
    links = {link for link in Reader(bench.page()).links if link.startswith("../../docs/")}
    assert links == {"../../docs/autoregressive.md"}
    assert ">adversarial" in bench.page()


def test_the_commit_is_shown_whole(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    path = run / "provenance.json"
    write_json(path, json.loads(path.read_text()) | {"git": "v0.1-3-gabcdef012345-dirty"})
    bench.write()
    assert "<code>v0.1-3-gabcdef012345-dirty</code>" in bench.page()


# ---------------------------------------------------------------------- published results


def test_published_results_stand_beside_the_models_of_their_family() -> None:
    """Both write a family's name alike; ``circuit`` has no model here."""
    ours = {model_class(name).family for name in model_names()} - {"control"}
    assert {
        row["family"]
        for block in ("mnist", "binary_mnist", "fid")
        for row in literature()[block]["rows"]
    } == ours | {"circuit"}


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


def test_our_rows_stand_at_their_place(full: Bench) -> None:
    board = json.loads(Layout.of(full.params).report.leaderboard.read_text())
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


def test_unconfirmed_numbers_are_marked(full: Bench) -> None:
    section = full.page().split('id="published"')[1].split("</section>")[0]
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


# ---------------------------------------------------------------------- figures


def test_a_class_per_row() -> None:
    labels = np.array([2, 0, 1, 1, 0, 2, 2, 1])
    images = np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    chosen, columns = pick(images, labels)
    assert columns == 2
    assert chosen[:, 0, 0].tolist() == [1, 4, 2, 3, 0, 5]
    chosen, columns = pick(images[:7], None)
    assert (chosen[:, 0, 0].tolist(), columns) == (list(range(7)), 7)


def test_labels_of_points_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation, Text

    boxes = []
    save: Callable[..., None] = Figure.savefig

    def spy(figure: Figure, *args: object, **options: object) -> None:
        save(figure, *args, **options)
        if options["format"] == "png":
            renderer = figure._get_renderer()
            notes = [
                child for child in figure.axes[0].get_children() if isinstance(child, Annotation)
            ]
            boxes.extend(
                (note.get_text(), Text.get_window_extent(note, renderer)) for note in notes
            )

    monkeypatch.setattr(Figure, "savefig", spy)
    points = [Point(f"entry_{i}", "flow", 10 + i % 3, 5 + i // 3 * 0.01) for i in range(9)] + [
        Point("far", "flow", 5000, 90)
    ]
    points.append(Point("ceiling", "control", 1e-6, 100, True))
    chart = scatter(points, ["flow"], xlabel="seconds", ylabel="bits", log_y=False)
    assert chart is not None
    assert sorted(text for text, _ in boxes) == sorted(p.name for p in points)
    overlapping = [
        (a[0], b[0]) for i, a in enumerate(boxes) for b in boxes[:i] if a[1].overlaps(b[1])
    ]
    assert overlapping == []
    assert all(f">{p.name}<" in chart.svg for p in points)


def test_charts_without_points() -> None:
    import pandas as pd

    assert scatter([], [], xlabel="x", ylabel="y", log_y=True) is None
    assert (
        scatter(
            [Point("a", "control", 1.0, 1.0, True)], ["flow"], xlabel="x", ylabel="y", log_y=True
        )
        is None
    )
    assert (
        scatter([Point("a", "flow", 0.0, 1.0)], ["flow"], xlabel="x", ylabel="y", log_y=True)
        is None
    )
    assert curves(pd.DataFrame({"step": []}), "alpha") is None
    assert (
        curves(pd.DataFrame({"step": [1], "loss/loss": [2.0], "other/loss": [np.nan]}), "alpha")
        is not None
    )


def test_the_real_schema_of_a_data_set_is_the_one_drawn() -> None:
    assert reading.spec_of("mnist") == DataSpec(28, 28, 256, 10)
