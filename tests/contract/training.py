"""Phases, their losses, and what training does to the score."""

from __future__ import annotations

import itertools

import pytest
import torch

from genbench.base import GenerativeModel, Likelihood
from tests.contract.cases import Case
from tests.contract.images import data_for, rng

__all__ = ["check_phases", "check_training_improves_score", "start", "train"]


def start(model: GenerativeModel, *, data: bool = True) -> GenerativeModel:
    """Initialise from data, and move parameters that start as constants (zero-initialised outputs
    would hide what is wrong behind them).
    """
    if data:
        model.init_from_data(*data_for(model), rng=rng(1))
    torch.manual_seed(2)
    with torch.no_grad():
        for p in model.parameters():
            if p.numel() > 1 and float(p.max() - p.min()) == 0:
                p.add_(0.1 * torch.randn_like(p))
    return model


def train(model: GenerativeModel, steps: int = 200, lr: float = 0.02) -> GenerativeModel:
    """A bare loop over the phases, independent of ``genbench.training.fit``; returns the model in
    eval mode.
    """
    x, y = data_for(model)
    phases = model.train().phases()
    optimizers = [torch.optim.Adam(phase.params, lr=lr) for phase in phases]
    for step, (phase, optimizer) in itertools.product(
        range(steps), zip(phases, optimizers, strict=True)
    ):
        begin, end = phase.span
        if not begin <= step / steps < end:
            continue
        progress = (step / steps - begin) / (end - begin)
        for repeat in range(phase.repeats):
            g = rng(10_000 + 100 * step + repeat)
            batch = torch.randint(len(x), (64,), generator=g)
            out = phase.loss(x[batch], None if y is None else y[batch], rng=g, progress=progress)
            model.zero_grad(set_to_none=True)
            out.loss.backward()
            optimizer.step()
            model.after_step(phase.name, out.aux, rng=g, progress=progress)
    return model.eval()


def check_phases(model: GenerativeModel, *, settled: bool = False) -> None:
    """The phases partition the parameters, each loss is one finite number and reaches every
    parameter of its phase.

    With ``settled`` its gradient may be zero: a hinge that is satisfied has none.
    """
    phases = model.phases()
    owned = [id(p) for phase in phases for p in phase.params]
    names = {id(p): name for name, p in model.named_parameters()}
    assert len(owned) == len(set(owned)), "a parameter belongs to two phases"
    assert set(owned) == set(names), f"in no phase: {[names[i] for i in set(names) - set(owned)]}"
    assert len({phase.name for phase in phases}) == len(phases), "two phases have one name"
    x, y = data_for(model)
    for phase in phases:
        assert phase.repeats >= 1 and 0 <= phase.span[0] < phase.span[1] <= 1, (
            f"{phase.name}: repeats {phase.repeats}, span {phase.span}"
        )
        model.train().zero_grad(set_to_none=True)
        loss = phase.loss(x[:64], None if y is None else y[:64], rng=rng(3), progress=0.5).loss
        assert loss.shape == () and bool(loss.isfinite()), (
            f"{phase.name}: the loss must be one finite number, got {loss}"
        )
        loss.backward()
        unreached = [names[id(p)] for p in phase.params if p.grad is None]
        assert not unreached, f"{phase.name}: no gradient reaches {unreached}"
        assert settled or any(bool((p.grad != 0).any()) for p in phase.params), (
            f"{phase.name}: all gradients are zero"
        )
    model.eval()


def check_training_improves_score(case: Case, trained: GenerativeModel) -> None:
    """Steps on the losses raise the score of the training images."""
    if trained.likelihood is Likelihood.NONE:
        pytest.skip("it has no likelihood")
    if not trained.phases():
        pytest.skip("it has no phases: nothing is trained")
    x, y = data_for(trained)
    means = []
    for model in (start(case.build()).eval(), trained):
        model.prepare_likelihood(rng=rng(4))
        with torch.no_grad():
            nats = torch.stack([model.log_likelihood(x, y, rng=rng(seed)) for seed in range(4)])
        means.append(float(nats.mean()))
    assert means[1] > means[0], (
        f"mean score {means[0]:.3f} nats before training, {means[1]:.3f} after"
    )
