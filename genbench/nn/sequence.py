"""An image as a sequence in raster order: what models read that go from pixel to pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genbench.base import DataSpec

__all__ = ["PixelSequence"]


class PixelSequence(nn.Module):
    """For each step of the raster order a vector of what is known of it: the pixel before, its row, its column, and the image's label.

    The level of the pixel before is looked up in a table that starts as a line through the origin, so that near levels start alike.

    Arguments:
        spec: the images.
        width: length of the vectors.
        conditional: whether there are labels.
    """

    def __init__(self, spec: DataSpec, width: int, *, conditional: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.levels = nn.Embedding(spec.levels, width)
        self.start = nn.Parameter(torch.randn(width) * 0.5)
        self.rows = nn.Parameter(torch.randn(spec.height, width) * 0.5)
        self.columns = nn.Parameter(torch.randn(spec.width, width) * 0.5)
        self.labels = nn.Embedding(spec.classes, width) if conditional else None
        with torch.no_grad():
            self.levels.weight.copy_(torch.outer(torch.linspace(-1, 1, spec.levels), torch.randn(width)))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Vectors (B, D, width) for images uint8 (B, 1, H, W)."""
        before = self.levels(x.flatten(1)[:, :-1].long())
        steps = torch.cat([self.start.expand(len(x), 1, -1), before], 1) + self._places()
        return steps if self.labels is None else steps + self.labels(y)[:, None]

    def _places(self) -> Tensor:
        return (self.rows[:, None] + self.columns).flatten(0, 1)

    def cache(self, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What :meth:`at` needs besides the image: vectors per place (D, width) and per image (n, width) or None."""
        return self._places(), None if self.labels is None else self.labels(y)

    def at(self, x: Tensor, i: int, cache: tuple[Tensor, Tensor | None]) -> Tensor:
        """The vectors (n, width) of step ``i`` alone."""
        places, labels = cache
        before = self.levels(x.flatten(1)[:, i - 1].long()) if i else self.start.expand(len(x), -1)
        step = before + places[i]
        return step if labels is None else step + labels
