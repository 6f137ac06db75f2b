"""What stages promise, written out a second time and slowly: seeds, evenly spread images, and the
training loop. Uses none of what it checks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from genbench.base import GenerativeModel, Likelihood, Phase, Step
from genbench.data.splits import Dataset

__all__ = ["Training", "independent_pixels", "rate", "rng", "seed", "spread"]


def seed(*identity: str | int) -> int:
    """The first eight bytes of the SHA-256 of the parts, joined by the unit separator, as a
    little-endian number without its lowest bit.
    """
    digest = hashlib.sha256("\x1f".join(str(part) for part in identity).encode()).digest()
    return sum(byte * 256**place for place, byte in enumerate(digest[:8])) // 2


def rng(*identity: str | int) -> Generator:
    return Generator().manual_seed(seed(*identity))


def spread(total: int, n: int) -> list[int]:
    """``n`` evenly spaced ones of ``total`` images."""
    return [i * total // n for i in range(n)]


def independent_pixels(train: Tensor, test: Tensor, levels: int) -> np.ndarray:
    """Nats of each test image under the histograms of the training images' pixels, each level
    counted once more than it occurs.
    """
    seen, told = train.flatten(1).numpy(), test.flatten(1).numpy()
    counts = [np.bincount(seen[:, pixel], minlength=levels) + 1 for pixel in range(seen.shape[1])]
    return -sum(
        np.log(count / (len(seen) + levels))[told[:, pixel]] for pixel, count in enumerate(counts)
    )


def rate(k: int, n: int, *, lr: float, warmup: float, decay: str, final_lr: float) -> float:
    """Learning rate of step k of n: linear up to the end of the warm-up, then half a cosine down to
    ``final_lr`` of the peak; or level, and a line down over the last two fifths.
    """
    rising = min(1.0, (k + 0.5) / (warmup * n + 0.5))
    fallen = max(0.0, k / n - warmup) / (1 - warmup)
    left = (1 + math.cos(math.pi * fallen)) / 2
    if decay == "linear":
        left = min(1.0, (1 - k / n) / 0.4)
    return lr * rising * (final_lr + (1 - final_lr) * left)


def nearly_orthogonal(matrix: Tensor) -> Tensor:
    """Five steps of the polynomial of Muon on the singular values of a matrix, in float64."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return ((u * s) @ v).float()


@dataclass
class _Phase:
    """A phase: AdamW as its paper has it, or Muon for matrices of more than a row, the average of
    its weights, and the best average so far.
    """

    phase: Phase
    options: Mapping[str, Any]
    steps: int
    ema: float
    count: int = 0
    lr: float = 0.0
    best_loss: float = math.inf
    best: list[Tensor] | None = None
    finished: bool = False

    def __post_init__(self) -> None:
        self.first, self.end = (round(share * self.steps) for share in self.phase.span)
        self.params = list(self.phase.params)
        self.average = [p.detach().clone() for p in self.params]
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.params]

    @torch.no_grad()
    def step(self, step: int, gradients: Sequence[Tensor]) -> float:
        """One inner step; returns the norm of the gradients before clipping."""
        o = {
            "name": "adamw",
            "momentum": 0.95,
            "decay": "cosine",
            "betas": (0.9, 0.999),
            "weight_decay": 0.0,
            "warmup": 0.02,
            "final_lr": 0.0,
            "clip": 1.0,
        } | dict(self.options)
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
        scale = 1.0 if o["clip"] is None else min(1.0, o["clip"] / (norm + 1e-6))
        self.lr = lr = rate(
            step - self.first,
            self.end - self.first,
            lr=o["lr"],
            warmup=o["warmup"],
            decay=o["decay"],
            final_lr=o["final_lr"],
        )
        self.count += 1
        for p, g, (m, v) in zip(self.params, gradients, self.moments, strict=True):
            g = scale * g
            if o["name"] == "muon" and p.ndim == 2 and min(p.shape) > 1:
                m.copy_(o["momentum"] * m + (1 - o["momentum"]) * g)
                turned = nearly_orthogonal(o["momentum"] * m + (1 - o["momentum"]) * g)
                large = 0.2 * math.sqrt(max(p.shape))
                p.copy_(p - lr * o["weight_decay"] * p - lr * large * turned)
                continue
            m.copy_(o["betas"][0] * m + (1 - o["betas"][0]) * g)
            v.copy_(o["betas"][1] * v + (1 - o["betas"][1]) * g * g)
            first, second = (
                m / (1 - o["betas"][0] ** self.count),
                v / (1 - o["betas"][1] ** self.count),
            )
            p.copy_(p - lr * o["weight_decay"] * p - lr * first / (second.sqrt() + 1e-8))
        age = step - self.first + 1
        decay = min(self.ema, (1 + age) / (10 + age))
        self.average = [
            decay * a + (1 - decay) * p for a, p in zip(self.average, self.params, strict=True)
        ]
        return norm

    @torch.no_grad()
    def put(self, values: Sequence[Tensor]) -> None:
        for p, value in zip(self.params, values, strict=True):
            p.copy_(value)


