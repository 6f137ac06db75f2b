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
    r"""Independent pixels: what a model gets that knows each pixel's histogram and nothing of how
    pixels go together.

    .. math:: P(x) = \prod_{i=1}^D \frac{n_i(x_i) + 1}{N + L}

    where :math:`n_i(v)` of the N training images have level v at pixel i, one of L levels. A model
    that was trained on its likelihood and does not beat this row is broken.

    Symbols:
        The logarithms of the quotients, for all pixels and levels: ``log_probs``.

    References:
        Salakhutdinov, Murray, "On the Quantitative Analysis of Deep Belief Networks", 2008,
            https://doi.org/10.1145/1390156.1390266 (the base-rate model).

    Differs: each level counts once more, so that no image is impossible.

    Arguments:
        spec: the images.

    Example:
        >>> model = PixelMarginals(DataSpec(2, 2, 2))
        >>> x = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
        >>> model.log_likelihood(x, rng=torch.Generator()).exp()
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
        uniform = torch.zeros(spec.dims, spec.levels, dtype=torch.float64).log_softmax(-1)
        self.register_buffer("log_probs", uniform)

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
        log_probs = self.log_probs.double().expand(len(x), -1, -1)  # (B, D, L)
        levels = x.flatten(1).long()[..., None]  # (B, D, 1)
        return log_probs.gather(2, levels)[..., 0].sum(1)

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Images uint8 (n, 1, H, W), each pixel drawn from its histogram."""
        self.check_count(n)
        self.check_labels(n, y)
        pixels = draw_pixels(self.log_probs, n, rng=rng).to(torch.uint8)  # (n, D)
        return pixels.reshape(n, 1, self.spec.height, self.spec.width)
