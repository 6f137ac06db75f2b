"""What else a model can do than be trained, sampled and scored: protocols, found by isinstance.

A model need not name them; it has the methods. Plug-ins import them from :mod:`genbench.base`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Generator, Tensor

__all__ = ["Diagnosed", "Encoder", "Inpaintable", "Latent", "Termed", "Traceable"]


@runtime_checkable
class Latent(Protocol):
    """Has a latent space: interpolation and traversal."""

    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Latents (n, ...) from the prior."""

    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Images uint8 (n, 1, H, W) of latents ``z``."""


@runtime_checkable
class Encoder(Protocol):
    """Maps images to latents: reconstruction and interpolation between real images."""

    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Latents (B, ...) of images uint8 (B, 1, H, W)."""


@runtime_checkable
class Diagnosed(Protocol):
    """Has numbers that say how it works rather than how good it is."""

    def diagnostics(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> dict[str, float]:
        """Name → value, from images uint8 (N, 1, H, W) of any number: active latents, perplexity of
        codes.
        """


@runtime_checkable
class Termed(Protocol):
    """Has a likelihood bound that is a sum over steps, and can say what each costs."""

    def bound_terms(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Nats (T + 1,) that the terms cost on average over images uint8 (N, 1, H, W): of steps
        1..T, then of the prior; their sum is the bound.
        """


@runtime_checkable
class Traceable(Protocol):
    """Can show its sampling process."""

    def frames(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Iterator[Tensor]:
        """Successive states of sampling, uint8 (n, 1, H, W) each; the last one is the sample."""


@runtime_checkable
class Inpaintable(Protocol):
    """Can complete an image of which a part is known."""

    def complete(
        self, x: Tensor, mask: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> Tensor:
        """Images uint8 (B, 1, H, W) that agree with ``x`` where the bool ``mask`` (H, W) is
        True.
        """
