"""Control row: independent pixels, each with its own histogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from genbench.base import DataSpec, Phase
from genbench.families.autoregressive import Autoregressive
from genbench.nn.heads import Categorical

__all__ = ["PixelMarginals"]


class PixelMarginals(Autoregressive):
    """P(x) = prod_i (count_i(x_i) + 1) / (N + L): what a model gets that knows each pixel's histogram and nothing of how pixels go together.

    A model that was trained on its likelihood and does not beat this row is broken.

    Arguments:
        spec: the images.

    Example:
        >>> model = PixelMarginals(DataSpec(2, 2, 2))
        >>> model.log_likelihood(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), rng=torch.Generator()).exp()
        tensor([0.0625], dtype=torch.float64)
    """

    family: ClassVar[str] = "control"
    control: ClassVar[bool] = True
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = [(DataSpec(3, 3, 2), {}), (DataSpec(2, 2, 4), {})]

    log_probs: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec, head=Categorical(spec.levels))
        self.register_buffer("log_probs", torch.zeros(spec.dims, spec.levels, dtype=torch.float64).log_softmax(-1))

    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        """Count the levels of each pixel, starting from one of each."""
        counts = torch.ones_like(self.log_probs)
        places = torch.arange(self.spec.dims, device=x.device) * self.spec.levels
        for part in x.flatten(1).split(10_000):
            found = torch.bincount((part.long() + places).flatten(), minlength=counts.numel())
            counts += found.view_as(counts)
        self.log_probs.copy_(counts.log() - counts.sum(1, keepdim=True).log())

    def phases(self) -> Sequence[Phase]:
        """Nothing to optimise."""
        return []

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The same log probabilities (B, D, L) for every image."""
        return self.log_probs.expand(len(x), -1, -1)

    def step(self, x: Tensor, i: int, cache: Any) -> tuple[Tensor, Any]:
        """Log probabilities (n, L) of pixel i."""
        return self.log_probs[i].expand(len(x), -1), cache
