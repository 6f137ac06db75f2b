"""Models whose latents are standard normal noise of the images' size."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from genbench.base import GenerativeModel

__all__ = ["NoiseLatents", "log_standard_normal", "spread"]

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class NoiseLatents(GenerativeModel):
    """Base of the flows, the diffusion models and flow matching: z in R^D is standard normal."""

    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Standard normal latents (n, D)."""
        self.check_count(n)
        self.check_labels(n, y)
        return torch.randn(n, self.spec.dims, generator=rng, device=rng.device)

    def check_latents(self, z: Tensor, y: Tensor | None) -> None:
        """Raise ValueError unless ``z`` is (n, D), with labels as this model takes them."""
        self.check_labels(len(z), y)
        if tuple(z.shape[1:]) != (self.spec.dims,):
            raise ValueError(f"z: shape must be (n, {self.spec.dims}), got {tuple(z.shape)}")

    def as_maps(self, z: Tensor) -> Tensor:
        """Latents (n, D) as (n, 1, H, W)."""
        return z.view(-1, 1, self.spec.height, self.spec.width)


def log_standard_normal(z: Tensor) -> Tensor:
    """Log-density (n,) of values (n, ...) under a standard normal distribution."""
    return -(0.5 * z.square() + _HALF_LOG_TWO_PI).flatten(1).sum(1)


def spread(n: int, *, rng: Generator) -> Tensor:
    """Times (n,) in [0, 1), each uniform by itself, together spread evenly.

    Kingma, Salimans, Poole, Ho, "Variational Diffusion Models", 2021, appendix I.1.
    """
    return (
        torch.rand((), generator=rng, device=rng.device) + torch.arange(n, device=rng.device) / n
    ) % 1
