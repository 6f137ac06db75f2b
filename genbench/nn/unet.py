"""A small U-Net that reads a time and, on request, a label."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genbench.base import DataSpec
from genbench.errors import UserError, check_positive, near
from genbench.nn.conv import conv3x3
from genbench.nn.labels import label_shifts
from genbench.nn.norm import ConditionalBatchNorm2d

__all__ = ["UNet"]

NORMS = ("group", "batch")
GROUP = 16
"""Channels of a group of the group norm: one of the two settings of Wu, He, "Group Normalization",
2018; the faster one on a CPU.
"""
MAX_FREQUENCY = 1000
"""Highest angular frequency of the sines of the time, which lies in [0, 1]: it tells steps of a
thousandth apart.
"""


class UNet(nn.Module):
    """Images and a time to as many output channels, at the images' resolution.

    Residual blocks at each resolution on a path down, attention at the lowest, and a path up that
    reads all features of the path down by skip connections. Images are cut into patches first, so
    that no convolution runs on more places than needed; for the same reason the path up makes four
    places of one by sub-pixel convolution. With group norm a linear path bypasses the last norm.

    References:
        Ronneberger, Fischer, Brox, "U-Net", 2015, https://arxiv.org/abs/1505.04597.
        Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020,
            https://arxiv.org/abs/2006.11239 (residual blocks, embedding of the time).
        Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
            Convolutional Neural Network", 2016, https://arxiv.org/abs/1609.05158.

    Arguments:
        spec: whose images it reads; height and width divisible by ``patch``.
        inputs, outputs: channels of the input and of the output.
        widths: channels at each resolution, the highest first; multiples of ``GROUP``.
        blocks: residual blocks at each resolution on the path down; one more on the path up.
        patch: edge of the patches that images are cut into.
        norm: ``group``, labels joining the time; or ``batch``, labels giving each norm its gain and
            shift.
        classes: number of labels; 0 for none. Who hides labels counts "no label" among them.
        heads: of the attention.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        inputs: int = 1,
        outputs: int = 1,
        widths: Sequence[int],
        blocks: int,
        patch: int,
        norm: str,
        heads: int,
        classes: int = 0,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise UserError(f"norm: unknown {norm!r}{near(norm, NORMS)}")
        if not widths or any(w < 1 or w % GROUP for w in widths):
            raise UserError(f"widths: must be one or more multiples of {GROUP}, got {list(widths)}")
        check_positive(blocks=blocks, patch=patch)
        if spec.height % patch or spec.width % patch:
            raise UserError(f"patch: must divide {spec.height} x {spec.width}, got {patch}")
        self.patch, self.width = patch, widths[0]
        self.blocks, self.levels = blocks, len(widths)
        time = 4 * widths[0]  # channels of the embedding of the time, as in Ho et al.
        self.time = nn.Sequential(nn.Linear(widths[0], time), nn.SiLU(), nn.Linear(time, time))
        self.labels = label_shifts(classes, time) if classes and norm == "group" else None
        table = classes if norm == "batch" else 0
        self.first = conv3x3(inputs * patch**2, widths[0])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        channels = widths[0]
        skips = [channels]  # of the features that the path up reads, the last one first
        for level, width in enumerate(widths):
            for _ in range(blocks):
                self.down.append(_Block(channels, width, time, norm, table))
                channels = width
                skips.append(channels)
            if level < self.levels - 1:
                self.shrink.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
                skips.append(channels)
        self.middle = nn.ModuleList(_Block(channels, channels, time, norm, table) for _ in range(2))
        self.attention = _Attention(channels, heads, norm, table)
        for level, width in reversed(list(enumerate(widths))):
            bias = level > 0 or norm != "batch"  # at full resolution no padding comes after
            for _ in range(blocks + 1):
                joined = channels + skips.pop()
                self.up.append(_Block(joined, width, time, norm, table, bias=bias))
                channels = width
            if level:
                channels = widths[level - 1]
                self.grow.append(conv3x3(width, 4 * channels))
        self.norm = _norm(norm, channels, table)
        self.out = _zero(conv3x3(channels, outputs * patch**2))
        # Group norm takes away how strong its input is, and so how much noise is left: a sampler
        # with a little too much of it would never learn that.
        self.around = _zero(nn.Conv2d(channels, outputs * patch**2, 1)) if norm == "group" else None

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, inputs, H, W), times (B,) in [0, 1] and labels (B,) to (B, outputs, H, W)."""
        time = self._embedded(t, y)  # (B, 4 widths[0])
        h = F.pixel_unshuffle(x, self.patch)  # (B, inputs patch^2, H / patch, W / patch)
        if h.device.type == "cpu":  # whose convolutions are faster on features in this layout
            h = h.contiguous(memory_format=torch.channels_last)
        skips = self._down(self.first(h), time, y)
        first, last = self.middle
        h = self.attention(first(skips[-1], time, y), y)
        h = self._up(last(h, time, y), skips, time, y)  # (B, widths[0], H / patch, W / patch)
        out = self.out(F.silu(_normed(self.norm, h, y)))
        if self.around is not None:
            out = out + self.around(h)
        out = F.pixel_shuffle(out, self.patch)
        return out.float() if out.dtype == torch.bfloat16 else out

    def _embedded(self, t: Tensor, y: Tensor | None) -> Tensor:
        """Time (B,), and label where it joins the time, as features (B, 4 widths[0])."""
        time = self.time(_waves(t, self.width))
        if self.labels is not None:
            time = time + self.labels(y)
        return F.silu(time)

    def _down(self, h: Tensor, time: Tensor, y: Tensor | None) -> list[Tensor]:
        """All features of the path down, from the first layer's on."""
        skips, blocks = [h], iter(self.down)
        for level in range(self.levels):
            for _ in range(self.blocks):
                h = next(blocks)(h, time, y)
                skips.append(h)
            if level < self.levels - 1:
                h = self.shrink[level](h)
                skips.append(h)
        return skips

    def _up(self, h: Tensor, skips: list[Tensor], time: Tensor, y: Tensor | None) -> Tensor:
        """Back to the highest resolution; each block reads one of ``skips``, the last one first."""
        blocks = iter(self.up)
        for level in range(self.levels):
            for _ in range(self.blocks + 1):
                h = next(blocks)(torch.cat([h, skips.pop()], 1), time, y)
            if level < self.levels - 1:
                height, width = skips[-1].shape[-2:]
                h = F.pixel_shuffle(self.grow[level](h), 2)
                h = h[:, :, :height, :width]  # cut where an odd size was halved
        return h


