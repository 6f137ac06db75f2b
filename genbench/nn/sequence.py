"""An image as a sequence in raster order: the input of models that go from pixel to pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.nn.labels import LabelMaps, label_shifts

__all__ = ["PixelSequence", "SequenceCache"]

_INITIAL_STD = 0.5
"""Of the vectors of start, row and column: those of a pixel's row and column add up to the variance
1/2, between the 1/3 and the 1 that the vectors of 256 and of 2 levels have on average.
"""


class PixelSequence(nn.Module):
    """For each step of the raster order a vector of what is known of it: the pixel before, its row,
    its column, and the image's label.

    The level of the pixel before is looked up in a table that starts as a line through the origin,
    so that near levels start alike.

    Arguments:
        spec: the images.
        width: length of the vectors.
        conditional: whether there are labels.
        window: also read the pixels up to this many rows above and columns to either side that come
            before; 0 reads the last one only.
        label_maps: beside the vector of a label one of each of its steps.
    """

    def __init__(
        self,
        spec: DataSpec,
        width: int,
        *,
        conditional: bool = False,
        window: int = 0,
        label_maps: bool = False,
    ) -> None:
        super().__init__()
        if window < 0:
            raise UserError(f"window: must be at least 0, got {window}")
        if label_maps and not conditional:
            raise UserError("label_maps: only with conditional: true")
        self.spec, self.window = spec, window
        self.taps = window * (2 * window + 1) + window  # pixels of the window before its centre
        self.around = nn.Linear(self.taps, width, bias=False) if window else None
        self.levels = nn.Embedding(spec.levels, width)
        self.start = nn.Parameter(torch.randn(width) * _INITIAL_STD)
        self.rows = nn.Parameter(torch.randn(spec.height, width) * _INITIAL_STD)
        self.columns = nn.Parameter(torch.randn(spec.width, width) * _INITIAL_STD)
        self.labels = label_shifts(spec.classes, width) if conditional else None
        self.label_maps = LabelMaps(spec.classes, spec.dims, width) if label_maps else None
        line = torch.outer(torch.linspace(-1, 1, spec.levels), torch.randn(width))
        with torch.no_grad():
            self.levels.weight.copy_(line)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Vectors (B, D, width) for images uint8 (B, 1, H, W)."""
        start = self.start.expand(len(x), 1, -1)
        before = self.levels(x.flatten(1)[:, :-1].long())  # (B, D - 1, width)
        steps = torch.cat([start, before], 1) + self._positions()
        if self.around is not None:
            pixels = F.pad(self._signed(x), (self.window, self.window, self.window, 0))
            patches = F.unfold(pixels, (self.window + 1, 2 * self.window + 1))
            steps = steps + self.around(patches[:, : self.taps].transpose(1, 2))
        if self.label_maps is not None:
            steps = steps + self.label_maps(y)
        return steps if self.labels is None else steps + self.labels(y)[:, None]

    def _signed(self, x: Tensor) -> Tensor:
        return self.spec.signed(x).to(self.start.dtype)

    def _positions(self) -> Tensor:
        """Vectors (D, width) of the pixels' places in the image."""
        return (self.rows[:, None] + self.columns).flatten(0, 1)

    def cache(self, n: int, y: Tensor | None) -> SequenceCache:
        """What :meth:`at` needs besides the image."""
        height, width = self.spec.height + self.window, self.spec.width + 2 * self.window
        pixels = None if self.around is None else self.start.new_zeros(n, height, width)
        labels = None if self.labels is None else self.labels(y)
        maps = None if self.label_maps is None or y is None else self.label_maps(y)
        return SequenceCache(self._positions(), labels, pixels, maps)

    def at(self, x: Tensor, i: int, cache: SequenceCache) -> Tensor:
        """The vectors (n, width) of step ``i`` alone; steps are asked for in their order."""
        before = self.levels(x.flatten(1)[:, i - 1].long()) if i else self.start
        step = cache.positions[i] + before
        if self.around is not None and cache.pixels is not None:
            window = self.window
            if i:
                row, column = divmod(i - 1, self.spec.width)
                cache.pixels[:, row + window, column + window] = self._signed(x[:, 0, row, column])
            row, column = divmod(i, self.spec.width)
            patch = cache.pixels[:, row : row + window + 1, column : column + 2 * window + 1]
            step = step + self.around(patch.flatten(1)[:, : self.taps])
        if cache.maps is not None:
            step = step + cache.maps[:, i]
        return step.expand(len(x), -1) if cache.labels is None else step + cache.labels


@dataclass(frozen=True, slots=True)
class SequenceCache:
    """What the vectors of a step are made of besides the pixel before.

    Attributes:
        positions: (D, width).
        labels: (n, width), or None.
        pixels: with a window the pixels so far (n, H + window, W + 2 window) in their padding, else
            None.
    """

    positions: Tensor
    labels: Tensor | None
    pixels: Tensor | None
    maps: Tensor | None = None
