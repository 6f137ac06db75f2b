"""An autoencoder whose code is one vector per image: convolutions, and dense layers around the
vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genbench.base import DataSpec
from genbench.nn.autoencoder import Down, Up
from genbench.nn.head import Head
from genbench.nn.labels import label_shifts

__all__ = ["VectorDecoder", "VectorEncoder"]


class VectorEncoder(nn.Module):
    """Images (B, 1, H, W) in [-1, 1] and labels (B,) to vectors (B, size).

    Arguments:
        spec: the images.
        size: length of the vectors.
        widths: channels at half, quarter, ... resolution.
        hidden: width of the dense layer before the vectors.
        blocks: residual blocks at the lowest resolution.
        classes: how many labels there are to read; 0 for none.
    """

    def __init__(
        self,
        spec: DataSpec,
        size: int,
        *,
        widths: Sequence[int],
        hidden: int,
        blocks: int,
        classes: int,
    ) -> None:
        super().__init__()
        pixels = spec.dims // 4 ** len(widths)  # at the lowest resolution
        self.down = Down(widths, blocks)
        self.dense = nn.Linear(widths[-1] * pixels, hidden)
        self.labels = label_shifts(classes, hidden) if classes else None
        self.out = nn.Linear(hidden, size)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The shapes above."""
        h = self.dense(self.down(x).flatten(1))  # (B, hidden)
        if self.labels is not None:
            h = h + self.labels(y)
        return self.out(torch.relu(h))


class VectorDecoder(nn.Module):
    """Vectors (B, size) and labels (B,) to pixel parameters (B, H/2, W/2, 4, K), see
    :class:`genbench.nn.autoencoder.Up`.

    Arguments:
        spec: the images.
        size: length of the vectors.
        widths: channels at half, quarter, ... resolution.
        hidden: width of the dense layer after the vectors.
        blocks: residual blocks at the lowest resolution.
        head: the distribution of a pixel, of K parameters.
        classes: how many labels there are to read; 0 for none.
    """

    def __init__(
        self,
        spec: DataSpec,
        size: int,
        *,
        widths: Sequence[int],
        hidden: int,
        blocks: int,
        head: Head,
        classes: int,
    ) -> None:
        super().__init__()
        self.lowest = (spec.height // 2 ** len(widths), spec.width // 2 ** len(widths))
        self.first = nn.Linear(size, hidden)
        self.labels = label_shifts(classes, hidden) if classes else None
        self.dense = nn.Linear(hidden, widths[-1] * self.lowest[0] * self.lowest[1])
        self.up = Up(widths, blocks, head)

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        """The shapes above."""
        h = self.first(z)  # (B, hidden)
        if self.labels is not None:
            h = h + self.labels(y)
        h = self.dense(torch.relu(h))
        # Channels are the last axis in memory, which is the faster layout here.
        features = h.view(len(z), *self.lowest, -1).permute(0, 3, 1, 2)  # (B, C, H/2^n, W/2^n)
        return self.up(features)
