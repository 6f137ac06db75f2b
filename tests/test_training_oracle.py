"""The training loop with options unlike the defaults, against one written by hand; what validation
sees; time that adds up over kills.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from genbench.base import Conditioning, DataSpec, GenerativeModel, Likelihood, Phase, Step
from genbench.data.splits import Dataset
from genbench.training.checkpoints import Workspace, workspace
from tests import by_hand
from tests.training import fit

SPEC = DataSpec(2, 2, 4, 3)
SIZES = {"train": 53, "valid": 23, "test": 31}
ODD = {
    "lr": 0.05,
    "betas": [0.7, 0.9],
    "weight_decay": 0.4,
    "warmup": 0.2,
    "final_lr": 0.3,
    "clip": 0.8,
}
OPTIONS = {"steps": 37, "batch_size": 7, "ema": 0.3, "validations": 5, "validate_images": 11}


def dataset() -> Dataset:
    """Splits of other sizes and other content, with labels that say something of the image."""
    parts: dict[str, Tensor] = {}
    for number, (split, n) in enumerate(SIZES.items()):
        noise = Generator().manual_seed(number)
        x = torch.randint(0, 4, (n, 1, 2, 2), generator=noise, dtype=torch.uint8)
        parts |= {
            f"{split}_x": x,
            f"{split}_y": (x.flatten(1)[:, 0].long() + torch.arange(n) % 2) % 3,
        }
    return Dataset("toy", SPEC, **parts)


class Regression(GenerativeModel):
    """Labels from noisy pixels, through dropout; notes down what it is shown."""

    likelihood: ClassVar[Likelihood] = Likelihood.LOWER_BOUND
    conditioning: ClassVar[Conditioning] = Conditioning.REQUIRED
    family: ClassVar[str] = "test"
    tiny_specs = ()

    def __init__(self, spec: DataSpec = SPEC) -> None:
        super().__init__(spec)
        self.first, self.last, self.drop = nn.Linear(4, 5), nn.Linear(5, 3), nn.Dropout(0.3)
        self.seen: list[tuple[bool, Tensor, Tensor, int, Tensor]] = []

    def predict(self, x: Tensor, rng: Generator) -> Tensor:
        noisy = self.spec.unit(x).flatten(1) + 0.2 * torch.randn(len(x), 4, generator=rng)
        return self.last(self.drop(self.first(noisy).tanh()))

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        assert y is not None
        self.seen.append(
            (
                self.training,
                x.clone(),
                y.clone(),
                rng.initial_seed(),
                self.last.bias.detach().clone(),
            )
        )
        error = self.predict(x, rng) - F.one_hot(y, 3)
        return Step(
            (1 + progress) * error.square().sum(1).mean(), {"bias": self.last.bias.detach().sum()}
        )

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        raise NotImplementedError


class Chain(Regression):
    """Two phases that overlap: the first takes three steps for one, and the second reads the first
    one's output. State in ``after_step``.
    """

    carried: Tensor

    def __init__(self, spec: DataSpec = SPEC) -> None:
        super().__init__(spec)
        self.drop = nn.Dropout(0.0)
        self.second = nn.Linear(3, 1)
        self.register_buffer("carried", torch.zeros(()))

    def phases(self) -> Sequence[Phase]:
        return [
            Phase(
                "first",
                [*self.first.parameters(), *self.last.parameters()],
                self.training_loss,
                repeats=3,
                span=(0.0, 0.6),
            ),
            Phase("second", list(self.second.parameters()), self.second_loss, span=(0.3, 1.0)),
        ]

    def second_loss(self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float) -> Step:
        assert y is not None
        out = self.second(self.predict(x, rng).detach())[:, 0]
        return Step((out - y - self.carried).square().mean(), aux=out.detach().mean())

    def after_step(self, phase: str, aux: object, *, rng: Generator, progress: float) -> None:
        if isinstance(aux, Tensor):
            self.carried.lerp_(aux + 0.1 * torch.randn((), generator=rng), 0.05)


def made(kind: type[Regression]) -> Regression:
    torch.manual_seed(5)
    return kind()


def optim(model: Regression, **changes: Any) -> dict[str, Any]:
    return {phase.name: ODD | changes for phase in model.phases()}


def trained(kind: type[Regression], **changes: Any) -> tuple[Regression, list[dict[str, float]]]:
    """By the program."""
    model = made(kind)
    options = {**OPTIONS, "optim": optim(model)} | changes
    return model, fit(model, dataset(), entry="toy", seed=2, **options).history


def by_hands(kind: type[Regression], **changes: Any) -> tuple[Regression, list[dict[str, float]]]:
    """By the loop that is written out in tests/by_hand.py."""
    model = made(kind)
    history = by_hand.Training(
        model, dataset(), "toy", 2, {**OPTIONS, "optim": optim(model)} | changes
    ).run()
    return model, history


def without_times(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")}
        for row in history
    ]


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize(("steps", "ema"), [(37, 0.3), (250, 0.3), (37, 0.99)])
@pytest.mark.parametrize("kind", [Regression, Chain])
def test_weights_and_history_are_those_of_the_loop_by_hand(
    kind: type[Regression], steps: int, ema: float, name: str
) -> None:
    """37 steps take a row each, 250 a row for two: means over what lies between. The average of
    0.99 is still warming up at the end of each phase.
    """
    changes = {"steps": steps, "ema": ema, "optim": optim(made(kind), name=name)}
    (model, history), (expected, rows) = trained(kind, **changes), by_hands(kind, **changes)
    assert [row["step"] for row in history] == [row["step"] for row in rows]
    for row, other in zip(without_times(history), rows, strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-5)
    for name, value in expected.state_dict().items():
        assert torch.allclose(model.state_dict()[name], value, atol=2e-5), name


OTHERWISE: dict[str, Callable[[Regression], dict[str, Any]]] = {
    "lr": lambda model: {"optim": optim(model, lr=0.04)},
    "first beta": lambda model: {"optim": optim(model, betas=[0.9, 0.9])},
    "second beta": lambda model: {"optim": optim(model, betas=[0.7, 0.999])},
    "weight_decay": lambda model: {"optim": optim(model, weight_decay=0.0)},
    "warmup": lambda model: {"optim": optim(model, warmup=0.02)},
    "final_lr": lambda model: {"optim": optim(model, final_lr=0.0)},
    "clip": lambda model: {"optim": optim(model, clip=None)},
    "decay": lambda model: {"optim": optim(model, decay="linear")},
    "muon": lambda model: {"optim": optim(model, name="muon")},
    "momentum": lambda model: {"optim": optim(model, name="muon", momentum=0.5)},
    "ema": lambda model: {"ema": 0.6},
    "batch_size": lambda model: {"batch_size": 8},
    "steps": lambda model: {"steps": 38},
}


@pytest.mark.parametrize("option", OTHERWISE)
def test_each_option_moves_the_weights_by_far_more_than_the_loops_differ(option: str) -> None:
    """So a loop that left one of them out would not pass the test above."""
    changes = OTHERWISE[option](made(Regression))
    (plain, _), (changed, _), (expected, _) = (
        trained(Regression),
        trained(Regression, **changes),
        by_hands(Regression, **changes),
    )
    assert (
        max(
            float((p - q).detach().abs().max())
            for p, q in zip(plain.parameters(), changed.parameters(), strict=True)
        )
        > 1e-3
    )
    assert all(
        torch.allclose(p, q, atol=2e-5)
        for p, q in zip(changed.parameters(), expected.parameters(), strict=True)
    )


# ---------------------------------------------------------------------- validation


def test_validation_is_on_spread_images_with_their_labels_and_the_same_noise_each_time() -> None:
    model, history = trained(Regression)
    data = dataset()
    assert data.valid_y is not None
    index = by_hand.spread(23, 11)
    assert index != list(range(11))
    validations = [call for call in model.seen if not call[0]]
    steps = [row["step"] for row in history if "loss/valid_loss" in row]
    # As evenly as five times in 37 steps can be, and at the end.
    assert steps == [7, 14, 21, 28, 35, 37]
    assert len(validations) == 2 * len(steps)  # eleven images in batches of seven
    for number, (_, x, y, seed, _) in enumerate(validations):
        part = slice(0, 7) if number % 2 == 0 else slice(7, 11)
        assert torch.equal(x, data.valid_x[index][part])
        assert torch.equal(y, data.valid_y[index][part])
        assert seed == by_hand.seed("validate", "toy", 2, "loss", number % 2)


def test_validation_is_with_the_averaged_weights_and_leaves_the_others_as_they_were() -> None:
    """The biases that validation sees are the averages by hand of those that the steps begin
    with.
    """
    model, _ = trained(Regression, validations=37)
    biases = [bias for training, _, _, _, bias in model.seen if training]
    average, seen = biases[0], [bias for training, _, _, _, bias in model.seen if not training][::2]
    assert len(biases) == len(seen) == 37
    for step, after in enumerate(biases[1:]):
        decay = min(0.3, (2 + step) / (11 + step))
        average = decay * average + (1 - decay) * after
        assert torch.allclose(seen[step], average, atol=1e-6), step
        assert not torch.allclose(seen[step], after, atol=1e-4), step


def test_the_best_average_is_kept_and_not_the_last() -> None:
    """A rate that is far too high at the end: the loss of validation goes up again."""
    loud = {"lr": 1.0, "warmup": 0.9, "clip": None, "weight_decay": 0.0}
    model, history = trained(Regression, optim=optim(made(Regression), **loud), validations=37)
    losses = [row["loss/valid_loss"] for row in history]
    best = losses.index(min(losses))
    assert best < 30
    assert losses[-1] > 1.1 * losses[best]
    kept = [bias for training, _, _, _, bias in model.seen if not training][2 * best]
    assert torch.equal(model.last.bias, kept)


def test_batch_norm_passes_are_over_training_images_with_their_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("genbench.training.batch_norm._IMAGES", 40)
    monkeypatch.setattr("genbench.training.batch_norm._CHUNK", 20)

    class Normed(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.BatchNorm1d(5)  # type: ignore[assignment]

    model, data = Normed(), dataset()
    assert data.train_y is not None
    fit(model, data, entry="toy", seed=2, **OPTIONS, optim=optim(model))
    passes = model.seen[-2:]
    for number, (training, x, y, seed, bias) in enumerate(passes):
        part = slice(20 * number, 20 * number + 20)
        assert training
        assert torch.equal(x, data.train_x[part])
        assert torch.equal(y, data.train_y[part])
        assert seed == by_hand.seed("statistics", "toy", 2, "loss", number)
        assert torch.equal(bias, model.last.bias), "statistics are those of the scored weights"


# ---------------------------------------------------------------------- time


class Stopped(Exception):
    """In place of a kill."""


class Clock:
    """A clock that stands still but for what is done: a second for a batch of training, ten for one
    of validation.
    """

    now = 1000.0


class Timed(Regression):
    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        Clock.now += 1.0 if self.training else 10.0
        return super().training_loss(x, y, rng=rng, progress=progress)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "now", 1000.0)
    monkeypatch.setattr(
        "genbench.training.fit.time",
        SimpleNamespace(monotonic=lambda: Clock.now, process_time=lambda: 0.5 * Clock.now),
    )


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    "kills",
    [(), (1,), (5, 7, 8, 28), tuple(range(1, 37))],
    ids=["none", "one", "some", "after every step"],
)
def test_seconds_add_up_over_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: Sequence[int]
) -> None:
    """37 steps of a second, six validations of two batches, and half a second of work in each. Not
    counted: the hour between a kill and the next run; in the speed, validations.
    """
    monkeypatch.setenv("GENBENCH_CHECKPOINT_SECONDS", "0")
    save = Workspace.save
    for last in kills:

        def stop(self: Workspace, name: str, value: Any, last: int = last) -> None:
            save(self, name, value)
            if value["clock"]["step"] == last:
                raise Stopped

        monkeypatch.setattr(Workspace, "save", stop)
        with workspace(tmp_path, "w", {}) as work, pytest.raises(Stopped):
            fit(
                Timed(),
                dataset(),
                entry="toy",
                seed=2,
                checkpoints=work,
                **OPTIONS,
                optim={"loss": ODD},
            )
        Clock.now += 3600.0
    monkeypatch.setattr(Workspace, "save", save)
    with workspace(tmp_path, "w", {}) as work:
        fitted = fit(
            Timed(),
            dataset(),
            entry="toy",
            seed=2,
            checkpoints=work,
            **OPTIONS,
            optim={"loss": ODD},
        )
    assert fitted.seconds == pytest.approx(37 + 6 * 2 * 10)
    assert fitted.cpu_seconds == pytest.approx((37 + 6 * 2 * 10) / 2)
    assert fitted.images_per_second == pytest.approx(7)
    rows = {int(row["step"]): row for row in fitted.history}
    assert list(rows) == list(range(1, 38))
    assert [rows[step]["seconds"] for step in (1, 7, 8, 14, 37)] == pytest.approx(
        [1, 27, 28, 54, 157]
    )
    assert {row["images_per_second"] for row in fitted.history} == {7.0}


@pytest.mark.usefixtures("clock")
def test_work_that_a_kill_undid_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint after step 3, a kill in step 6: the three steps are done again, and counted
    once.
    """
    monkeypatch.setattr(Workspace, "due", lambda self: Clock.now == 1003.0)

    class Killed(Timed):
        def training_loss(
            self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
        ) -> Step:
            if Clock.now == 1005.0:
                raise Stopped
            return super().training_loss(x, y, rng=rng, progress=progress)

    with workspace(tmp_path, "w", {}) as work, pytest.raises(Stopped):
        fit(
            Killed(),
            dataset(),
            entry="toy",
            seed=2,
            checkpoints=work,
            **OPTIONS,
            optim={"loss": ODD},
        )
    Clock.now += 3600.0
    with workspace(tmp_path, "w", {}) as work:
        fitted = fit(
            Timed(),
            dataset(),
            entry="toy",
            seed=2,
            checkpoints=work,
            **OPTIONS,
            optim={"loss": ODD},
        )
    assert fitted.seconds == pytest.approx(37 + 6 * 2 * 10)
    assert fitted.images_per_second == pytest.approx(7)
