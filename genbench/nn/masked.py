"""Layers whose outputs see only a part of their inputs, by masks on the weights.

Masks multiply weights in the forward pass; parameters are never edited.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MaskedConv2d", "MaskedLinear", "RowCache"]


class MaskedLinear(nn.Linear):
    """A linear layer with one or more connectivity masks.

    Arguments:
        masks: bool (M, out, in), True where a connection exists.
    """

    masks: Tensor

    def __init__(self, masks: Tensor) -> None:
        super().__init__(masks.shape[2], masks.shape[1])
        self.register_buffer("masks", masks, persistent=False)

    def forward(self, input: Tensor, mask: int = 0) -> Tensor:
        """``input`` (..., in) to (..., out) through mask number ``mask``."""
        return F.linear(input, self.weight * self.masks[mask], self.bias)


class MaskedConv2d(nn.Conv2d):
    """A causal convolution in raster order (van den Oord et al., "Pixel Recurrent Neural Networks",
    2016, section 3.4).

    An output sees the rows above and the pixels to its left within the kernel; with mask B also its
    own pixel, with mask A not.

    Arguments:
        kind: ``"A"`` or ``"B"``.
        in_channels, out_channels: as in ``nn.Conv2d``.
        kernel_size: odd.
    """

    mask: Tensor

    def __init__(self, kind: str, in_channels: int, out_channels: int, kernel_size: int) -> None:
        if kind not in ("A", "B"):
            raise ValueError(f"kind: must be 'A' or 'B', got {kind!r}")
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size: must be odd, got {kernel_size}")
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.reach = kernel_size // 2  # rows above, and columns to either side
        self.taps = self.reach + (kind == "B")  # pixels of the current row that are seen
        mask = torch.zeros(kernel_size, kernel_size)
        mask[: self.reach] = 1
        mask[self.reach, : self.taps] = 1
        self.register_buffer("mask", mask, persistent=False)
        # torch's fan-in counts the whole kernel; only this share of it carries a signal.
        seen = max(1.0, float(mask.sum()))
        with torch.no_grad():
            self.weight.mul_(math.sqrt(mask.numel() / seen))

    def forward(self, input: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        return F.conv2d(input, self.weight * self.mask, self.bias, padding=self.padding)

    def above(self, rows: Tensor) -> Tensor:
        """The part of a row's output (n, W, out) that comes from the rows above it, with the bias.

        Arguments:
            rows: the last rows above, padded, (n, in, reach, W + 2 reach).
        """
        assert self.bias is not None
        if self.reach == 0:
            return self.bias.expand(rows.shape[0], rows.shape[3], -1).clone()
        out = F.conv2d(rows, self.weight[:, :, : self.reach], self.bias)  # (n, out, 1, W)
        return out[:, :, 0].transpose(1, 2).contiguous()

    def left_weight(self) -> Tensor:
        """Weight (out, taps * in) of the current row's pixels, for patches (n, taps, in)
        flattened.
        """
        return self.weight[:, :, self.reach, : self.taps].transpose(1, 2).flatten(1)


class RowCache:
    """The inputs that a masked convolution will need again while an image is drawn in raster order.

    The rows above are convolved once per row, for all its columns; per pixel only the few taps of
    the current row remain.

    Arguments:
        conv: the convolution.
        n: images.
        width: W.
        shift: added to the output, (n, out), or None.
    """

    def __init__(self, conv: MaskedConv2d, n: int, width: int, shift: Tensor | None = None) -> None:
        self.conv, self.shift = conv, shift
        self.left = conv.left_weight().T.contiguous()  # (taps * in, out)
        new, padded = conv.weight.new_zeros, width + 2 * conv.reach
        self.rows = new(n, conv.in_channels, conv.reach, padded)
        self.row = new(n, padded, conv.in_channels)
        self.above = new(n, width, conv.out_channels)

    def start_row(self) -> None:
        """The row that was being drawn becomes the last one above."""
        if self.conv.reach:
            drawn = self.row.transpose(1, 2)[:, :, None]  # (n, in, 1, W + 2 reach)
            self.rows = torch.cat([self.rows[:, :, 1:], drawn], 2)
        self.row.zero_()
        self.above = self.conv.above(self.rows)
        if self.shift is not None:
            self.above += self.shift[:, None]

    def put(self, values: Tensor, column: int) -> None:
        """Set the input (n, in) at a column of the current row."""
        self.row[:, column + self.conv.reach] = values

    def output(self, column: int) -> Tensor:
        """The convolution's output (n, out) at a column of the current row."""
        patch = self.row[:, column : column + self.conv.taps].flatten(1)  # (n, taps * in)
        return torch.addmm(self.above[:, column], patch, self.left)
