"""Control row: real training images, sold as samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from genbench.base import DataSpec, GenerativeModel, Likelihood, Phase
from genbench.data.subsets import strided
from genbench.errors import check_positive

__all__ = ["TrainCopy"]


class TrainCopy(GenerativeModel):
    r"""Draws stored training images without replacement: the score of perfect samples at this
    sample size, and of a perfect memory.

    .. math:: P(x) = \frac1N \sum_{n=1}^N [x = x_n]

    for a single draw. No sample score can tell the two apart, so a model near this row has either
    learned the data or learned it by heart.

    Symbols:
        :math:`x_n`: ``images``.

    References:
        Meehan, Chaudhuri, Dasgupta, "A Non-Parametric Test to Detect Data-Copying in Generative
            Models", 2020, https://arxiv.org/abs/2004.05675 (what copying is, and why scores of
            samples miss it).

    Differs: nothing.

    Arguments:
        spec: the images.
        size: N, how many training images are stored, evenly spaced over the training split.

    Example:
        >>> model = TrainCopy(DataSpec(2, 2, 2), size=3)
        >>> model.sample(2, rng=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 2, 2])
    """

    likelihood: ClassVar[Likelihood] = Likelihood.NONE
    family: ClassVar[str] = "control"
    control: ClassVar[bool] = True
    sampler_name: ClassVar[str] = "training images"
    independent_draws: ClassVar[bool] = False
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = [
        (DataSpec(3, 3, 2), {"size": 32}),
        (DataSpec(2, 2, 4), {"size": 32}),
    ]

    images: Tensor

    def __init__(self, spec: DataSpec, *, size: int = 10_000) -> None:
        super().__init__(spec)
        check_positive(size=size)
        self.register_buffer(
            "images", torch.zeros(size, 1, spec.height, spec.width, dtype=torch.uint8)
        )

    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        """Store evenly spaced training images."""
        if len(x) < len(self.images):
            raise ValueError(
                f"size: {len(self.images)} images are to be stored, but the training split has "
                f"{len(x)}"
            )
        self.images.copy_(x[torch.from_numpy(strided(len(x), len(self.images))).to(x.device)])

    def phases(self) -> Sequence[Phase]:
        """Nothing to optimise."""
        return []

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Stored images uint8 (n, 1, H, W), each at most once until all have been used."""
        self.check_count(n)
        self.check_labels(n, y)
        size = len(self.images)
        rounds = math.ceil(n / size)
        orders = [torch.randperm(size, generator=rng, device=rng.device) for _ in range(rounds)]
        return self.images[torch.cat(orders)[:n].to(self.images.device)]
