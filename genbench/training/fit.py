"""The one training loop. It branches on no model's name and no model's type.

Randomness is counter-based: the noise of repeat r of step t of phase p is a function of (entry,
seed, p, t, r), the order of an epoch one of (entry, seed, p, epoch). So a resumed run needs no
random state, and on the same kind of processor with as many threads reaches the same bits as one
that was never stopped.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from genbench.base import GenerativeModel, Likelihood, Step
from genbench.data.datasets import Dataset, strided
from genbench.nn.batch_norm_statistics import estimate_statistics
from genbench.progress import Progress
from genbench.seeding import generator_for, seed_for
from genbench.training.arithmetic import Backend
from genbench.training.batches import Batches
from genbench.training.checkpoints import Workspace
from genbench.training.history import Clock, Fitted
from genbench.training.optim import OptimOptions, PhaseState, check_optim
from genbench.training.ownership import buffers_of, modules_of

__all__ = ["fit"]

_STATISTICS_IMAGES, _STATISTICS_CHUNK = 5_000, 250
"""Training images behind batch-norm statistics, and images of a pass: enough that a variance within
a pass is that of the data, in any batch size.
"""


def fit(
    model: GenerativeModel,
    data: Dataset,
    *,
    entry: str,
    seed: int,
    device: torch.device | str = "cpu",
    resume: Workspace | None = None,
    steps: int = 0,
    batch_size: int = 128,
    optim: Mapping[str, Any] | None = None,
    ema: float = 0.999,
    validations: int = 20,
    validate_images: int = 10_000,
    backend: Mapping[str, Any] | None = None,
) -> Fitted:
    """Train ``model`` in place; afterwards it holds its scored weights and is in eval mode on
    ``device``.

    Arguments:
        model: from :func:`genbench.registry.build`.
        data: its data set; only the training and validation splits are used.
        entry: name of the run; with ``seed`` its identity, from which all randomness follows.
        seed: of the run.
        device: where to train.
        resume: folder to keep checkpoints in and to go on from.
        steps: optimiser steps (of the outer loop).
        batch_size: images per inner step.
        optim: phase name -> fields of :class:`OptimOptions`.
        ema: decay of the weight average.
        validations: how often the validation loss is taken; models with an exact likelihood or a
            bound keep the best weights.
        validate_images: images of the validation split that it is taken on, evenly spaced.
        backend: device type -> fields of :class:`Backend`.

    Raises:
        FloatingPointError: a loss or gradient is not finite; names model, phase and step.
        UserError: options that do not fit the model.
    """
    where = f"entries.{entry}.train"
    given = {
        "optim": optim or {},
        "steps": steps,
        "batch_size": batch_size,
        "validate_images": validate_images,
    }
    options = check_optim(model, {**given, "ema": ema, "validations": validations}, where=where)
    settings = (steps, batch_size, options, ema, validations, validate_images, backend)
    return _Loop(model, data, entry, seed, torch.device(device), resume, *settings).run()


class _Loop:
    """The state of one call of :func:`fit`."""

    def __init__(
        self,
        model: GenerativeModel,
        data: Dataset,
        entry: str,
        seed: int,
        device: torch.device,
        resume: Workspace | None,
        steps: int,
        batch_size: int,
        options: Mapping[str, OptimOptions],
        ema: float,
        validations: int,
        validate_images: int,
        backend: Mapping[str, Any] | None,
    ) -> None:
        self.model, self.entry, self.seed, self.device, self.resume, self.steps = (
            model,
            entry,
            seed,
            device,
            resume,
            steps,
        )
        self.backend = Backend.of(backend or {}, device, where=f"entries.{entry}.train.backend")
        self.backend.check(model, where=f"entries.{entry}.train.backend")
        self.x, self.y = data.train_x.to(device), self._labels(data.train_y)
        chosen = torch.from_numpy(strided(len(data.valid_x), validate_images))
        self.valid_x = data.valid_x[chosen].to(device)
        self.valid_y = self._labels(None if data.valid_y is None else data.valid_y[chosen])
        self.batches = Batches(self.x, self.y, batch_size, entry, seed)
        self.batch = self.batches.size
        model.to(device)
        self.saved = resume.load("train.pt", device=device) if resume is not None else None
        if self.saved is None:
            model.init_from_data(
                self.x, self.y, rng=generator_for("init_from_data", entry, seed, device=device)
            )
        self.backend.prepare(model)
        phases = model.phases()
        self.phases = [
            PhaseState(
                phase,
                options[phase.name],
                modules_of(model, phases, phase),
                buffers_of(model, phases, phase),
                steps=steps,
                ema=ema,
            )
            for phase in phases
        ]
        self.log_every = max(1, min(100, math.ceil(steps / 200)))
        self.validate_every = self.log_every * max(
            1, round(steps / max(1, validations) / self.log_every)
        )
        self.edges = sorted({edge for s in self.phases for edge in (s.first, s.end)})
        self.keeps_best = model.likelihood in (Likelihood.EXACT, Likelihood.LOWER_BOUND)
        self.rng = torch.Generator(device)
        self.clock = Clock()

    def _labels(self, y: Tensor | None) -> Tensor | None:
        return y.to(self.device) if y is not None and self.model.conditional else None

    # ------------------------------------------------------------------ the loop

    def run(self) -> Fitted:
        self._load()
        self.started = time.monotonic() - self.clock.seconds
        with Progress(
            f"train {self.entry}", self.steps, unit="steps", done=self.clock.step
        ) as progress:
            while self.clock.step < self.steps:
                first, begun = self.clock.step, time.monotonic()
                last = min(
                    edge
                    for edge in (
                        self.steps,
                        (first // self.log_every + 1) * self.log_every,
                        *self.edges,
                    )
                    if edge > first
                )
                row = self._train_until(last)
                self.clock.training += time.monotonic() - begun
                self._after(last, row)
                self.clock.history.append(row)
                progress.update(last, self._summary(row))
                if self.resume is not None and (self.resume.due() or last == self.steps):
                    self._save()
        self.backend.release(self.model)
        chunks = range(
            max(1, min(_STATISTICS_IMAGES, len(self.x)) // _STATISTICS_CHUNK)
        )  # whole ones: one image alone has no variance
        estimate_statistics(
            self.model,
            [partial(self._loss_on, state, chunk) for state in self.phases for chunk in chunks],
        )
        self.model.eval().requires_grad_(True)
        self.clock.seconds = time.monotonic() - self.started
        return Fitted(
            self.clock.history,
            self.clock.seconds,
            self.clock.images / max(self.clock.training, 1e-9),
        )

    def _train_until(self, last: int) -> dict[str, float]:
        """Steps up to ``last``; returns the means of what they logged."""
        self._train_mode()
        logged: dict[str, list[Tensor]] = {}
        first, begun, images = self.clock.step, time.monotonic(), self.clock.images
        for step in range(first, last):
            for state in self.phases:
                if not state.active(step):
                    continue
                self._own(state)
                for repeat in range(state.phase.repeats):
                    self._step(state, step, repeat, logged)
        self.clock.step = last
        row = {
            "step": float(last),
            "images_per_second": (self.clock.images - images) / max(time.monotonic() - begun, 1e-9),
        }
        for name, values in logged.items():
            stacked = torch.stack(values).float().cpu()
            self._check_finite(name, stacked, first)
            row[name] = float(stacked.mean())
        return row

    def _step(
        self, state: PhaseState, step: int, repeat: int, logged: dict[str, list[Tensor]]
    ) -> None:
        phase = state.phase
        self._seed("train", phase.name, step, repeat)
        x, y = self.batches.take(phase.name, (step - state.first) * phase.repeats + repeat)
        progress = state.progress(step)
        with self.backend.autocast():
            out: Step = phase.loss(x, y, rng=self.rng, progress=progress)
        out.loss.backward()
        norm = state.update(step)
        self.model.after_step(phase.name, out.aux, rng=self.rng, progress=progress)
        self.clock.images += len(x)
        for name, value in (("loss", out.loss), ("grad_norm", norm), *out.logs.items()):
            logged.setdefault(f"{phase.name}/{name}", []).append(value.detach())

    def _train_mode(self) -> None:
        """Train mode for all but the parts whose phases are finished."""
        self.model.train()
        for state in self.phases:
            if state.finished:
                for module in state.modules:
                    module.training = False

    def _own(self, state: PhaseState) -> None:
        """Let gradients reach this phase's parameters alone."""
        if len(self.phases) > 1:
            self.model.requires_grad_(False)
            for p in state.params:
                p.requires_grad_(True)

    def _seed(self, purpose: str, *identity: str | int) -> None:
        seed = seed_for(purpose, self.entry, self.seed, *identity)
        self.rng.manual_seed(seed)
        dropout = seed_for(
            "global", purpose, self.entry, self.seed, *identity
        )  # dropout draws from the global generators
        torch.default_generator.manual_seed(dropout)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(dropout)

    def _check_finite(self, name: str, values: Tensor, first: int) -> None:
        if not bool(values.isfinite().all()):
            phase, value = name.split("/", 1)
            state = next(s for s in self.phases if s.phase.name == phase)
            index = int((~values.isfinite()).nonzero()[0])
            step = max(first, state.first) + index // state.phase.repeats
            raise FloatingPointError(
                f"{self._where(state)}: {value} is {values[index].item()} at step {step}; "
                f"lower entries.{self.entry}.train.optim.{phase}.lr, or clip more"
            )

    def _where(self, state: PhaseState) -> str:
        return f"{type(self.model).__name__}, entry {self.entry}, phase {state.phase.name}"

    # ------------------------------------------------------------- validation and the end of phases

    def _after(self, step: int, row: dict[str, float]) -> None:
        for state in self.phases:
            if state.finished or step <= state.first:
                continue
            row[f"{state.phase.name}/lr"] = state.optimizer.param_groups[0]["lr"]
            ends = step >= state.end
            if self.keeps_best and (ends or step % self.validate_every == 0):
                row[f"{state.phase.name}/valid_loss"] = self._validate(state)
            if ends:
                state.finish()
        row["seconds"] = time.monotonic() - self.started

    @torch.no_grad()
    def _validate(self, state: PhaseState) -> float:
        """Loss of a phase on the validation split with the averaged weights and fixed noise; keeps
        them if it is the best.
        """
        total = 0.0
        with self._averaged():
            for chunk, begin in enumerate(range(0, len(self.valid_x), self.batch)):
                self._seed("validate", state.phase.name, chunk)
                x = self.valid_x[begin : begin + self.batch]
                y = None if self.valid_y is None else self.valid_y[begin : begin + self.batch]
                with self.backend.autocast():
                    total += float(state.phase.loss(x, y, rng=self.rng, progress=1.0).loss) * len(x)
        loss = total / len(self.valid_x)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"{self._where(state)}: the validation loss is {loss} after step "
                f"{self.clock.step - 1}"
            )
        state.consider(loss)
        return loss

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model in eval mode with the averaged weights of all unfinished phases."""
        states = [s for s in self.phases if not s.finished]
        raw = [[p.detach().clone() for p in s.params] for s in states]
        self.model.eval()
        for s in states:
            s.set(s.ema)
        try:
            yield
        finally:
            for s, values in zip(states, raw, strict=True):
                s.set(values)
            self._train_mode()

    def _loss_on(self, state: PhaseState, chunk: int) -> None:
        """A phase's loss on a chunk of the training images, for its effect on batch-norm
        statistics.
        """
        self._seed("statistics", state.phase.name, chunk)
        rows = slice(chunk * _STATISTICS_CHUNK, (chunk + 1) * _STATISTICS_CHUNK)
        state.phase.loss(
            self.x[rows], None if self.y is None else self.y[rows], rng=self.rng, progress=1.0
        )

    # ------------------------------------------------------------------ checkpoints

    def _save(self) -> None:
        assert self.resume is not None
        self.clock.seconds = time.monotonic() - self.started
        clock = {name: getattr(self.clock, name) for name in self.clock.__slots__}
        self.resume.save(
            "train.pt",
            {
                "model": self.model.state_dict(),
                "phases": [s.state_dict() for s in self.phases],
                "clock": clock,
            },
        )

    def _load(self) -> None:
        saved, self.saved = self.saved, None
        if saved is not None:
            self.model.load_state_dict(saved["model"])
            for state, kept in zip(self.phases, saved["phases"], strict=True):
                state.load_state_dict(kept)
            self.clock = Clock(**saved["clock"])

    def _summary(self, row: Mapping[str, float]) -> str:
        losses: Sequence[str] = [
            f"{name.removesuffix('/loss')} {value:.4g}"
            for name, value in row.items()
            if name.endswith("/loss")
        ]
        return f"{', '.join(losses)}, {row['images_per_second']:.0f} images/s"
