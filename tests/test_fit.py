"""The loop of training: optimiser, schedule, phases, the weights that are kept, and its options."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from genbench.base import Likelihood, Step
from genbench.errors import UserError
from genbench.seeding import generator_for
from genbench.training.arithmetic import Arithmetic
from genbench.training.options import OptimOptions, TrainOptions
from genbench.training.schedule import learning_rate
from tests.fitted import (
    BOTH,
    FIRST_SECOND,
    PLAIN,
    Everything,
    Linear,
    Normed,
    TwoPhases,
    dataset,
    labelled,
    run,
)
from tests.training import fit


def test_it_is_adam_with_an_average_of_the_weights() -> None:
    model, data = Linear(), dataset()
    run(model, data=data)
    w = nn.Parameter(torch.tensor([0.5, -0.3, 0.2, 0.1]))
    adam, ema = torch.optim.Adam([w], lr=0.05), w.detach().clone()
    for step in range(20):
        order = torch.randperm(64, generator=generator_for("order", "toy", 0, "loss", step // 8))
        x = data.train_x[order[step % 8 * 8 :][:8]].float().flatten(1)
        noise = torch.randn(8, 4, generator=generator_for("train", "toy", 0, "loss", step, 0))
        adam.zero_grad()
        (w - x - 0.1 * noise).square().sum(1).mean().backward()
        adam.step()
        decay = min(0.9, (2 + step) / (11 + step))
        ema = decay * ema + (1 - decay) * w.detach()
    assert torch.allclose(model.w, ema, atol=1e-6)


def test_each_epoch_holds_each_image_once() -> None:
    model, data = Linear(), dataset()
    run(model, data=data, steps=16)
    for epoch in (model.seen[:8], model.seen[8:]):
        assert torch.equal(torch.cat(epoch).float().mean(0), data.train_x.float().mean(0))
    assert not torch.equal(torch.cat(model.seen[:8]), torch.cat(model.seen[8:]))


def test_gradients_are_clipped_to_the_stated_norm() -> None:
    free, clipped = Linear(), Linear()
    history = run(free, steps=1).history
    assert history[0]["loss/grad_norm"] > 0.01
    # Far below Adam's epsilon, so a clipped step is almost none.
    sgd_like = {**PLAIN, "betas": [0.0, 0.0], "clip": 1e-9}
    run(clipped, steps=1, optim={"loss": sgd_like}, ema=0.0)
    assert (clipped.w - torch.tensor([0.5, -0.3, 0.2, 0.1])).abs().max() < 0.006
    assert history[0]["loss/grad_norm"] == pytest.approx(
        run(Linear(), steps=1, optim={"loss": sgd_like}).history[0]["loss/grad_norm"]
    )


def test_schedule_is_linear_then_cosine() -> None:
    options, steps = OptimOptions(lr=2.0, warmup=0.1, final_lr=0.25), 1000
    rates = [learning_rate(options, step / steps, steps) for step in range(steps)]
    assert max(rates) <= 2.0
    assert rates[0] == pytest.approx(2.0 * 0.5 / 100.5)
    assert rates[50] == pytest.approx(1.0, rel=0.02)
    middle = 0.25 + 0.75 * 0.5 * (1 + math.cos(math.pi * 0.5))
    assert rates[550] == pytest.approx(2 * middle)
    assert rates[-1] == pytest.approx(0.5, rel=1e-3)


def test_schedule_may_be_level_and_then_a_line() -> None:
    options, steps = OptimOptions(lr=2.0, warmup=0.1, decay="linear", final_lr=0.25), 1000
    rates = [learning_rate(options, step / steps, steps) for step in range(steps)]
    assert rates[50] == pytest.approx(1.0, rel=0.02)
    assert rates[150:601] == pytest.approx([2.0] * 451)
    assert rates[800] == pytest.approx(2 * (0.25 + 0.75 * 0.5))
    assert rates[-1] == pytest.approx(0.5, rel=1e-2)
    # Nothing decays before the end of a long warm-up.
    late = OptimOptions(lr=1.0, warmup=0.8, decay="linear")
    assert learning_rate(late, 0.8, steps) == pytest.approx(1.0)
    assert learning_rate(late, 0.9, steps) == pytest.approx(0.5)


def test_phases_run_in_their_spans_with_their_own_progress_and_gradients() -> None:
    model = TwoPhases()
    run(model, steps=10, optim=BOTH)
    assert [entry[0] for entry in model.log] == ["a"] * 5 + ["b"] * 5
    assert [entry[1] for entry in model.log] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8] * 2)
    assert all(a != b and a == (name == "a") for name, _, a, b in model.log)


def test_repeats_are_inner_steps() -> None:
    model = TwoPhases(overlap=True)
    history = run(model, steps=3, optim=BOTH).history
    assert [entry[0] for entry in model.log] == ["a", "a", "b"] * 3
    assert "a/square" in history[0]


def test_a_phase_keeps_the_weights_of_its_best_validation() -> None:
    class Worse(Linear):
        """Its validation loss rises from a step on: the loss is measured on the weights' distance
        from where they were then.
        """

        likelihood = Likelihood.EXACT

        def training_loss(
            self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
        ) -> Step:
            if self.training:
                return Step(-self.w.sum())  # w grows for ever
            return Step((self.w - 1.0).square().sum())

    model = Worse()
    history = run(
        model, steps=200, validations=200, ema=0.0, optim={"loss": PLAIN | {"lr": 0.02}}
    ).history
    losses = [row["loss/valid_loss"] for row in history]
    best = min(losses)
    assert losses[-1] > 10 * best
    assert float((model.w - 1.0).square().sum()) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("kind", [Likelihood.NONE, Likelihood.ESTIMATE])
def test_models_without_a_bound_take_their_last_step(kind: Likelihood) -> None:
    model = Linear()
    type(model).likelihood = kind
    try:
        history = run(model, steps=3, ema=0.0).history
    finally:
        type(model).likelihood = Likelihood.NONE
    assert all("loss/valid_loss" not in row for row in history)


def test_batch_norm_statistics_are_those_of_the_scored_weights() -> None:
    """Averages over passes of 250 images; what is left over makes no pass of its own."""
    model, data = Normed(), dataset(520)
    run(model, data=data, batch_size=16)
    activations = (model.w * data.train_x.float().flatten(1)).detach()
    passes = activations[:500].view(2, 250, 4)
    assert torch.allclose(model.norm.running_mean, passes.mean((0, 1)), atol=1e-6)
    assert torch.allclose(model.norm.running_var, passes.var(1).mean(0), atol=1e-6)
    assert model.norm.momentum == 0.1


def test_a_diverging_loss_is_named_with_model_phase_and_step() -> None:
    class Diverging(Linear):
        def training_loss(
            self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
        ) -> Step:
            return Step(self.w.sum() * (float("nan") if progress >= 0.35 else 1.0))

    with pytest.raises(
        FloatingPointError, match=r"Diverging, entry toy, phase loss: loss is nan at step 7"
    ):
        run(Diverging())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optim": {}}, "missing the phase 'loss'"),
        ({"optim": {"loss": PLAIN, "lost": PLAIN}}, "no such phase; did you mean 'loss'"),
        ({"optim": {"loss": PLAIN | {"lr": -1.0}}}, "lr: must be positive"),
        ({"optim": {"loss": PLAIN | {"lr": "1e-3"}}}, "lr: must be float, got .1e-3. of type str"),
        ({"optim": {"loss": PLAIN | {"learning_rate": 1.0}}}, "unknown parameter"),
        ({"optim": {"loss": 5}}, "optim.loss: must be a mapping"),
        ({"optim": {"loss": None}}, "optim.loss: must be a mapping"),
        ({"optim": {"loss": PLAIN | {"clip": -1.0}}}, "clip: must be positive"),
        ({"optim": {"loss": PLAIN | {"name": "muom"}}}, "'muom' is not known; did you mean 'muon'"),
        ({"optim": {"loss": PLAIN | {"decay": "sine"}}}, "decay: 'sine' is not known"),
        ({"optim": {"loss": PLAIN | {"momentum": 1.0}}}, "momentum: must be in"),
        ({"ema": 1.0}, "ema"),
        ({"validations": 0}, "validations"),
        ({"steps": 0}, "steps: must be at least 1"),
        ({"batch_size": 0}, "batch_size: must be at least 1"),
        ({"arithmetic": {"cpu": {"precision": "float16"}}}, "precision: unknown 'float16'"),
        ({"arithmetic": {"gpu": {}}}, "unknown device type"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(Linear(), **options)


def test_a_former_option_is_refused_with_its_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block's keys are checked where all options are."""
    former = {"rounds": ("pace", "steps"), "speed": ("lr",)}
    monkeypatch.setattr("genbench.errors._RENAMED", former)
    for options, message in (
        ({"rounds": 3}, r"entries\.toy\.train\.rounds: is now called 'steps'"),
        ({"optim": {"loss": PLAIN | {"speed": 1.0}}}, r"train\.optim\.loss\.speed: .* 'lr'"),
        ({"stepz": 3}, r"train\.stepz: unknown parameter; did you mean 'steps'"),
    ):
        with pytest.raises(UserError, match=message):
            run(Linear(), **options)


