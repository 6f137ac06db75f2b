"""Autoregressive models: log P(x) = sum_i log P(x_i | x_1..x_{i-1}), exact, and sampled one pixel
at a time.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from genbench.base import DataSpec, GenerativeModel, Likelihood, Step
from genbench.families.chunks import chunks
from genbench.nn.head import Head

__all__ = ["Autoregressive"]

_EXACT_CHUNK = 50
"""Images whose pixel distributions are scored in float64 at once: with 256 logits a pixel they take
80 MB at 28 x 28.
"""
_DRAWN_AT_ONCE = 500
"""Images drawn at once: thousands would bring no more speed, but caches that grow with them."""


class Autoregressive(GenerativeModel):
    r"""Base of the family: a subclass gives :meth:`logits`, and for fast sampling
    :meth:`init_cache` and :meth:`step`.

    .. math:: \log P(x) = \sum_{i=1}^D \log P(x_i \mid x_1, \dots, x_{i-1})

    Arguments:
        spec: the images.
        head: distribution of one pixel, with K parameters.
        conditional: model P(x|y) of a label y.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.EXACT
    family: ClassVar[str] = "autoregressive"

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuses the former name of a method, which nothing would call."""
        super().__init_subclass__(**options)
        method = cls.__dict__.get("block")
        if inspect.isfunction(method) and len(inspect.signature(method).parameters) == 1:
            raise TypeError(f"{cls.__name__}: the method block is now called 'images_at_once'")

    def __init__(self, spec: DataSpec, *, head: Head, conditional: bool = False) -> None:
        super().__init__(spec, conditional=conditional)
        self.head = head

    # ------------------------------------------------------------------ what a subclass gives

    @abstractmethod
    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, K) of all pixels given the true ones before them, in the order of
        :meth:`pixel_order`. ``x`` is uint8 (B, 1, H, W).
        """

    def pixel_order(self) -> Tensor:
        """Raster index (D,) of the pixel of each step."""
        return torch.arange(self.spec.dims, device=self.device)

    def training_logits(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> Tensor:
        """Head parameters for the training loss; differ from :meth:`logits` where training is
        stochastic.
        """
        return self.logits(x, y)

    def init_cache(self, n: int, y: Tensor | None = None) -> Any:
        """What :meth:`step` keeps from pixel to pixel for ``n`` images."""
        return y

    def step(self, x: Tensor, i: int, cache: Any) -> tuple[Tensor, Any]:
        """Head parameters (n, K) of step ``i`` and the next cache. ``x`` uint8 (n, 1, H, W) holds
        the pixels of all steps before.

        The default runs the whole network: slow, always right. An override may reuse the cache's
        memory.
        """
        return self.logits(x, cache)[:, i], cache

    def images_at_once(self) -> int:
        """Images drawn at once, which bounds the memory of a large draw; smaller where an image's
        cache is large.
        """
        return _DRAWN_AT_ONCE

    # ------------------------------------------------------------------ what it inherits

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Mean negative log-likelihood in nats per image."""
        logits = self.training_logits(x, y, rng=rng)
        log_prob = self.head.log_prob(logits, self._pixels(x))  # (B, D)
        return Step(-log_prob.sum(1).mean())

    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Exact log P(x) or log P(x|y) in nats, float64 (B,)."""
        self.check_images(x)
        self.check_labels(len(x), y)
        logits, pixels = self.logits(x, y), self._pixels(x)
        parts = zip(logits.split(_EXACT_CHUNK), pixels.split(_EXACT_CHUNK), strict=True)
        nats = [self.head.log_prob(part.double(), levels).sum(1) for part, levels in parts]
        return torch.cat(nats)

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Images uint8 (n, 1, H, W), drawn pixel by pixel from the scored distribution."""
        self.check_count(n)
        self.check_labels(n, y)
        x = self._blank(n)
        for part, labels in chunks(x, y, self.images_at_once()):
            for _ in self._draw(part, 0, labels, rng):
                pass
        return x

    @torch.no_grad()
    def frames(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Iterator[Tensor]:
        """The picture being drawn, one frame per row's worth of pixels; the last frame is the
        sample.

        Raises:
            ValueError: more images than :meth:`images_at_once`, since all are drawn at once.
        """
        self.check_count(n)
        most = self.images_at_once()
        if n > most:
            raise ValueError(f"n: at most {most} images can be drawn at once, got {n}")
        self.check_labels(n, y)
        x = self._blank(n)
        for i in self._draw(x, 0, y, rng):
            if (i + 1) % self.spec.width == 0:
                yield x.clone()

    @torch.no_grad()
    def complete(
        self, x: Tensor, mask: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> Tensor:
        """Draw the unknown pixels given the known ones.

        Arguments:
            x: images uint8 (B, 1, H, W).
            mask: bool (H, W), True where ``x`` is known; these pixels must come first in the
                model's order.
            y: labels (B,) of a conditional model.
            rng: randomness.

        Raises:
            ValueError: a known pixel comes after an unknown one, so that exact conditioning is
                impossible.
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        if mask.dtype != torch.bool or tuple(mask.shape) != (self.spec.height, self.spec.width):
            raise ValueError(
                f"mask: must be bool ({self.spec.height}, {self.spec.width}), got {mask.dtype} "
                f"{tuple(mask.shape)}"
            )
        known = mask.flatten()[self.pixel_order().to(mask.device)]
        count = int(known.sum())
        if not bool(known[:count].all()):
            first = int((~known).nonzero()[0])
            raise ValueError(
                "mask: known pixels must come before all unknown ones in the model's order, but "
                f"step {first} is unknown and a later one is known; mark as known a first part of "
                "the image, such as its upper rows"
            )
        result = torch.where(mask.to(x.device), x, torch.zeros_like(x))
        for part, labels in chunks(result, y, self.images_at_once()):
            for _ in self._draw(part, count, labels, rng):
                pass
        return result

    # ------------------------------------------------------------------ helpers

    def _blank(self, n: int) -> Tensor:
        shape = (n, 1, self.spec.height, self.spec.width)
        return torch.zeros(shape, dtype=torch.uint8, device=self.device)

    def _pixels(self, x: Tensor) -> Tensor:
        """Levels int64 (B, D) in the order of :meth:`pixel_order`."""
        return x.flatten(1)[:, self.pixel_order()].long()

    def _draw(self, x: Tensor, known: int, y: Tensor | None, rng: Generator) -> Iterator[int]:
        """Fill in the pixels of ``x`` in place from step ``known`` on; yields each step's number
        once its pixel is there.
        """
        cache, flat = self.init_cache(len(x), y), x.view(len(x), -1)  # flat (n, D) is a view of x
        for i, pixel in enumerate(self.pixel_order().tolist()):
            parameters, cache = self.step(x, i, cache)
            if i >= known:
                flat[:, pixel] = self.head.sample(parameters, rng=rng)
            yield i
