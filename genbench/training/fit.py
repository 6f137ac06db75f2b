"""The one training loop. It branches on no model's name and no model's type.

Randomness is counter-based: the noise of repeat r of step t of phase p is a function of (entry,
seed, p, t, r), the order of an epoch one of (entry, seed, p, epoch). So a resumed run needs no
random state, and on the same kind of processor with as many threads reaches the same bits as one
that was never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from genbench.base import GenerativeModel, Likelihood, Step
from genbench.data.splits import Dataset
from genbench.data.subsets import strided
from genbench.progress import Progress
from genbench.training.batch_norm import set_statistics
from genbench.training.batches import Batches
from genbench.training.checkpoints import Workspace
from genbench.training.history import Fitted
from genbench.training.loop_state import TrainingState
from genbench.training.muon import hidden_matrices
from genbench.training.options import TrainOptions
from genbench.training.ownership import buffers_of, modules_of
from genbench.training.phase_state import PhaseState, set_train_mode
from genbench.training.randomness import Randomness, RunIdentity
from genbench.training.validation import Validation, averaged

__all__ = ["fit"]

_CHECKPOINT = "train.pt"


def fit(
    model: GenerativeModel,
    data: Dataset,
    options: TrainOptions,
    identity: RunIdentity,
    *,
    device: torch.device | str = "cpu",
    checkpoints: Workspace | None = None,
) -> Fitted:
    """Train ``model`` in place; afterwards it holds its scored weights and is in eval mode on
    ``device``.

    Arguments:
        model: from :func:`genbench.registry.build`.
        data: its data set; only the training and validation splits are used.
        options: by :meth:`TrainOptions.of`, of this model.
        identity: of the run; all randomness follows from it.
        device: where to train.
        checkpoints: folder to keep unfinished work in and to go on from.

    Raises:
        FloatingPointError: a loss or gradient is not finite; names model, phase and step.
    """
    return _Loop(model, data, options, identity, torch.device(device), checkpoints).run()


class _Loop:
    """One call of :func:`fit`."""

    def __init__(
        self,
        model: GenerativeModel,
        data: Dataset,
        options: TrainOptions,
        identity: RunIdentity,
        device: torch.device,
        checkpoints: Workspace | None,
    ) -> None:
        self.model, self.options, self.identity = model, options, identity
        self.device, self.checkpoints = device, checkpoints
        self.randomness = Randomness(identity, device)
        self.x, self.y = data.train_x.to(device), self._labels(data.train_y)
        self.batches = Batches(self.x, self.y, options.batch_size, identity)
        self.validation = self._validation(data)
        model.to(device)
        saved = None if checkpoints is None else checkpoints.load(_CHECKPOINT, device=device)
        if saved is None:
            rng = identity.generator_for("init_from_data", device=device)
            model.init_from_data(self.x, self.y, rng=rng)
        options.arithmetic.prepare(model)
        self.state = TrainingState(model, self._phases())
        if saved is not None:
            self.state.load_state_dict(saved)
        self._plan()

    def _labels(self, y: Tensor | None) -> Tensor | None:
        return y.to(self.device) if y is not None and self.model.conditional else None

    def _validation(self, data: Dataset) -> Validation:
        chosen = torch.from_numpy(strided(len(data.valid_x), self.options.validate_images))
        x = data.valid_x[chosen].to(self.device)
        y = self._labels(None if data.valid_y is None else data.valid_y[chosen])
        arithmetic = self.options.arithmetic
        return Validation(x, y, self.batches.size, arithmetic, self.randomness)

    def _phases(self) -> list[PhaseState]:
        model, options = self.model, self.options
        phases, hidden = model.phases(), hidden_matrices(model)
        return [
            PhaseState(
                phase,
                options.optim[phase.name],
                modules_of(model, phases, phase),
                buffers_of(model, phases, phase),
                hidden=hidden,
                steps=options.steps,
                ema=options.ema,
            )
            for phase in phases
        ]

    def _plan(self) -> None:
        """When to log, and to validate: whole multiples of that."""
        steps = self.options.steps
        self.log_every = max(1, min(100, math.ceil(steps / 200)))
        apart = steps / self.options.validations
        self.validate_every = self.log_every * max(1, round(apart / self.log_every))
        self.edges = sorted({edge for s in self.state.phases for edge in (s.first, s.end)})
        self.keeps_best = self.model.likelihood in (Likelihood.EXACT, Likelihood.LOWER_BOUND)

    # ------------------------------------------------------------------ the loop

    def run(self) -> Fitted:
        clock, steps = self.state.clock, self.options.steps
        self.started = time.monotonic() - clock.seconds
        self.worked = time.process_time() - clock.cpu_seconds
        label = f"train {self.identity.entry}"
        with Progress(label, steps, unit="steps", done=clock.step) as progress:
            while clock.step < steps:
                begun = time.monotonic()
                row = self._train_until(self._next_stop())
                clock.training += time.monotonic() - begun
                self._after(clock.step, row)
                clock.history.append(row)
                progress.update(clock.step, _summary(row))
                self._save_if_due()
        self._finish()
        self._read_clocks()
        speed = clock.images / max(clock.training, 1e-9)
        return Fitted(clock.history, clock.seconds, clock.cpu_seconds, speed)

    def _read_clocks(self) -> None:
        self.state.clock.seconds = time.monotonic() - self.started
        self.state.clock.cpu_seconds = time.process_time() - self.worked

    def _next_stop(self) -> int:
        """The step before which to log: the next multiple, or where a phase begins or ends."""
        step = self.state.clock.step
        multiple = (step // self.log_every + 1) * self.log_every
        stops = (self.options.steps, multiple, *self.edges)
        return min(stop for stop in stops if stop > step)

    def _train_until(self, last: int) -> dict[str, float]:
        """Steps up to ``last``; returns the means of what they logged."""
        clock = self.state.clock
        set_train_mode(self.model, self.state.phases)
        logged: dict[str, list[Tensor]] = {}
        first, begun, images = clock.step, time.monotonic(), clock.images
        for step in range(first, last):
            for state in self.state.phases:
                if not state.active(step):
                    continue
                self._let_train(state)
                for repeat in range(state.phase.repeats):
                    self._step(state, step, repeat, logged)
        clock.step = last
        seconds = max(time.monotonic() - begun, 1e-9)
        row = {"step": float(last), "images_per_second": (clock.images - images) / seconds}
        for name, values in logged.items():
            stacked = torch.stack(values).float().cpu()
            self._check_finite(name, stacked, first)
            row[name] = float(stacked.mean())
        return row

    def _step(
        self, state: PhaseState, step: int, repeat: int, logged: dict[str, list[Tensor]]
    ) -> None:
        phase = state.phase
        rng = self.randomness.set_to("train", phase.name, step, repeat)
        x, y = self.batches.take(phase.name, (step - state.first) * phase.repeats + repeat)
        progress = state.progress(step)
        with self.options.arithmetic.autocast():
            out: Step = phase.loss(x, y, rng=rng, progress=progress)
        out.loss.backward()
        norm = state.update(step)
        self.model.after_step(phase.name, out.aux, rng=rng, progress=progress)
        self.state.clock.images += len(x)
        for name, value in (("loss", out.loss), ("grad_norm", norm), *out.logs.items()):
            logged.setdefault(f"{phase.name}/{name}", []).append(value.detach())

    def _let_train(self, state: PhaseState) -> None:
        """Let gradients reach this phase's parameters alone."""
        if len(self.state.phases) > 1:
            self.model.requires_grad_(False)
            for p in state.params:
                p.requires_grad_(True)

    def _check_finite(self, name: str, values: Tensor, first: int) -> None:
        if not bool(values.isfinite().all()):
            phase, value = name.split("/", 1)
            state = next(s for s in self.state.phases if s.phase.name == phase)
            index = int((~values.isfinite()).nonzero()[0])
            step = max(first, state.first) + index // state.phase.repeats
            raise FloatingPointError(
                f"{self._where(state)}: {value} is {values[index].item()} at step {step}; lower "
                f"entries.{self.identity.entry}.train.optim.{phase}.lr, or clip more"
            )

    def _where(self, state: PhaseState) -> str:
        return f"{type(self.model).__name__}, entry {self.identity.entry}, phase {state.phase.name}"

    # ------------------------------------------- validation, the end of phases, and of the training

    def _after(self, step: int, row: dict[str, float]) -> None:
        """Validate and end the phases for which it is time."""
        for state in self.state.phases:
            if state.finished or step <= state.first:
                continue
            row[f"{state.phase.name}/lr"] = state.rate
            ends = step >= state.end
            if self.keeps_best and (ends or step % self.validate_every == 0):
                row[f"{state.phase.name}/valid_loss"] = self._validate(state)
            if ends:
                state.finish()
        row["seconds"] = time.monotonic() - self.started

    def _validate(self, state: PhaseState) -> float:
        """The validation loss of a phase's averaged weights, which are kept if it is the best."""
        with averaged(self.model, self.state.phases):
            loss = self.validation.loss(state)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"{self._where(state)}: the validation loss is {loss} after step "
                f"{self.state.clock.step - 1}"
            )
        state.consider(loss)
        return loss

    def _save_if_due(self) -> None:
        clock = self.state.clock
        if self.checkpoints is None:
            return
        if self.checkpoints.due() or clock.step == self.options.steps:
            self._read_clocks()
            self.checkpoints.save(_CHECKPOINT, self.state.state_dict())

    def _finish(self) -> None:
        self.options.arithmetic.release(self.model)
        set_statistics(self.model, self.state.phases, self.x, self.y, self.randomness)
        self.model.eval().requires_grad_(True)


def _summary(row: Mapping[str, float]) -> str:
    losses = [
        f"{name.removesuffix('/loss')} {value:.4g}"
        for name, value in row.items()
        if name.endswith("/loss")
    ]
    return f"{', '.join(losses)}, {row['images_per_second']:.0f} images/s"
