"""Small models whose training is easy to follow, and a short training of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from genbench.base import Conditioning, DataSpec, GenerativeModel, Likelihood, Phase, Step
from genbench.data.splits import Dataset
from tests.training import fit

__all__ = [
    "BOTH",
    "FIRST_SECOND",
    "PLAIN",
    "SPEC",
    "Everything",
    "Linear",
    "Normed",
    "TwoPhases",
    "dataset",
    "labelled",
    "run",
]


SPEC = DataSpec(2, 2, 2)


PLAIN = {"lr": 0.05, "warmup": 0.0, "final_lr": 1.0, "clip": None}


BOTH = {"a": PLAIN, "b": PLAIN}


FIRST_SECOND = {"first": PLAIN, "second": PLAIN}


def dataset(n: int = 64) -> Dataset:
    x = torch.randint(
        0, 2, (n + 32, 1, 2, 2), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    return Dataset("toy", SPEC, x[:n], None, x[n:], None, x[n:], None)


def labelled() -> Dataset:
    plain = dataset()
    y = torch.arange(96) % 3
    return Dataset(
        "toy",
        DataSpec(2, 2, 2, 3),
        plain.train_x,
        y[:64],
        plain.valid_x,
        y[64:],
        plain.test_x,
        y[64:],
    )


class Linear(GenerativeModel):
    """A noisy quadratic loss whose path is easy to compute by hand; counts what it is called
    with.
    """

    likelihood = Likelihood.NONE
    family = "test"

    def __init__(self, spec: DataSpec = SPEC) -> None:
        super().__init__(spec)
        self.w = nn.Parameter(torch.tensor([0.5, -0.3, 0.2, 0.1]))
        self.seen: list[Tensor] = []

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        self.seen.append(x.clone())
        target = self.spec.unit(x).flatten(1) + 0.1 * torch.randn(len(x), 4, generator=rng)
        return Step((self.w - target).square().sum(1).mean())

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        raise NotImplementedError


class TwoPhases(GenerativeModel):
    """Two parameters, trained one after the other; the second loss sees the first parameter."""

    likelihood = Likelihood.LOWER_BOUND
    family = "test"

    def __init__(self, overlap: bool = False) -> None:
        super().__init__(SPEC)
        self.a, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.overlap = overlap
        self.log: list[tuple[str, float, bool, bool]] = []

    def phases(self) -> Sequence[Phase]:
        if self.overlap:
            return [
                Phase("a", [self.a], self.loss("a"), repeats=2),
                Phase("b", [self.b], self.loss("b")),
            ]
        return [
            Phase("a", [self.a], self.loss("a"), span=(0.0, 0.5)),
            Phase("b", [self.b], self.loss("b"), span=(0.5, 1.0)),
        ]

    def loss(self, name: str) -> Callable[..., Step]:
        def evaluate(x: Tensor, y: Tensor | None, *, rng: Generator, progress: float) -> Step:
            if self.training:
                self.log.append((name, progress, self.a.requires_grad, self.b.requires_grad))
            own = self.a if name == "a" else self.b
            return Step(
                (own - 1).square() + 0 * (self.a + self.b), {"square": own.detach().square()}
            )

        return evaluate

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        raise NotImplementedError


class Normed(Linear):
    """Has a batch norm in its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4, affine=False)

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        return Step((self.norm(self.w * self.spec.unit(x).flatten(1)) - self.w).square().mean())


class Everything(GenerativeModel):
    """Batch norm, dropout, labels, state in ``after_step`` and two phases in turn: what a resumed
    or frozen run may get wrong.
    """

    likelihood = Likelihood.LOWER_BOUND
    conditioning = Conditioning.OPTIONAL
    family = "test"

    def __init__(self) -> None:
        super().__init__(DataSpec(2, 2, 2, 3), conditional=True)
        self.first = nn.Sequential(
            nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 1)
        )
        self.second = nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        self.register_buffer("carried", torch.zeros(()))
        self.first_in_second: list[tuple[bool, Tensor]] = []

    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        assert y is not None
        self.carried += y.float().mean() + torch.rand((), generator=rng)

    def phases(self) -> Sequence[Phase]:
        return [
            Phase("first", list(self.first.parameters()), self.first_loss, span=(0.0, 0.5)),
            Phase("second", list(self.second.parameters()), self.second_loss, span=(0.5, 1.0)),
        ]

    def first_loss(self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float) -> Step:
        assert y is not None
        out = self.first(self.spec.unit(x).flatten(1) + 0.1 * torch.randn(len(x), 4, generator=rng))
        return Step((out[:, 0] - y - 0.1 * self.carried).square().mean(), aux=out.detach().mean())

    def second_loss(self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float) -> Step:
        if self.training:
            self.first_in_second.append(
                (
                    self.first.training,
                    torch.cat([b.double().flatten() for b in self.first.buffers()]),
                )
            )
        hidden = self.first(self.spec.unit(x).flatten(1)).detach()
        return Step(
            (self.second(hidden)[:, 0] - 1).square().mean() + 0.1 * torch.rand((), generator=rng)
        )

    def after_step(self, phase: str, aux: object, *, rng: Generator, progress: float) -> None:
        if isinstance(aux, Tensor):
            self.carried.lerp_(aux.float(), 0.1)

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        raise NotImplementedError


def run(model: GenerativeModel, *, data: Dataset | None = None, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "steps": 20,
        "batch_size": 8,
        "optim": {"loss": PLAIN},
        "ema": 0.9,
    } | options
    return fit(model, data or dataset(), entry="toy", seed=0, **settings)