def test_options_are_checked_also_where_they_are_made_by_hand() -> None:
    assert TrainOptions().steps == 0  # of a model that has nothing to train
    with pytest.raises(UserError, match="steps: must be at least 1, got 0"):
        TrainOptions(optim={"loss": OptimOptions(lr=1.0)})
    with pytest.raises(UserError, match="ema: must be in"):
        TrainOptions(ema=-0.1)


def test_compile_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler"):
        run(Linear(), arithmetic={"cpu": {"compile": True}})


def test_autocast_is_in_force_and_weights_stay_float32() -> None:
    class Records(Linear):
        def training_loss(
            self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
        ) -> Step:
            self.dtype = (self.spec.unit(x).flatten(1) @ self.w[:, None]).dtype
            return super().training_loss(x, y, rng=rng, progress=progress)

    model = Records()
    run(model, arithmetic={"cpu": {"precision": "bfloat16"}})
    assert model.dtype == torch.bfloat16
    assert model.w.dtype == torch.float32


def test_channels_last_is_undone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    arithmetic = Arithmetic(channels_last=True)
    arithmetic.prepare(model)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    arithmetic.release(model)
    assert model[0].weight.is_contiguous()


def test_other_seeds_and_entries_take_other_paths() -> None:
    results = []
    for entry, seed in (("toy", 0), ("toy", 1), ("other", 0)):
        model = Linear()
        fit(model, dataset(), entry=entry, seed=seed, steps=5, optim={"loss": PLAIN})
        results.append(copy.deepcopy(model.w.data))
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_a_finished_phase_stands_still_while_the_next_one_trains() -> None:
    model = Everything()
    run(model, data=labelled(), steps=40, optim=FIRST_SECOND)
    assert len(model.first_in_second) > 20
    assert not any(training for training, _ in model.first_in_second[:20]), (
        "its dropout and batch norm are off"
    )
    during = [buffers for training, buffers in model.first_in_second if not training]
    assert all(torch.equal(buffers, during[0]) for buffers in during), "its statistics do not move"


def test_best_weights_come_with_the_buffers_of_their_step() -> None:
    class Drifts(Linear):
        """The best validation is at a known step; a buffer counts steps."""

        likelihood = Likelihood.EXACT

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(()))

        def training_loss(
            self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
        ) -> Step:
            if self.training:
                return Step(self.w.square().sum(), aux=True)
            return Step((self.count - 7).square() + 0 * self.w.sum())

        def after_step(self, phase: str, aux: object, *, rng: Generator, progress: float) -> None:
            self.count += 1

    model = Drifts()
    run(model, steps=20, validations=20)
    assert float(model.count) == 7