class Training:
    """The training loop of ``genbench.training.fit``, for models without batch normalisation.

    Arguments:
        model: trained in place.
        data: its data set.
        entry, number: name and seed of the run.
        options: ``steps``, ``batch_size``, ``optim``, ``ema``, ``validations`` and
            ``validate_images``, as in params.yaml, all given.
    """

    def __init__(
        self,
        model: GenerativeModel,
        data: Dataset,
        entry: str,
        number: int,
        options: Mapping[str, Any],
    ) -> None:
        self.model, self.identity, self.steps = model, (entry, number), options["steps"]
        labels = model.conditional
        chosen = spread(len(data.valid_x), min(options["validate_images"], len(data.valid_x)))
        self.train = data.train_x, data.train_y if labels else None
        self.valid = (
            data.valid_x[chosen],
            data.valid_y[chosen] if labels and data.valid_y is not None else None,
        )
        self.size = min(options["batch_size"], len(data.train_x))
        model.init_from_data(*self.train, rng=rng("init_from_data", entry, number))
        self.phases = [
            _Phase(phase, options["optim"][phase.name], self.steps, options["ema"])
            for phase in model.phases()
        ]
        self.every = max(1, min(100, math.ceil(self.steps / 200)))
        self.pause = self.every * max(1, round(self.steps / options["validations"] / self.every))
        self.logged: dict[str, list[float]] = {}

    def run(self) -> list[dict[str, float]]:
        """Train; returns the history without times."""
        edges = {
            self.steps,
            *(state.first for state in self.phases),
            *(state.end for state in self.phases),
        }
        history = []
        self.model.train()
        for step in range(self.steps):
            for state in self.phases:
                if state.first <= step < state.end:
                    for repeat in range(state.phase.repeats):
                        self._inner(state, step, repeat)
            if (step + 1) % self.every == 0 or step + 1 in edges:
                history.append(self._row(step + 1))
        self.model.eval()
        return history

    def _inner(self, state: _Phase, step: int, repeat: int) -> None:
        name, progress = state.phase.name, (step - state.first) / (state.end - state.first)
        x, y = self._batch(name, (step - state.first) * state.phase.repeats + repeat)
        out, generator = self._loss(state.phase, "train", x, y, step, repeat, progress=progress)
        norm = state.step(step, torch.autograd.grad(out.loss, state.params))
        self.model.after_step(name, out.aux, rng=generator, progress=progress)
        for key, value in {"loss": out.loss, "grad_norm": norm, **out.logs}.items():
            self.logged.setdefault(f"{name}/{key}", []).append(
                float(value.detach() if isinstance(value, Tensor) else value)
            )

    def _batch(self, phase: str, number: int) -> tuple[Tensor, Tensor | None]:
        x, y = self.train
        epoch, place = divmod(number, len(x) // self.size)
        order = torch.randperm(len(x), generator=rng("order", *self.identity, phase, epoch))
        rows = order[place * self.size : (place + 1) * self.size]
        return x[rows], None if y is None else y[rows]

    def _loss(
        self, phase: Phase, purpose: str, x: Tensor, y: Tensor | None, *place: int, progress: float
    ) -> tuple[Step, Generator]:
        identity = (*self.identity, phase.name, *place)
        torch.manual_seed(seed("global", purpose, *identity))  # dropout
        generator = rng(purpose, *identity)
        return phase.loss(x, y, rng=generator, progress=progress), generator

    def _row(self, done: int) -> dict[str, float]:
        row = {"step": float(done)} | {
            key: sum(values) / len(values) for key, values in self.logged.items()
        }
        self.logged = {}
        validates = self.model.likelihood in (Likelihood.EXACT, Likelihood.LOWER_BOUND)
        for state in self.phases:
            if state.finished or done <= state.first:
                continue
            row[f"{state.phase.name}/lr"] = state.lr
            if validates and (done >= state.end or done % self.pause == 0):
                row[f"{state.phase.name}/valid_loss"] = loss = self._validate(state.phase)
                if loss < state.best_loss:
                    state.best_loss, state.best = loss, list(state.average)
            if done >= state.end:
                state.put(state.average if state.best is None else state.best)
                state.finished = True
        return row

    @torch.no_grad()
    def _validate(self, phase: Phase) -> float:
        """Mean loss of the chosen validation images under the averages of all phases that are not
        finished, in eval mode.
        """
        unfinished = [state for state in self.phases if not state.finished]
        kept = [[p.clone() for p in state.params] for state in unfinished]
        for state in unfinished:
            state.put(state.average)
        self.model.eval()
        (x, y), total = self.valid, 0.0
        for chunk, begin in enumerate(range(0, len(x), self.size)):
            part = slice(begin, begin + self.size)
            out, _ = self._loss(
                phase, "validate", x[part], None if y is None else y[part], chunk, progress=1.0
            )
            total += float(out.loss) * len(x[part])
        self.model.train()
        for state, values in zip(unfinished, kept, strict=True):
            state.put(values)
        return total / len(x)
