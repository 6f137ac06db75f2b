"""What the stage of the likelihoods writes, beside log-likelihoods of the same images by direct
calls, and formulas written out.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genbench.base import GenerativeModel
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.data.splits import Dataset
from genbench.files import read_npz
from genbench.pipeline.stage_runner import call_stage
from tests import by_hand
from tests.small_project import (
    ENTRIES,
    TRAIN,
    Call,
    Spy,
    cut,
    install_models,
    project,
    trained,
    with_spy,
)

CHUNK = 250
CHEAP, COSTLY = by_hand.spread(610, 300), by_hand.spread(610, 24)


@pytest.fixture
def binary(binary_mnist: Dataset) -> Dataset:
    return cut(binary_mnist)


@pytest.fixture
def grey(mnist: Dataset) -> Dataset:
    return cut(mnist)


def record_of(params: Params, name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(
        Layout.of(params).run_dir(name).likelihood.read_text(encoding="utf-8")
    )
    return record


def log_p(
    model: GenerativeModel,
    name: str,
    purpose: str,
    x: Tensor,
    y: Tensor | None,
    index: Sequence[int],
    **options: Any,
) -> np.ndarray:
    """Log P (or log P(x|y)) of some images: pieces of 250, each with a generator of its own."""
    parts = []
    for number, begin in enumerate(range(0, len(index), CHUNK)):
        chosen = list(index[begin : begin + CHUNK])
        noise = by_hand.rng("score", name, ENTRIES[name].seed, purpose, number)
        with torch.no_grad():
            parts.append(
                model.log_likelihood(
                    x[chosen], None if y is None else y[chosen], rng=noise, **options
                )
            )
    return torch.cat(parts).double().numpy()


def check_mean(
    metric: dict[str, Any], values: np.ndarray, *, scale: float = 1.0, **fields: Any
) -> None:
    """That a metric is a mean over images with its standard error, and says what it is."""
    deviation = math.sqrt(sum((value - values.mean()) ** 2 for value in values) / (len(values) - 1))
    extra = fields.pop("extra_stderr", 0.0)
    assert metric["value"] == pytest.approx(scale * values.mean(), rel=1e-5)
    assert metric["stderr"] == pytest.approx(
        scale * math.hypot(deviation / math.sqrt(len(values)), extra), rel=1e-4
    )
    assert {key: metric[key] for key in ("n", "kind", "higher_is_better", "detail")} == {
        "n": len(values),
        "higher_is_better": False,
        "detail": {},
        **fields,
    }


BITS = 1 / (784 * math.log(2))


def test_exact_likelihoods_are_those_of_evenly_spread_test_images(
    finished: Params, binary: Dataset
) -> None:
    model = trained(finished, "made")
    expected = -log_p(model, "made", "nats", binary.test_x, None, CHEAP)
    arrays, record = read_npz(Layout.of(finished).run_dir("made").nats), record_of(finished, "made")
    assert arrays.keys() == {"index", "nats"}
    assert arrays["index"].tolist() == CHEAP != list(range(300))
    assert np.array_equal(arrays["nats"], expected)
    assert record["metrics"].keys() == {"nats", "bits_per_dim"}
    check_mean(record["metrics"]["nats"], expected, kind="exact")
    check_mean(record["metrics"]["bits_per_dim"], expected, scale=BITS, kind="exact")
    assert record["entry"] == "made"
    assert record["withheld"] == {}
    weights = hashlib.sha256(Layout.of(finished).run_dir("made").weights.read_bytes()).hexdigest()
    kind = json.loads(Layout.of(finished).run_dir("made").provenance.read_text())["kind"]
    assert record["made_from"].items() >= {"weights": weights, "kind": kind}.items()


def test_a_bound_with_draws_is_summed_over_classes_on_few_images_and_its_elbo_taken_on_many(
    finished: Params, grey: Dataset
) -> None:
    """3 draws of 10 classes are 30 passes an image, more than the 10 that many images may cost; a
    single draw with the own label is one.
    """
    model, x, y = trained(finished, "cvae"), grey.test_x, grey.test_y
    assert y is not None
    columns = []
    for label in range(10):
        noise = by_hand.rng("score", "cvae", 1, "nats", 0, label)
        columns.append(
            model.log_likelihood(x[COSTLY], torch.full((24,), label), rng=noise, draws=3)
        )
    by_class = torch.stack(columns, 1).numpy()
    own = y[COSTLY].numpy()
    whole = -np.log(np.exp(by_class - by_class.max(1, keepdims=True)).mean(1)) - by_class.max(1)
    conditional = -by_class[np.arange(24), own]
    elbo = math.log(10) - log_p(model, "cvae", "elbo_nats", x, y, CHEAP, draws=1)
    arrays, metrics = (
        read_npz(Layout.of(finished).run_dir("cvae").nats),
        record_of(finished, "cvae")["metrics"],
    )
    assert (arrays["index"].tolist(), arrays["index_elbo_nats"].tolist()) == (COSTLY, CHEAP)
    for name, values in {"nats": whole, "conditional_nats": conditional, "elbo_nats": elbo}.items():
        assert np.allclose(arrays[name], values, rtol=1e-5), name
        check_mean(
            metrics[name],
            values,
            kind="lower_bound",
            detail={"draws": 1 if name == "elbo_nats" else 3},
        )
    check_mean(metrics["bits_per_dim"], whole, scale=BITS, kind="lower_bound", detail={"draws": 3})
    right = (by_class.argmax(1) == own).astype(float)
    assert arrays["bayes_accuracy"].tolist() == right.tolist()
    assert 0 < right.sum() < 24
    assert metrics["bayes_accuracy"]["value"] == pytest.approx(right.mean())
    assert metrics["bayes_accuracy"]["stderr"] == pytest.approx(right.std(ddof=1) / math.sqrt(24))
    assert (metrics["bayes_accuracy"]["higher_is_better"], metrics["bayes_accuracy"]["kind"]) == (
        True,
        None,
    )


def test_diagnostics_are_of_the_spread_images_with_their_labels(
    finished: Params, grey: Dataset
) -> None:
    model, metrics = trained(finished, "cvae"), record_of(finished, "cvae")["metrics"]
    assert grey.test_y is not None
    expected = model.diagnostics(
        grey.test_x[CHEAP], grey.test_y[CHEAP], rng=by_hand.rng("diagnostics", "cvae", 1)
    )
    found = {name: metric for name, metric in metrics.items() if metric["higher_is_better"] is None}
    assert {name: metric["value"] for name, metric in found.items()} == pytest.approx(
        expected, rel=1e-5
    )
    assert {(metric["n"], metric["stderr"], metric["kind"]) for metric in found.values()} == {
        (300, None, None)
    }
    prefix = model.diagnostics(
        grey.test_x[:300], grey.test_y[:300], rng=by_hand.rng("diagnostics", "cvae", 1)
    )
    assert found["rate_nats"]["value"] != pytest.approx(prefix["rate_nats"], rel=1e-4)


def test_classes_that_may_not_be_summed_cost_the_label_too(finished: Params, grey: Dataset) -> None:
    model = trained(finished, "ddpm")
    conditional = -log_p(model, "ddpm", "nats", grey.test_x, grey.test_y, CHEAP, terms=3)
    arrays, metrics = (
        read_npz(Layout.of(finished).run_dir("ddpm").nats),
        record_of(finished, "ddpm")["metrics"],
    )
    assert arrays["index"].tolist() == CHEAP
    for name, values in {
        "nats": conditional + math.log(10),
        "conditional_nats": conditional,
    }.items():
        assert np.allclose(arrays[name], values, rtol=1e-5), name
        check_mean(metrics[name], values, kind="lower_bound")
    assert not {"bayes_accuracy", "elbo_nats"} & metrics.keys()


def test_an_estimate_rests_on_its_normaliser(finished: Params, binary: Dataset) -> None:
    model = trained(finished, "rbm")
    prepared = model.prepare_likelihood(
        rng=by_hand.rng("prepare_likelihood", "rbm", 5), chains=24, temperatures=40
    )
    expected = -log_p(model, "rbm", "nats", binary.test_x, None, CHEAP)
    metrics = record_of(finished, "rbm")["metrics"]
    assert np.array_equal(read_npz(Layout.of(finished).run_dir("rbm").nats)["nats"], expected)
    assert prepared["log_z_stderr"] > 0
    for name, scale in (("nats", 1.0), ("bits_per_dim", BITS)):
        check_mean(
            metrics[name],
            expected,
            scale=scale,
            kind="estimate",
            detail=prepared,
            extra_stderr=prepared["log_z_stderr"],
        )


@pytest.mark.parametrize("name", ["gan", "copy"])
def test_without_a_likelihood_the_record_is_empty(finished: Params, name: str) -> None:
    assert read_npz(Layout.of(finished).run_dir(name).nats) == {}
    record = record_of(finished, name)
    assert (record["metrics"], record["withheld"]) == ({}, {})


# ---------------------------------------------------------------------- what a model is asked


@pytest.fixture
def spied(tmp_path: Path, mnist: Dataset, monkeypatch: pytest.MonkeyPatch) -> Iterator[Params]:
    """A project with an entry whose model notes down its calls, trained in bfloat16."""
    install_models(tmp_path / "site", monkeypatch)
    params = with_spy(
        project(tmp_path, mnist), train={**TRAIN, "arithmetic": {"cpu": {"precision": "bfloat16"}}}
    )
    call_stage("train", params, "spy")
    assert {call.precision for call in Spy.calls if call.method == "training_loss"} == {
        torch.bfloat16
    }
    Spy.calls.clear()
    yield params
    Spy.calls.clear()


def asked(method: str) -> list[Call]:
    return [call for call in Spy.calls if call.method == method]


def test_each_call_has_its_images_labels_options_and_generator(
    spied: Params, grey: Dataset
) -> None:
    call_stage("score_likelihood", spied, "spy")
    assert grey.test_y is not None
    x, y = grey.test_x, grey.test_y.tolist()
    prepared, scored, diagnosed = (
        asked("prepare_likelihood"),
        asked("log_likelihood"),
        asked("diagnostics"),
    )
    assert [(call.options, call.seed) for call in prepared] == [
        ({"chains": 7}, by_hand.seed("prepare_likelihood", "spy", 6))
    ]
    assert len(scored) == 12
    for label, call in enumerate(scored[:10]):
        assert call.x is not None and torch.equal(call.x, x[COSTLY])
        assert call.y == 24 * [label]
        assert call.options == {"draws": 2, "scale": 0.5}
        assert call.seed == by_hand.seed("score", "spy", 6, "nats", 0, label)
    for number, call in enumerate(scored[10:]):
        index = CHEAP[:250] if number == 0 else CHEAP[250:]
        assert call.x is not None and torch.equal(call.x, x[index])
        assert call.y == [y[i] for i in index]
        assert call.options == {"draws": 1, "scale": 0.5}
        assert call.seed == by_hand.seed("score", "spy", 6, "elbo_nats", number)
    (last,) = diagnosed
    assert last.x is not None and torch.equal(last.x, x[CHEAP])
    assert last.y == [y[i] for i in CHEAP]
    assert last.seed == by_hand.seed("diagnostics", "spy", 6)


def test_a_score_is_in_float32_in_eval_mode_whatever_the_training_was(spied: Params) -> None:
    call_stage("score_likelihood", spied, "spy")
    assert {call.method for call in Spy.calls} == {
        "prepare_likelihood",
        "log_likelihood",
        "diagnostics",
    }
    assert {(call.precision, call.training, call.threads) for call in Spy.calls} == {
        (torch.float32, False, 1)
    }
    assert {call.gradients for call in asked("log_likelihood") + asked("diagnostics")} == {False}


def test_scores_of_the_spy_are_its_closed_form(spied: Params, grey: Dataset) -> None:
    """log P(x|y) = -scale (sum of x + y / draws): the mean over classes takes log sum exp(-scale y
    / draws) - log 10 off, whatever the image.
    """
    call_stage("score_likelihood", spied, "spy")
    assert grey.test_y is not None
    light, y = (grey.test_x.double() / 255).sum((1, 2, 3)).numpy(), grey.test_y.numpy()
    arrays, metrics = (
        read_npz(Layout.of(spied).run_dir("spy").nats),
        record_of(spied, "spy")["metrics"],
    )
    classes = math.log(10) - math.log(sum(math.exp(-0.5 * label / 2) for label in range(10)))
    expected = {
        "nats": 0.5 * light[COSTLY] + classes,
        "conditional_nats": 0.5 * (light + y / 2)[COSTLY],
        "elbo_nats": 0.5 * (light + y)[CHEAP] + math.log(10),
        "bayes_accuracy": (y[COSTLY] == 0).astype(float),
    }
    for name, values in expected.items():
        assert np.allclose(arrays[name], values, rtol=1e-6), name
    detail = {"draws": 2, "log_z": 1.5, "log_z_stderr": 0.25}
    check_mean(
        metrics["nats"], expected["nats"], kind="lower_bound", detail=detail, extra_stderr=0.25
    )
    check_mean(
        metrics["elbo_nats"],
        expected["elbo_nats"],
        kind="lower_bound",
        detail=detail | {"draws": 1},
        extra_stderr=0.25,
    )


def test_a_killed_score_goes_on_and_prepares_once(
    spied: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_stage("score_likelihood", spied, "spy")
    expected = {
        name: (Layout.of(spied).run_dir("spy").path / name).read_bytes()
        for name in ("nats.npz", "likelihood.json")
    }
    for folder in Layout.of(spied).unfinished.glob("*-score_likelihood-*"):
        for chunk in ("elbo_nats-0.npz", "elbo_nats-1.npz", "done"):
            (folder / chunk).unlink()
    Spy.calls.clear()
    call_stage("score_likelihood", spied, "spy")
    assert [call.method for call in Spy.calls] == [
        "log_likelihood",
        "log_likelihood",
        "diagnostics",
    ]
    assert {
        name: (Layout.of(spied).run_dir("spy").path / name).read_bytes() for name in expected
    } == expected
