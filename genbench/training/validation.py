"""The validation loss of a phase, by which its best weights are chosen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genbench.base import GenerativeModel
from genbench.training.arithmetic import Arithmetic
from genbench.training.phase_state import PhaseState, set_train_mode
from genbench.training.randomness import Randomness

__all__ = ["Validation", "averaged"]


@dataclass(frozen=True, slots=True)
class Validation:
    """What the validation loss is taken on.

    Attributes:
        x: images uint8 (N, 1, H, W).
        y: labels int64 (N,), or None.
        batch_size: images per pass.
        arithmetic: as in training.
        randomness: of the run; each pass has noise that is the same at every validation.
    """

    x: Tensor
    y: Tensor | None
    batch_size: int
    arithmetic: Arithmetic
    randomness: Randomness

    @torch.no_grad()
    def loss(self, state: PhaseState) -> float:
        """Mean loss of a phase per image, with the weights that the model has."""
        total = 0.0
        for chunk, begin in enumerate(range(0, len(self.x), self.batch_size)):
            rows = slice(begin, begin + self.batch_size)
            x, y = self.x[rows], None if self.y is None else self.y[rows]
            rng = self.randomness.set_to("validate", state.phase.name, chunk)
            with self.arithmetic.autocast():
                total += float(state.phase.loss(x, y, rng=rng, progress=1.0).loss) * len(x)
        return total / len(self.x)


@contextlib.contextmanager
def averaged(model: GenerativeModel, states: Sequence[PhaseState]) -> Iterator[None]:
    """The model in eval mode with the averaged weights of all unfinished phases; afterwards with
    its own again, in train mode.
    """
    unfinished = [state for state in states if not state.finished]
    own = [[p.detach().clone() for p in state.params] for state in unfinished]
    model.eval()
    for state in unfinished:
        state.set(state.ema)
    try:
        yield
    finally:
        for state, values in zip(unfinished, own, strict=True):
            state.set(values)
        set_train_mode(model, states)
