"""Control row: new digits, among them copies of training images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.models.train_copy import TrainCopy

__all__ = ["PartialCopy"]

SLANTS = (0.2, 0.35)
"""Pixels to the side for each row, the least and the most, to the left or to the right: within the
slants that digits have, and far enough from the upright image.
"""


class PartialCopy(TrainCopy):
    r"""Draws stored training images without replacement and slants all but a share of them, which
    stay exact copies: what the memorisation scores must find.

    .. math::
        P(x) = \frac1N \sum_{n=1}^N \left(
            c \, [x = x_n] + (1 - c) \, \mathbb{E}_s [x = S_s x_n] \right)

    for a single draw, where :math:`S_s` moves row i to the side by :math:`s (i - (H - 1) / 2)`
    pixels, rounded, and s is uniform in 0.2 to 0.35, to either side. Slanted digits stand for new
    ones: validation images would be the better choice, but no model gets to see them.

    Symbols:
        :math:`x_n`: ``images``. :math:`c`: ``share``.

    References:
        Meehan, Chaudhuri, Dasgupta, "A Non-Parametric Test to Detect Data-Copying in Generative
            Models", 2020, https://arxiv.org/abs/2004.05675 (what copying is).

    Differs: the paper tests density estimates and trained networks, and has no such row.

    Arguments:
        spec: the images.
        size: N, how many training images are stored, evenly spaced over the training split.
        share: c, of the samples that are copies; they are evenly spread over the samples.

    Example:
        >>> model = PartialCopy(DataSpec(2, 2, 2), size=3)
        >>> model.sample(2, rng=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 2, 2])
    """

    sampler_name: ClassVar[str] = "slanted and copied training images"
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = [
        (DataSpec(3, 3, 2), {"size": 32}),
        (DataSpec(2, 2, 4), {"size": 32}),
    ]

    def __init__(self, spec: DataSpec, *, size: int = 10_000, share: float = 0.1) -> None:
        super().__init__(spec, size=size)
        if not 0 <= share <= 1:
            raise UserError(f"share: must be in [0, 1], got {share}")
        self.share = share

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Stored images uint8 (n, 1, H, W), each at most once until all have been used; all but
        ``share`` of them slanted.
        """
        images = super().sample(n, y, rng=rng)
        low, high = SLANTS
        slants = low + (high - low) * torch.rand(n, generator=rng, device=rng.device)
        slants *= 2 * torch.randint(0, 2, (n,), generator=rng, device=rng.device) - 1
        return _slanted(images, torch.where(self._copied(n), 0.0, slants.cpu()).to(images.device))

    def _copied(self, n: int) -> Tensor:
        """Which of n samples are copies, bool (n,): every tenth, where the share is 0.1."""
        count = (torch.arange(n + 1, dtype=torch.float64) * self.share + 1e-9).floor()
        return count.diff() > 0


def _slanted(x: Tensor, slants: Tensor) -> Tensor:
    """Images (n, 1, H, W) whose rows are moved by whole pixels, ``slants`` (n,) for each row; what
    leaves on one side comes back on the other.
    """
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device) - (height - 1) / 2
    moves = (slants[:, None] * rows).round().long()  # (n, H)
    place = (torch.arange(width, device=x.device) - moves[..., None]) % width  # (n, H, W)
    return x.gather(3, place[:, None])
