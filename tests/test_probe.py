"""The stage ``probe`` on a small project, against what is computed by hand from its files."""

from __future__ import annotations

import functools
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from genbench.config.layout import Layout
from genbench.config.params import Entry, Params
from genbench.config.profile import Profile
from genbench.data.splits import Dataset
from genbench.files import read_npz, write_json
from genbench.models.rbm import RBM
from genbench.pipeline.stage_runner import call_stage
from genbench.results.entry import State, read_entry
from genbench.scoring.odd_inputs import ODD_INPUTS
from genbench.scoring.records import Record, read_record, write_record
from genbench.seeding import generator_for
from tests import by_hand, small_project
from tests.small_project import ENTRIES, SIZES

NAMES = ("made", "rbm", "copy", "gan")
MARGINALS = Entry("marginals", "pixel_marginals", "binary_mnist", 5, {}, {}, {}, {})
BITS = 784 * math.log(2)
SEEN = 144
"""Of 320 images: nine steps of 16."""


@pytest.fixture(scope="module")
def scored(
    tmp_path_factory: pytest.TempPathFactory, mnist: Dataset, binary_mnist: Dataset
) -> Params:
    """Some entries of the small project, trained, sampled and scored."""
    params = small_project.project(tmp_path_factory.mktemp("probe"), mnist, binary_mnist)
    entries = {name: ENTRIES[name] for name in NAMES} | {MARGINALS.name: MARGINALS}
    params = replace(params, entries=entries)
    for stage in small_project.STAGES:
        write_json(Layout.of(params).fingerprint(MARGINALS.name, stage), {"hash": stage})
    with small_project.stage_settings():
        for name in entries:
            for stage in small_project.STAGES:
                call_stage(stage, params, name)
    return params


def probed(params: Params, name: str, **options: Any) -> tuple[Record, dict[str, np.ndarray]]:
    call_stage("probe", params, name, **options)
    run_dir = Layout.of(params).run_dir(name)
    return read_record(run_dir.probe), read_npz(run_dir.neighbours)


def nats_of(params: Params, name: str, x: Tensor) -> np.ndarray:
    model = small_project.trained(params, name)
    return -model.log_likelihood(x, rng=Generator()).detach().double().numpy()


def test_odd_inputs_cost_what_the_model_says(scored: Params, binary_mnist: Dataset) -> None:
    record, neighbours = probed(scored, "made")
    assert neighbours == {}
    assert set(record.metrics) == {f"bits_per_dim_{kind}" for kind in ("digits", *ODD_INPUTS)}
    assert not record.made_from["memorisation"]
    nats = read_npz(Layout.of(scored).run_dir("made").nats)
    digits = binary_mnist.test_x[nats["index"][by_hand.spread(300, 30)]]
    expected = {
        "digits": nats["nats"][by_hand.spread(300, 30)],
        "mirrored": nats_of(scored, "made", digits.flip(3)),
        "rotated": nats_of(scored, "made", digits.rot90(1, (2, 3))),
        "inverted": nats_of(scored, "made", 1 - digits),
        "black": nats_of(scored, "made", torch.zeros_like(digits)),
    }
    for kind, own in expected.items():
        metric = record.metrics[f"bits_per_dim_{kind}"]
        assert metric.value == pytest.approx(own.mean() / BITS, rel=1e-6), kind
        error = own.std(ddof=1) / math.sqrt(30) / BITS
        assert metric.stderr == pytest.approx(error, rel=1e-4, abs=1e-9)
        assert (metric.n, metric.kind, metric.higher_is_better) == (30, "exact", None)
    assert record.metrics["bits_per_dim_black"].stderr == pytest.approx(0, abs=1e-6)


def test_the_gap_is_between_test_images_and_those_that_training_saw(
    scored: Params, binary_mnist: Dataset
) -> None:
    record, _ = probed(scored, "made", memorisation=True)
    metric = record.metrics["nats_gap"]
    order = torch.randperm(SIZES["train"], generator=generator_for("order", "made", 3, "loss", 0))
    data = small_project.cut(binary_mnist)
    seen = data.train_x[order[:SEEN].sort().values]
    nats = read_npz(Layout.of(scored).run_dir("made").nats)
    chosen = by_hand.spread(300, SEEN)
    tests = data.test_x[nats["index"][chosen]]
    marginal = [by_hand.independent_pixels(data.train_x, x, 2) for x in (tests, seen)]
    own = nats["nats"][chosen], nats_of(scored, "made", seen)
    test, train = (one - control for one, control in zip(own, marginal, strict=True))
    assert metric.value == pytest.approx(test.mean() - train.mean(), rel=1e-5)
    error = math.sqrt(test.var(ddof=1) / SEEN + train.var(ddof=1) / SEEN)
    assert metric.stderr == pytest.approx(error, rel=1e-5)
    assert metric.detail["uncorrected"] == pytest.approx(own[0].mean() - own[1].mean(), rel=1e-5)
    assert (metric.n, metric.detail["seen_n"]) == (SEEN, SEEN)
    assert metric.detail["seen_share"] == SEEN / SIZES["train"]


