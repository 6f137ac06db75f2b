"""Control row: independent pixels, each with its own histogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from genbench.base import DataSpec, GenerativeModel, Likelihood, Phase
from genbench.nn.histograms import draw_pixels, log_histograms

__all__ = ["PixelMarginals"]


class PixelMarginals(GenerativeModel):
    """P(x) = prod_i (count_i(x_i) + 1) / (N + L): what a model gets that knows each pixel's
    histogram and nothing of how pixels go together.

    A model that was trained on its likelihood and does not beat this row is broken.

    Arguments:
        spec: the images.

    Example:
        >>> model = PixelMarginals(DataSpec(2, 2, 2))
        >>> model.log_likelihood(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), rng=torch.Generator()).exp()
        tensor([0.0625], dtype=torch.float64)
    """

    likelihood: ClassVar[Likelihood] = Likelihood.EXACT
    family: ClassVar[str] = "control"
    control: ClassVar[bool] = True
    sampler_name: ClassVar[str] = "independent pixels"
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = [
        (DataSpec(3, 3, 2), {}),
        (DataSpec(2, 2, 4), {}),
    ]

    log_probs: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.register_buffer(
            "log_probs", torch.zeros(spec.dims, spec.levels, dtype=torch.float64).log_softmax(-1)
        )

    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        """Count the levels of each pixel, starting from one of each."""
        self.log_probs.copy_(log_histograms(x, self.spec.levels))

    def phases(self) -> Sequence[Phase]:
        """Nothing to optimise."""
        return []

    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Exact log P(x) in nats, float64 (B,)."""
        self.check_images(x)
        self.check_labels(len(x), y)
        chosen = (
            self.log_probs.double().expand(len(x), -1, -1).gather(2, x.flatten(1).long()[..., None])
        )
        return chosen[..., 0].sum(1)

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Images uint8 (n, 1, H, W), each pixel drawn from its histogram."""
        self.check_count(n)
        self.check_labels(n, y)
        return (
            draw_pixels(self.log_probs, n, rng=rng)
            .to(torch.uint8)
            .reshape(n, 1, self.spec.height, self.spec.width)
        )
