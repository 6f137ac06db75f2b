"""The order in which training images are seen: a function of the run's identity and of the batch's
number, never of history.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genbench.training.randomness import RunIdentity

__all__ = ["Batches"]


class Batches:
    """Batches of a data set that lives on the device as one tensor.

    Arguments:
        x: images uint8 (N, 1, H, W).
        y: labels int64 (N,), or None.
        size: images per batch; at most N.
        identity: of the run.
    """

    def __init__(self, x: Tensor, y: Tensor | None, size: int, identity: RunIdentity) -> None:
        self.x, self.y, self.size, self.identity = x, y, min(size, len(x)), identity
        self._orders: dict[str, tuple[int, Tensor]] = {}

    def take(self, phase: str, number: int) -> tuple[Tensor, Tensor | None]:
        """Batch ``number`` of a phase: a fresh permutation each epoch, whole batches only."""
        epoch, position = divmod(number, len(self.x) // self.size)
        if self._orders.get(phase, (-1,))[0] != epoch:
            rng = self.identity.generator_for("order", phase, epoch)
            order = torch.randperm(len(self.x), generator=rng)
            self._orders[phase] = (epoch, order.to(self.x.device))
        chosen = self._orders[phase][1][position * self.size : (position + 1) * self.size]
        return self.x[chosen], None if self.y is None else self.y[chosen]
