"""One phase while it is being trained: optimiser, schedule, clipping, average of the weights, best
weights so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genbench.base import GenerativeModel, Phase
from genbench.errors import UserError, bind_options, near

__all__ = ["OptimOptions", "PhaseState", "check_optim"]


@dataclass(frozen=True, slots=True)
class OptimOptions:
    """AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019) with linear
    warm-up and cosine decay.

    Attributes:
        lr: peak learning rate.
        betas: decay rates of the moments.
        weight_decay: decoupled weight decay.
        warmup: share of the phase's steps with a rising rate.
        final_lr: rate at the end as a share of ``lr``.
        clip: largest norm of the gradient over the phase's parameters; None leaves it alone.
    """

    lr: float
    betas: Sequence[float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup: float = 0.02
    final_lr: float = 0.0
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr: must be positive, got {self.lr}")
        if len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas):
            raise ValueError(f"betas: must be two numbers in [0, 1), got {self.betas}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip: must be positive, or null for none, got {self.clip}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay: must not be negative, got {self.weight_decay}")
        for name in ("warmup", "final_lr"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: must be a share in [0, 1], got {getattr(self, name)}")

    def rate(self, progress: float, steps: int) -> float:
        """Learning rate of the step at ``progress`` (0..1) of a phase of ``steps`` steps."""
        warmup = (
            self.warmup + 0.5 / steps
        )  # half a step more, so that the first step's rate is not zero
        rising = min(1.0, (progress + 0.5 / steps) / warmup)
        decay = max(0.0, progress - self.warmup) / max(1e-12, 1.0 - self.warmup)
        return (
            self.lr
            * rising
            * (
                self.final_lr
                + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, decay)))
            )
        )


def check_optim(
    model: GenerativeModel, train: Mapping[str, Any], *, where: str
) -> dict[str, OptimOptions]:
    """The optimiser options of each phase of a model.

    Raises:
        UserError: a phase without options, options without a phase, an unknown option, a bad value.
    """
    names, optim = [phase.name for phase in model.phases()], train.get("optim") or {}
    for name in optim:
        if name not in names:
            raise UserError(
                f"{where}.optim.{name}: {type(model).__name__} has no such phase{near(name, names)}"
            )
    for name in names:
        if name not in optim:
            raise UserError(f"{where}.optim: missing the phase {name!r} of {type(model).__name__}")
    for key, least in (
        ("steps", 1 if names else 0),
        ("batch_size", 1),
        ("validations", 1),
        ("validate_images", 1),
    ):
        if train.get(key, least) < least or (key == "steps" and names and key not in train):
            raise UserError(f"{where}.{key}: must be at least {least}, got {train.get(key)}")
    if not 0 <= train.get("ema", 0) < 1:
        raise UserError(f"{where}.ema: must be in [0, 1), got {train['ema']}")
    result = {}
    for name, block in optim.items():
        options = bind_options(OptimOptions, block, where=f"{where}.optim.{name}")
        try:
            result[name] = OptimOptions(**options)
        except ValueError as error:
            raise UserError(f"{where}.optim.{name}.{error}") from error
    return result


class PhaseState:
    """Optimiser state, weight average and best weights of one phase.

    Arguments:
        phase: what is trained.
        options: how.
        modules: the parts of the model that belong to this phase alone.
        buffers: the buffers that belong to it, kept with its best weights.
        steps: outer steps of the whole run; the phase is active from ``first`` up to before
            ``end``.
        ema: decay of the average of the weights; a warm-up lets it follow early progress.
    """

    def __init__(
        self,
        phase: Phase,
        options: OptimOptions,
        modules: Sequence[nn.Module],
        buffers: Mapping[str, Tensor],
        *,
        steps: int,
        ema: float,
    ) -> None:
        self.phase, self.options, self.modules, self.buffers, self.decay = (
            phase,
            options,
            modules,
            buffers,
            ema,
        )
        self.first, self.end = (round(share * steps) for share in phase.span)
        self.params: list[Tensor] = list(phase.params)
        beta1, beta2 = options.betas
        self.optimizer = torch.optim.AdamW(
            self.params,
            lr=options.lr,
            betas=(beta1, beta2),
            weight_decay=options.weight_decay,
            fused=True,
        )
        self.ema = [p.detach().clone() for p in self.params]
        self.best_loss = math.inf
        self.best: tuple[list[Tensor], dict[str, Tensor]] | None = None
        self.finished = False

    def active(self, step: int) -> bool:
        """Whether the phase takes part in an outer step."""
        return self.first <= step < self.end

    def progress(self, step: int) -> float:
        """Share of the phase that lies before ``step``."""
        return (step - self.first) / max(1, self.end - self.first)

    def update(self, step: int) -> Tensor:
        """One optimiser step from the gradients in place; returns their norm before clipping."""
        rate = self.options.rate(self.progress(step), max(1, self.end - self.first))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        grads = [p.grad for p in self.params if p.grad is not None]
        norm = nn.utils.get_total_norm(grads, foreach=True)
        if self.options.clip is not None:
            nn.utils.clip_grads_with_norm_(self.params, self.options.clip, norm, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        count = step - self.first + 1
        decay = min(self.decay, (1 + count) / (10 + count))
        with torch.no_grad():
            torch._foreach_lerp_(self.ema, self.params, 1 - decay)
        return norm

    def consider(self, loss: float) -> None:
        """Keep the averaged weights, with the phase's buffers of this step, if their validation
        loss is the best so far.
        """
        if loss < self.best_loss:
            self.best_loss = loss
            self.best = (
                [p.clone() for p in self.ema],
                {name: b.detach().clone() for name, b in self.buffers.items()},
            )

    def finish(self) -> None:
        """Give the parameters their scored values: the best averaged ones if any were kept, else
        the last average.
        """
        weights, kept = self.best if self.best is not None else (self.ema, {})
        self.set(weights)
        with torch.no_grad():
            for name, value in kept.items():
                self.buffers[name].copy_(value)
        self.finished = True
        self.best, self.ema = None, []

    @torch.no_grad()
    def set(self, values: Sequence[Tensor]) -> None:
        """Copy ``values`` into the parameters."""
        for p, value in zip(self.params, values, strict=True):
            p.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        optimizer = self.optimizer.state_dict() if not self.finished else None
        return {
            "optimizer": optimizer,
            "ema": self.ema,
            "best_loss": self.best_loss,
            "best": self.best,
            "finished": self.finished,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        if state["optimizer"] is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        self.ema, self.best_loss, self.best, self.finished = (
            state["ema"],
            state["best_loss"],
            state["best"],
            state["finished"],
        )
