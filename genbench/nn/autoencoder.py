"""The convolutional halves of the variational models: images down to feature maps, and feature maps
up to the parameters of pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from genbench.errors import UserError
from genbench.nn.conv import conv3x3
from genbench.nn.head import Head

__all__ = ["Down", "Residual", "Up", "from_cells", "to_cells"]


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))), images (B, C, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv3x3(width, width)
        self.last = conv3x3(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.last(F.relu(self.first(F.relu(x))))


class Down(nn.Sequential):
    """Images (B, 1, H, W) in [-1, 1] to features (B, widths[-1], H / 2^n, W / 2^n), n the number of
    ``widths``.

    Each stage halves height and width by moving 2 x 2 pixels into channels (space to depth), which
    loses nothing, and mixes them by a 3 x 3 convolution; residual blocks follow the last one.
    """

    def __init__(self, widths: Sequence[int], blocks: int) -> None:
        if blocks < 0:
            raise UserError(f"blocks: must not be negative, got {blocks}")
        layers: list[nn.Module] = []
        for inputs, width in zip([1, *widths[:-1]], widths, strict=True):
            layers += [nn.PixelUnshuffle(2), conv3x3(4 * inputs, width), nn.ReLU()]
        super().__init__(*layers, *(Residual(widths[-1]) for _ in range(blocks)))


class Up(nn.Module):
    """Features (B, widths[-1], H / 2^n, W / 2^n) to pixel parameters (B, H/2, W/2, 4, K), the four
    pixels of each 2 x 2 cell together.

    The last layer works at half resolution and outputs four pixels at once: a quarter of the work,
    and no full-size feature map.
    """

    def __init__(self, widths: Sequence[int], blocks: int, head: Head) -> None:
        super().__init__()
        layers: list[nn.Module] = [Residual(widths[-1]) for _ in range(blocks)]
        for inputs, outputs in itertools.pairwise(widths[::-1]):
            layers += [
                nn.ReLU(),
                nn.Conv2d(inputs, 4 * outputs, 1),
                nn.PixelShuffle(2),
                nn.ReLU(),
                conv3x3(outputs, outputs),
            ]
        out = nn.Conv2d(widths[0], 4 * head.channels, 1)
        out.bias = nn.Parameter(head.initial_bias().repeat(4))  # of the four pixels of a cell
        self.layers = nn.Sequential(*layers, nn.ReLU(), out)

    def forward(self, features: Tensor) -> Tensor:
        """The shapes above."""
        parameters = self.layers(features).permute(0, 2, 3, 1)  # (B, H/2, W/2, 4 K)
        return parameters.unflatten(3, (4, -1))


def to_cells(x: Tensor) -> Tensor:
    """Images (B, 1, H, W) as their 2 x 2 cells (B, H/2, W/2, 4), the order in which :class:`Up`
    outputs pixels.
    """
    return F.pixel_unshuffle(x, 2).permute(0, 2, 3, 1).contiguous()


def from_cells(cells: Tensor) -> Tensor:
    """The way back, to images (B, 1, H, W)."""
    return F.pixel_shuffle(cells.permute(0, 3, 1, 2), 2)
