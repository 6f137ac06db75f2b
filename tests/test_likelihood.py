"""From log-likelihoods to table columns, against sums written out by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from genbench.base import DataSpec, GenerativeModel, Likelihood
from genbench.config.params import Entry
from genbench.data.subsets import strided
from genbench.errors import UserError
from genbench.scoring.likelihood import (
    Plan,
    bits_per_dim,
    diagnose,
    plan_for,
    score_chunk,
    score_options,
    summarise,
)
from genbench.seeding import generator_for
from tests.params_factory import protocol
from tests.toys import ToyFVBN, ToyGAN, ToyVAE

PROTOCOL = protocol(images={1: 400, 10: 40, 200: 20})
SPEC = DataSpec(3, 3, 2, 3)


def entry(**score: Any) -> Entry:
    return Entry("toy", "toy", "toy", 0, {}, {}, {}, score)


def images(n: int = 512) -> Tensor:
    """The images of 3 x 3 pixels, which are 512, in an order without any pattern."""
    every = torch.tensor(list(itertools.product([0, 1], repeat=9)), dtype=torch.uint8).view(
        -1, 1, 3, 3
    )
    return every[torch.randperm(512, generator=Generator().manual_seed(0))[:n]]


CHOSEN = [i * 512 // 400 for i in range(400)]
"""The 400 of the 512 that a cheap likelihood is taken on; the first 400 are others."""


def run(
    model: GenerativeModel, x: Tensor, y: Tensor | None, **score: Any
) -> tuple[Any, dict[str, np.ndarray]]:
    results = {}
    for plan in plan_for(model.eval(), entry(**score), PROTOCOL, len(x)):
        chunks = [
            score_chunk(model, plan, number, x, y, entry(**score))["log_p"]
            for number in range(len(plan.chunks))
        ]
        results[plan.purpose] = plan, np.concatenate(chunks)
    return summarise(
        model,
        entry(**score),
        results,
        None if y is None else y.numpy(),
        model.prepare_likelihood(rng=Generator()),
    )


def test_nats_become_bits_per_dim_once_and_right() -> None:
    assert bits_per_dim(784 * math.log(2), 784) == pytest.approx(1.0)
    # The published example of the literature table.
    assert bits_per_dim(79.20, 784) == pytest.approx(0.1457, abs=5e-5)
    assert bits_per_dim(439.1, 784) == pytest.approx(0.808, abs=5e-4)


def test_strides_are_even_and_never_a_prefix() -> None:
    assert strided(10_000, 1000).tolist() == list(range(0, 10_000, 10))
    assert strided(100, 64)[-1] == 98
    assert strided(5, 64).tolist() == [0, 1, 2, 3, 4]


def test_exact_unconditional() -> None:
    model, x = ToyFVBN(DataSpec(3, 3, 2)), images()
    record, arrays = run(model, x, None)
    expected = -model.log_likelihood(x[CHOSEN], rng=Generator())
    nats = record.metrics["nats"]
    assert arrays["index"].tolist() == CHOSEN != list(range(400))
    assert np.allclose(arrays["nats"], expected.detach().numpy())
    assert nats.value == pytest.approx(float(expected.detach().mean()))
    assert nats.stderr == pytest.approx(float(expected.std()) / 20)
    assert (nats.n, nats.kind, nats.higher_is_better) == (400, "exact", False)
    assert record.metrics["bits_per_dim"].value == pytest.approx(nats.value / (9 * math.log(2)))
    assert set(record.metrics) == {"nats", "bits_per_dim"}


def test_class_sums_of_a_conditional_model() -> None:
    model, x, y = ToyFVBN(SPEC, conditional=True), images(), torch.arange(512) % 3
    record, _ = run(model, x, y)
    by_class = torch.stack(
        [model.log_likelihood(x[CHOSEN], torch.full((400,), c), rng=Generator()) for c in range(3)],
        1,
    )
    marginal, own = by_class.exp().mean(1).log(), y[CHOSEN]
    assert record.metrics["nats"].value == pytest.approx(-float(marginal.mean()))
    assert record.metrics["conditional_nats"].value == pytest.approx(
        -float(by_class[torch.arange(400), own].mean())
    )
    assert record.metrics["bayes_accuracy"].value == pytest.approx(
        float((by_class.argmax(1) == own).double().mean())
    )
    assert record.metrics["bayes_accuracy"].higher_is_better
    assert {m.kind for name, m in record.metrics.items() if name != "bayes_accuracy"} == {"exact"}


def test_classes_that_may_not_be_summed_give_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyFVBN, "sums_classes", False)
    model, x, y = ToyFVBN(SPEC, conditional=True), images(), torch.arange(512) % 3
    record, _ = run(model, x, y)
    own = -model.log_likelihood(x[CHOSEN], y[CHOSEN], rng=Generator())
    assert record.metrics["nats"].value == pytest.approx(float(own.mean()) + math.log(3))
    assert record.metrics["nats"].kind == "lower_bound"
    assert record.metrics["conditional_nats"].kind == "exact"
    assert "bayes_accuracy" not in record.metrics


def test_bounds_with_draws_also_report_the_elbo_on_more_images() -> None:
    model = ToyVAE(DataSpec(3, 3, 2))
    record, arrays = run(model, images(), None, draws=64)
    assert (record.metrics["nats"].n, record.metrics["elbo_nats"].n) == (40, 400)
    assert record.metrics["nats"].detail == {"draws": 64}
    assert record.metrics["elbo_nats"].detail == {"draws": 1}
    assert arrays["index"].tolist() == [i * 512 // 40 for i in range(40)]
    assert arrays["index_elbo_nats"].tolist() == CHOSEN
    same = [arrays["elbo_nats"][CHOSEN.index(i)] for i in arrays["index"]]
    assert arrays["nats"].mean() < np.mean(same), "64 draws give the tighter bound"


def test_few_passes_use_all_images() -> None:
    assert len(plan_for(ToyVAE(DataSpec(3, 3, 2)), entry(draws=9), PROTOCOL, 400)[0].index) == 400
    assert len(plan_for(ToyVAE(DataSpec(3, 3, 2)), entry(draws=10), PROTOCOL, 400)[0].index) == 40
    assert (
        len(plan_for(ToyVAE(SPEC, conditional=True), entry(draws=4), PROTOCOL, 400)[0].index) == 40
    ), "4 draws times 3 classes"
    assert len(plan_for(ToyVAE(DataSpec(3, 3, 2)), entry(draws=199), PROTOCOL, 400)[0].index) == 40
    assert len(plan_for(ToyVAE(DataSpec(3, 3, 2)), entry(draws=200), PROTOCOL, 400)[0].index) == 20


def test_no_likelihood_no_plan() -> None:
    assert plan_for(ToyGAN(SPEC), entry(), PROTOCOL, 400) == []


def test_a_chunk_does_not_depend_on_the_others() -> None:
    model, x = ToyVAE(DataSpec(3, 3, 2)).eval(), images(400)
    plan = plan_for(model, entry(draws=3), PROTOCOL, 400)[0]
    second = score_chunk(model, plan, 1, x, None, entry(draws=3))["log_p"]
    score_chunk(model, plan, 0, x, None, entry(draws=3))
    assert np.array_equal(score_chunk(model, plan, 1, x, None, entry(draws=3))["log_p"], second)
    assert [len(c) for c in plan.chunks] == [250, 150]


def prepared(model: GenerativeModel, values: dict[str, float]) -> Any:
    plan = Plan("nats", np.arange(4), {}, all_classes=False)
    return summarise(
        model, entry(), {"nats": (plan, np.array([-1.0, -2.0, -3.0, -4.0]))}, None, values
    )[0]


def test_errors_of_log_z_add_in_quadrature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyFVBN, "likelihood", Likelihood.ESTIMATE)
    record = prepared(
        ToyFVBN(DataSpec(3, 3, 2)),
        {"log_z": 3.0, "log_z_stderr": 0.5, "ess": 90.0, "ess_floor": 10.0},
    )
    images_alone = math.sqrt(np.var([1, 2, 3, 4], ddof=1) / 4)
    assert record.metrics["nats"].stderr == pytest.approx(math.sqrt(images_alone**2 + 0.25))
    assert record.metrics["nats"].kind == "estimate"


def test_an_estimate_below_the_floor_is_withheld_with_its_reason() -> None:
    record = prepared(ToyFVBN(DataSpec(3, 3, 2)), {"log_z": 3.0, "ess": 3.0, "ess_floor": 10.0})
    assert record.metrics == {}
    assert set(record.withheld) == {"nats", "bits_per_dim"}
    assert "effective sample size 3.0 is below the floor of 10" in record.withheld["nats"]


def test_an_infinite_likelihood_is_an_error_that_names_the_image() -> None:
    plan = Plan("nats", np.array([0, 10, 20]), {}, all_classes=False)
    with pytest.raises(FloatingPointError, match="test image 10 is not finite"):
        summarise(
            ToyFVBN(DataSpec(3, 3, 2)),
            entry(),
            {"nats": (plan, np.array([-1.0, -np.inf, -1.0]))},
            None,
            {},
        )


def test_unknown_score_options_are_named() -> None:
    with pytest.raises(
        UserError, match=r"entries\.toy\.score\.draw: unknown parameter; did you mean 'draws'"
    ):
        score_options(ToyVAE(DataSpec(3, 3, 2)), entry(draw=3))


class Telling(ToyVAE):
    """Says which images and labels it was shown: sums in which each has a weight of its own."""

    def diagnostics(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> dict[str, float]:
        place = torch.arange(1, len(x) + 1)
        return {
            "images": float((place * (x.flatten(1).long() @ 2 ** torch.arange(9))).sum()),
            "labels": -1.0 if y is None else float((place * y).sum()),
            "noise": float(torch.rand((), generator=rng)),
        }


@pytest.mark.parametrize("conditional", [False, True])
def test_diagnostics_are_of_the_images_that_cheap_likelihoods_are_scored_on(
    conditional: bool,
) -> None:
    model, x, y = Telling(SPEC, conditional=conditional), images(), torch.arange(512) ** 2 % 3
    metrics = diagnose(model, x, y, entry(), PROTOCOL)
    own = y[CHOSEN] if conditional else None
    expected = model.diagnostics(x[CHOSEN], own, rng=generator_for("diagnostics", "toy", 0))
    assert {name: metric.value for name, metric in metrics.items()} == expected
    prefix = model.diagnostics(x[:400], y[:400], rng=Generator())
    assert expected["images"] != prefix["images"]
    assert expected["labels"] != prefix["labels"]
    assert {(metric.n, metric.kind, metric.stderr) for metric in metrics.values()} == {
        (400, None, None)
    }
    assert diagnose(ToyFVBN(SPEC), x, y, entry(), PROTOCOL) == {}