def test_a_normaliser_is_taken_from_the_record_and_not_estimated_again(
    scored: Params, binary_mnist: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = Layout.of(scored).run_dir("rbm")
    likelihood = read_record(run_dir.likelihood)
    detail = likelihood.metrics["nats"].detail

    @functools.wraps(RBM.prepare_likelihood)
    def refuse(self: RBM, **options: object) -> dict[str, float]:
        raise AssertionError("it is known")

    monkeypatch.setattr(RBM, "prepare_likelihood", refuse)
    record, _ = probed(scored, "rbm", memorisation=True)
    model = small_project.trained(scored, "rbm")
    model.get_buffer("log_z").fill_(detail["log_z"])
    index = read_npz(run_dir.nats)["index"]
    digits = binary_mnist.test_x[index[by_hand.spread(300, 30)]]
    inverted = -model.log_likelihood(1 - digits, rng=Generator()).mean() / BITS
    metric = record.metrics["bits_per_dim_inverted"]
    assert metric.value == pytest.approx(float(inverted), rel=1e-6)
    assert metric.kind == "estimate"
    assert record.metrics["nats_gap"].stderr is not None
    monkeypatch.undo()
    forgotten = {key: replace(metric, detail={}) for key, metric in likelihood.metrics.items()}
    write_record(run_dir.likelihood, replace(likelihood, metrics=forgotten))
    try:
        assert probed(scored, "rbm", memorisation=True)[0] == record
    finally:
        write_record(run_dir.likelihood, likelihood)


def test_a_likelihood_that_is_withheld_withholds_the_gap(scored: Params) -> None:
    run_dir = Layout.of(scored).run_dir("rbm")
    likelihood = read_record(run_dir.likelihood)
    write_record(run_dir.likelihood, replace(likelihood, metrics={}, withheld={"nats": "no"}))
    try:
        assert probed(scored, "rbm")[0].withheld == {}
        record, _ = probed(scored, "rbm", memorisation=True)
    finally:
        write_record(run_dir.likelihood, likelihood)
    assert record.withheld["nats_gap"] == "no"
    assert set(record.metrics) == {"copied_share"}


def test_the_row_that_gaps_are_compared_with_has_none(scored: Params) -> None:
    record, _ = probed(scored, "marginals", memorisation=True)
    assert record.withheld["nats_gap"] == "it is the row that others are compared with"
    assert "copied_share" in record.metrics
    assert "bits_per_dim_mirrored" in record.metrics


def test_copies_are_found_and_shown(scored: Params, mnist: Dataset) -> None:
    record, neighbours = probed(scored, "copy", memorisation=True)
    metric = record.metrics["copied_share"]
    assert (metric.value, metric.n, metric.detail["flagged"]) == (1, 23, True)
    samples = read_npz(Layout.of(scored).run_dir("copy").samples)["images"]
    assert np.array_equal(neighbours["images"], samples[neighbours["sample"]])
    assert not neighbours["distance"][:, 0].any()
    stored = small_project.cut(mnist).train_x[:, 0].numpy()
    assert np.array_equal(stored[neighbours["train"][:, 0]], neighbours["images"])
    assert set(record.metrics) == {"copied_share"}, "it has no likelihood"


@pytest.mark.parametrize(
    ("asked", "probes"), [("none", ()), ("controls", ("copy",)), ("all", ("copy", "gan", "made"))]
)
def test_the_profile_says_whose_memorisation_is_looked_for(
    scored: Params, asked: str, probes: tuple[str, ...]
) -> None:
    given = {field.name: getattr(scored, field.name) for field in fields(scored)}
    profile = Profile(**given, memorisation=asked)
    for name in ("copy", "gan", "made"):
        record, neighbours = probed(profile, name)
        assert ("copied_share" in record.metrics) == (name in probes), name
        assert bool(neighbours) == (name in probes)


def test_a_probe_is_out_of_date_when_more_is_asked_for(scored: Params) -> None:
    given = {field.name: getattr(scored, field.name) for field in fields(scored)}
    asking = Profile(**given, memorisation="all")
    probed(scored, "gan")
    assert read_entry(scored, scored.entry("gan")).probe.state is State.PRESENT
    part = read_entry(asking, scored.entry("gan")).probe
    assert (part.state, part.problem) == (
        State.OUTDATED,
        "memorisation was not looked for, and protocol.memorisation asks for it now",
    )
    probed(asking, "gan")
    for params in (asking, scored):
        part = read_entry(params, scored.entry("gan")).probe
        assert (part.state, part.counts) == (State.PRESENT, True)
    samples = Layout.of(scored).run_dir("gan").samples
    before = samples.read_bytes()
    np.savez(samples, **{**read_npz(samples), "more": np.ones(1)})
    problem = read_entry(scored, scored.entry("gan")).probe.problem
    samples.write_bytes(before)
    assert problem == "the samples are other ones now"


@pytest.mark.parametrize(
    "arrays",
    [
        {"sample": np.arange(3)},
        {"sample": np.arange(3), "distance": np.ones((3, 2)), "images": np.ones((2, 28, 28))},
        {
            "sample": np.arange(3),
            "distance": np.ones((3, 2)),
            "images": np.full((2, 28, 28), 1, np.uint8),
        },
        {
            "sample": -np.ones(3, int),
            "distance": np.ones((3, 2)),
            "images": np.full((3, 28, 28), 1, np.uint8),
        },
    ],
)
def test_damaged_neighbours_are_named(
    scored: Params, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    probed(scored, "gan")
    np.savez(Layout.of(scored).run_dir("gan").neighbours, **arrays)
    part = read_entry(scored, scored.entry("gan")).probe
    probed(scored, "gan")
    assert part.state is State.DAMAGED
    assert "neighbours.npz: must hold sample, distance and images" in part.problem
