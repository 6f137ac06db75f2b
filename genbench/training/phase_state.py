"""One phase while it is being trained: optimiser, clipping, average of the weights, best weights so
far.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from genbench.base import GenerativeModel, Phase
from genbench.training.muon import Muon
from genbench.training.options import OptimOptions
from genbench.training.schedule import learning_rate

__all__ = ["PhaseState", "set_train_mode"]


class PhaseState:
    """Optimiser state, weight average and best weights of one phase.

    Arguments:
        phase: what is trained.
        options: how.
        modules: the parts of the model that belong to this phase alone.
        buffers: the buffers that belong to it, kept with its best weights.
        hidden: parameters that Muon may take, of this phase and others.
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
        hidden: Collection[nn.Parameter] = (),
        steps: int,
        ema: float,
    ) -> None:
        self.phase, self.options = phase, options
        self.modules, self.buffers = modules, buffers
        self.decay = ema
        self.first, self.end = (round(share * steps) for share in phase.span)
        self.params: list[Tensor] = list(phase.params)
        self.optimizers = _optimizers(phase.params, options, hidden)
        self.ema = [p.detach().clone() for p in self.params]
        self.best_loss = math.inf
        self.best: tuple[list[Tensor], dict[str, Tensor]] | None = None
        self.finished = False

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizers[0].param_groups[0]["lr"])

    def active(self, step: int) -> bool:
        """Whether the phase takes part in an outer step."""
        return self.first <= step < self.end

    def progress(self, step: int) -> float:
        """Share of the phase that lies before ``step``."""
        return (step - self.first) / max(1, self.end - self.first)

    def update(self, step: int) -> Tensor:
        """One optimiser step from the gradients in place; returns their norm before clipping."""
        steps = max(1, self.end - self.first)
        rate = learning_rate(self.options, self.progress(step), steps)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        grads = [p.grad for p in self.params if p.grad is not None]
        norm = nn.utils.get_total_norm(grads, foreach=True)
        if self.options.clip is not None:
            nn.utils.clip_grads_with_norm_(self.params, self.options.clip, norm, foreach=True)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
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
            buffers = {name: b.detach().clone() for name, b in self.buffers.items()}
            self.best_loss, self.best = loss, ([p.clone() for p in self.ema], buffers)

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
        optimizers = None if self.finished else [o.state_dict() for o in self.optimizers]
        return {
            "optimizers": optimizers,
            "ema": self.ema,
            "best_loss": self.best_loss,
            "best": self.best,
            "finished": self.finished,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        if state["optimizers"] is not None:
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
        self.ema = state["ema"]
        self.best_loss, self.best = state["best_loss"], state["best"]
        self.finished = state["finished"]


def _optimizers(
    params: Sequence[nn.Parameter], options: OptimOptions, hidden: Collection[nn.Parameter]
) -> list[torch.optim.Optimizer]:
    """Those that together take all parameters."""
    matrices = [p for p in params if options.name == "muon" and p in hidden]
    others = [p for p in params if options.name != "muon" or p not in hidden]
    made: list[torch.optim.Optimizer] = []
    if matrices:
        made.append(
            Muon(
                matrices,
                options.lr,
                momentum=options.momentum,
                weight_decay=options.weight_decay,
            )
        )
    if others:
        beta1, beta2 = options.betas
        made.append(
            torch.optim.AdamW(
                others,
                lr=options.lr,
                betas=(beta1, beta2),
                weight_decay=options.weight_decay,
                fused=True,
            )
        )
    return made


def set_train_mode(model: GenerativeModel, states: Iterable[PhaseState]) -> None:
    """Train mode for all of a model but the parts whose phases are finished."""
    model.train()
    for state in states:
        if state.finished:
            for module in state.modules:
                module.training = False
