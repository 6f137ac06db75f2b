"""Sums over classes and ties between them: what a label is worth, and that whoever ignores labels
gets nothing for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from genbench.base import DataSpec, GenerativeModel, Likelihood
from genbench.config.params import Entry
from genbench.models.made import MADE
from genbench.scoring.likelihood import Plan, plan_for, score_chunk, summarise
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.metrics.class_shares import compute as class_shares
from genbench.scoring.metrics.label_fidelity import compute as label_fidelity
from genbench.scoring.records import Metric
from genbench.scoring.votes import votes
from tests.params_factory import protocol
from tests.toys import ToyFVBN, ToyVAE

SPEC = DataSpec(3, 3, 2, 3)
PROTOCOL = protocol(images={1: 40, 1000: 20, 2000: 10})


def images(n: int = 60) -> Tensor:
    return torch.randint(
        0, 2, (n, 1, 3, 3), generator=Generator().manual_seed(1), dtype=torch.uint8
    )


def score(
    model: GenerativeModel, x: Tensor, y: Tensor, **options: Any
) -> tuple[Mapping[str, Metric], dict[str, np.ndarray]]:
    """The columns and the values of each image, as the stage makes them."""
    entry = Entry("toy", "toy", "toy", 0, {}, {}, {}, options)
    results = {}
    for plan in plan_for(model.eval(), entry, PROTOCOL, len(x)):
        chunks = [
            score_chunk(model, plan, number, x, y, entry)["log_p"]
            for number in range(len(plan.chunks))
        ]
        results[plan.purpose] = plan, np.concatenate(chunks)
    record, arrays = summarise(model, entry, results, y.numpy(), {})
    return record.metrics, arrays


class Blind(ToyFVBN):
    """Takes labels and does not look at them."""

    def biases(self, n: int, y: Tensor | None) -> Tensor:
        return self.bias[0].expand(n, -1)


class BlindVAE(ToyVAE):
    """The same with a bound that gets tighter with draws."""

    def _join(self, v: Tensor, y: Tensor | None) -> Tensor:
        return super()._join(v, None if y is None else torch.zeros_like(y))


@pytest.mark.parametrize("labels", [[0], [1], [2], [0, 1, 2], [0, 0, 2]], ids=str)
@pytest.mark.parametrize("kind", [Blind, MADE])
def test_a_model_that_ignores_labels_scores_one_in_as_many_as_there_are(
    kind: type[GenerativeModel], labels: list[int]
) -> None:
    """Whichever label is the first, and however often each occurs. MADE begins with labels that say
    nothing.
    """
    model = (
        Blind(SPEC, conditional=True) if kind is Blind else MADE(SPEC, hidden=[8], conditional=True)
    )
    x, y = images(), torch.tensor(labels).repeat(60)[:60]
    metrics, arrays = score(model, x, y)
    assert arrays["bayes_accuracy"].tolist() == 40 * [1 / 3]
    assert metrics["bayes_accuracy"].value == pytest.approx(1 / 3, abs=1e-12)
    assert metrics["bayes_accuracy"].stderr == pytest.approx(0, abs=1e-12)
    assert np.allclose(arrays["nats"], arrays["conditional_nats"]), (
        "a label that says nothing costs nothing"
    )


def test_labels_that_share_the_largest_likelihood_share_the_image() -> None:
    log_p = np.log(np.array([[4.0, 4, 1], [4, 4, 1], [4, 4, 1], [1, 2, 3], [1, 2, 3], [5, 5, 5]]))
    labels = np.array([0, 1, 2, 2, 0, 1])
    plan = Plan("nats", np.arange(6), {}, all_classes=True)
    record, arrays = summarise(
        Blind(SPEC, conditional=True),
        Entry("toy", "toy", "toy", 0, {}, {}, {}, {}),
        {"nats": (plan, log_p)},
        labels,
        {},
    )
    assert arrays["bayes_accuracy"] == pytest.approx([1 / 2, 1 / 2, 0, 1, 0, 1 / 3])
    assert record.metrics["bayes_accuracy"].value == pytest.approx((1 / 2 + 1 / 2 + 1 + 1 / 3) / 6)


def test_votes_are_one_for_the_largest_and_even_parts_where_several_are() -> None:
    scores = torch.tensor(
        [[0.0, 1.0, 2.0], [2.0, 2.0, 1.0], [-5.0, -5.0, -5.0], [1.0, 1.0 - 1e-7, 0.0]]
    )
    expected = torch.tensor(
        [[0, 0, 1], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [1, 0, 0]], dtype=torch.float64
    )
    assert torch.allclose(votes(scores), expected, atol=1e-12)
    assert votes(scores).dtype == torch.float64


def features(logits: Tensor, labels: Tensor | None = None) -> FeatureSet:
    return FeatureSet("mnist", torch.zeros(len(logits), 2), logits, labels)


@pytest.mark.parametrize("label", range(4))
def test_a_classifier_that_cannot_tell_gives_each_class_its_even_share(label: int) -> None:
    made = features(torch.zeros(20, 4), torch.full((20,), label))
    fidelity = label_fidelity(made, made, seed=0)["label_fidelity"]
    assert fidelity.value == pytest.approx(1 / 4)
    assert fidelity.stderr == pytest.approx(math.sqrt(3 / 16 / 20))
    shares = class_shares(made, made, seed=0)["min_class_share"]
    assert shares.detail["shares"] == pytest.approx(4 * [1 / 4])
    assert shares.value == pytest.approx(1 / 4)


def test_equal_logits_of_some_classes_share_a_sample() -> None:
    logits = torch.tensor([[3.0, 3, 0], [3, 3, 0], [0, 0, 1], [0, 1, 0]])
    made = features(logits, torch.tensor([0, 2, 2, 0]))
    assert label_fidelity(made, made, seed=0)["label_fidelity"].value == pytest.approx(
        (1 / 2 + 0 + 1 + 0) / 4
    )
    assert class_shares(made, made, seed=0)["min_class_share"].detail["shares"] == pytest.approx(
        [1 / 4, 1 / 2, 1 / 4]
    )


# ---------------------------------------------------------------------- log C


@pytest.mark.parametrize("sums", [True, False])
def test_a_bound_with_one_label_carries_the_cost_of_the_label(
    sums: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """log P(x) >= log P(x|y) - log C for the image's own y, with one draw and with more."""
    monkeypatch.setattr(ToyVAE, "sums_classes", sums)
    torch.manual_seed(0)
    model, x, y = ToyVAE(SPEC, conditional=True), images(), torch.arange(60) % 3
    metrics, arrays = score(model, x, y, draws=5)
    entry = Entry("toy", "toy", "toy", 0, {}, {}, {}, {"draws": 5})
    own = {}
    for purpose, draws in (("nats", 5), ("elbo_nats", 1)):
        plan = Plan(purpose, np.arange(40) * 60 // 40, {"draws": draws}, all_classes=False)
        own[purpose] = -score_chunk(model, plan, 0, x, y, entry)["log_p"]
    assert np.allclose(arrays["elbo_nats"], own["elbo_nats"] + math.log(3))
    assert metrics["elbo_nats"].value == pytest.approx(own["elbo_nats"].mean() + math.log(3))
    assert metrics["elbo_nats"].kind == "lower_bound"
    if sums:
        assert (arrays["nats"] <= arrays["conditional_nats"] + math.log(3)).all()
        assert not np.allclose(arrays["nats"], arrays["conditional_nats"] + math.log(3))
    else:
        assert np.allclose(arrays["conditional_nats"], own["nats"])
        assert np.allclose(arrays["nats"], own["nats"] + math.log(3))
        assert metrics["nats"].value == pytest.approx(
            metrics["conditional_nats"].value + math.log(3)
        )
        assert metrics["bits_per_dim"].value == pytest.approx(
            metrics["nats"].value / (9 * math.log(2))
        )
        assert "bayes_accuracy" not in metrics


def test_a_bound_of_a_model_that_ignores_labels_is_that_of_the_model_without_them() -> None:
    """Summed over classes, no label costs anything; the bound of one draw is taken with the own
    label alone, and carries log C.
    """
    torch.manual_seed(0)
    model, x, y = BlindVAE(SPEC, conditional=True), images(), torch.arange(60) % 3
    _, arrays = score(model, x, y, draws=300)
    assert arrays["index"].tolist() == arrays["index_elbo_nats"].tolist()
    elbo = arrays["elbo_nats"].mean() - math.log(3)
    assert arrays["nats"].mean() == pytest.approx(arrays["conditional_nats"].mean(), abs=0.05)
    assert elbo > arrays["conditional_nats"].mean(), (
        "one draw is a looser bound than 300 of log P(x|y)"
    )


def test_an_exact_model_summed_over_classes_is_the_mixture_of_its_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And where its classes must not be summed, it is log C above the label's own: a bound, though
    log P(x|y) is exact.
    """
    torch.manual_seed(0)
    model, x, y = ToyFVBN(SPEC, conditional=True), images(), torch.arange(60) % 3
    index = [i * 60 // 40 for i in range(40)]
    by_class = torch.stack(
        [model.log_likelihood(x[index], torch.full((40,), c), rng=Generator()) for c in range(3)], 1
    ).detach()
    own = by_class[torch.arange(40), y[index]]
    metrics, arrays = score(model, x, y)
    assert np.allclose(arrays["nats"], -by_class.exp().mean(1).log())
    assert np.allclose(arrays["conditional_nats"], -own)
    assert {
        name: metrics[name].kind for name in ("nats", "conditional_nats", "bits_per_dim")
    } == dict.fromkeys(("nats", "conditional_nats", "bits_per_dim"), "exact")
    monkeypatch.setattr(ToyFVBN, "sums_classes", False)
    metrics, arrays = score(model, x, y)
    assert np.allclose(arrays["nats"], math.log(3) - own)
    assert (metrics["nats"].kind, metrics["conditional_nats"].kind) == (
        Likelihood.LOWER_BOUND,
        Likelihood.EXACT,
    )
