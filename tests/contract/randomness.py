"""Randomness is the argument ``rng``; no state is hidden, and batch mates do not matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from genbench.base import GenerativeModel, Likelihood, Phase
from tests.contract.images import data_for, every_image, labels_of, rng

__all__ = ["check_batch_mates", "check_depends_on_rng", "check_no_hidden_state", "check_seeded"]


def check_seeded(model: GenerativeModel) -> None:
    """The same rng gives the same bits whatever the global generator holds, which stays as it
    was.
    """
    x, y = data_for(model)
    x, y = x[:64], None if y is None else y[:64]
    for name, call in _random_calls(model, x, y):
        results = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            results.append(call(rng(7)))
            assert torch.equal(before, torch.get_rng_state()), (
                f"{name} draws from the global generator"
            )
        assert torch.equal(*results), f"{name}: the same rng gave other bits"


def check_depends_on_rng(model: GenerativeModel) -> None:
    """Another rng gives another sample. For an untrained model: an adversarial one that trained
    badly may know one image only.
    """
    samples = [model.eval().sample(64, labels_of(model, 64), rng=rng(seed)) for seed in (7, 8)]
    assert not torch.equal(*samples), "sample does not depend on rng"


def _random_calls(
    model: GenerativeModel, x: Tensor, y: Tensor | None
) -> list[tuple[str, Callable[[Generator], Tensor]]]:
    calls: list[tuple[str, Callable[[Generator], Tensor]]] = [
        ("sample", lambda g: model.sample(64, labels_of(model, 64), rng=g))
    ]
    for phase in model.phases():

        def loss(g: Generator, phase: Phase = phase) -> Tensor:
            return phase.loss(x, y, rng=g, progress=0.5).loss.detach()

        calls.append((f"loss of {phase.name}", loss))
    if model.likelihood is not Likelihood.NONE:

        def prepared(g: Generator) -> Tensor:
            return torch.tensor(list(model.prepare_likelihood(rng=g).values()))

        calls.append(("prepare_likelihood", prepared))
        calls.append(("log_likelihood", lambda g: model.log_likelihood(x, y, rng=g).detach()))
    return calls


def check_no_hidden_state(model: GenerativeModel) -> None:
    """Sampling and scoring leave parameters, buffers, attributes, mode and arguments as they
    were.
    """
    model.prepare_likelihood(rng=rng(4))
    x = every_image(model.spec)[:50].clone()
    y = labels_of(model, len(x))
    x_before, y_before = x.clone(), None if y is None else y.clone()
    tensors = {name: t.clone() for name, t in model.state_dict().items()}
    attributes = [set(vars(module)) for module in model.modules()]
    with torch.no_grad():
        model.sample(len(x), y, rng=rng(5))
        if model.likelihood is not Likelihood.NONE:
            model.log_likelihood(x, y, rng=rng(5))
    moved = [
        name
        for name, t in model.state_dict().items()
        if not torch.equal(t.nan_to_num(), tensors[name].nan_to_num())
    ]
    assert not moved, f"changed by sampling or scoring: {moved}"
    assert attributes == [set(vars(module)) for module in model.modules()], (
        "sampling or scoring left new attributes on the module"
    )
    assert not model.training, "sampling or scoring switched the model to train mode"
    assert torch.equal(x, x_before) and (y is None or torch.equal(y, y_before)), (
        "sampling or scoring overwrote an argument"
    )


def check_batch_mates(model: GenerativeModel) -> None:
    """In eval mode the score of an image does not depend on the images beside it: same rng, same
    batch size, other company.
    """
    if model.likelihood is Likelihood.NONE:
        pytest.skip("it has no likelihood")
    model.prepare_likelihood(rng=rng(4))
    x = every_image(model.spec)
    order = torch.randperm(len(x), generator=rng(6))
    company, others = x[order[:16]].clone(), x[order[16:32]].clone()
    others[:4] = company[:4]
    y, other_y = labels_of(model, 16), None
    if y is not None:
        other_y = (y + 1) % model.spec.classes
        other_y[:4] = y[:4]
    with torch.no_grad():
        a = model.log_likelihood(company, y, rng=rng(5))[:4]
        b = model.log_likelihood(others, other_y, rng=rng(5))[:4]
    torch.testing.assert_close(
        a, b, atol=1e-5, rtol=1e-5, msg=lambda m: f"batch mates change the score: {m}"
    )