class _Block(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))) + linear(time)))).

    Layers have no bias before a batch norm, which takes back what is the same for all images and
    places of a channel. Padded convolutions in between make a constant differ at the border.

    Arguments:
        bias: of what the block puts out.
    """

    def __init__(
        self, inputs: int, outputs: int, time: int, norm: str, table: int, *, bias: bool = True
    ) -> None:
        super().__init__()
        inner = norm != "batch"
        self.norm_first = _norm(norm, inputs, table)
        self.norm_last = _norm(norm, outputs, table)
        self.first = conv3x3(inputs, outputs, bias=inner)
        self.last = _zero(conv3x3(outputs, outputs, bias=bias))
        self.time = nn.Linear(time, outputs, bias=inner)
        self.around: nn.Module = nn.Identity()
        if inputs != outputs:
            self.around = nn.Conv2d(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor, time: Tensor, y: Tensor | None) -> Tensor:
        h = self.first(F.silu(_normed(self.norm_first, x, y)))
        h = h + self.time(time)[:, :, None, None]
        return self.around(x) + self.last(F.silu(_normed(self.norm_last, h, y)))


class _Attention(nn.Module):
    """Self-attention over all places (Vaswani et al., 2017), added to its input."""

    def __init__(self, channels: int, heads: int, norm: str, table: int) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise UserError(
                f"heads: must divide the lowest resolution's channels {channels}, got {heads}"
            )
        self.heads = heads
        self.norm = _norm(norm, channels, table)
        # Without a bias: that of the keys adds the same to all scores of a query.
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        qkv = self.qkv(_normed(self.norm, x, y)).flatten(2)  # (B, 3C, HW)
        split = qkv.unflatten(1, (3, self.heads, -1)).transpose(3, 4)
        q, k, v = split.unbind(1)  # (B, heads, HW, C / heads) each
        # Written out: with so few places it is several times as fast on a CPU as the library's
        # blockwise attention.
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(3)  # (B, heads, HW, HW)
        h = (weights @ v).transpose(2, 3).flatten(1, 2)  # (B, C, HW)
        return x + self.out(h.unflatten(2, x.shape[2:]))


def _norm(kind: str, channels: int, table: int) -> nn.Module:
    """The normalisation of features; of labels of a ``table`` with batch norm."""
    if kind == "group":
        return nn.GroupNorm(channels // GROUP, channels)
    return ConditionalBatchNorm2d(channels, table)


def _normed(norm: nn.Module, x: Tensor, y: Tensor | None) -> Tensor:
    return norm(x, y) if isinstance(norm, ConditionalBatchNorm2d) else norm(x)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    """A layer that puts out zero at first, so that a block starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _waves(t: Tensor, width: int) -> Tensor:
    """Sines and cosines (B, width) of times (B,) in [0, 1], of angular frequencies from 1 to
    ``MAX_FREQUENCY``.
    """
    exponents = torch.linspace(0, math.log(MAX_FREQUENCY), width // 2, device=t.device)
    angles = t[:, None] * torch.exp(exponents)
    return torch.cat([angles.sin(), angles.cos()], 1)
