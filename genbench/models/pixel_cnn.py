"""PixelCNN, the original one: a stack of masked convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from genbench.base import Conditioning, DataSpec
from genbench.errors import check_positive
from genbench.families.autoregressive import Autoregressive
from genbench.nn.conv import pointwise
from genbench.nn.heads import init_output, make_head
from genbench.nn.kernel import check_kernel
from genbench.nn.labels import label_shifts
from genbench.nn.masked import MaskedConv2d, RowCache

__all__ = ["PixelCNN"]


class PixelCNN(Autoregressive):
    r"""Causal convolutions: a 7x7 one of mask A, residual blocks of 3x3 ones of mask B, and 1x1
    convolutions to the pixel distributions.

    .. math::
        u = (W_A \odot A) * x, \qquad
        u \leftarrow u + W_o \max(0, (W_B \odot B) * \max(0, W_i \max(0, u)) + V y)

    Mask A leaves the rows above and the pixels on the left; B leaves the pixel itself too, since u
    there has seen only what is before it. The stacked 3x3 masks leave a blind spot to the right
    above each pixel, which the gated PixelCNN removes.

    Symbols:
        :math:`W_A, A`: ``weight`` and ``mask`` of ``first``.
        :math:`W_B, B`: those of ``causal`` in each of ``blocks``.
        :math:`W_i, W_o`: ``inner`` and ``outer`` of the block, 1x1 from 2h channels to h and back.
        :math:`V`: its columns are the rows of the block's ``labels``.

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016,
            https://arxiv.org/abs/1601.06759, section 3.5 and figure 5.

    Differs: a logistic mixture may take the place of the 256-way softmax, and larger kernels and
    learned positions that of many blocks; labels, where given, add a learned vector in each block.

    Arguments:
        spec: the images.
        channels: h; the residual path has 2h channels.
        blocks: number of residual blocks.
        kernel: size of the blocks' causal convolutions, odd; a pixel sees 3 + blocks * (kernel //
            2) rows up.
        positions: add a learned vector per pixel to the first layer's output.
        hidden: channels of the last but one layer.
        head: distribution of a pixel: bernoulli, categorical or logistic_mixture.
        mixtures: components of the logistic mixture.
        conditional: model P(x|y).

    Example:
        >>> model = PixelCNN(DataSpec(4, 4, 2), channels=4, blocks=1)
        >>> model.logits(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)).shape
        torch.Size([2, 16, 1])
    """

    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = [
        (DataSpec(3, 3, 2), {"channels": 8, "blocks": 2, "hidden": 16, "positions": True}),
        (DataSpec(2, 2, 4), {"channels": 8, "blocks": 2, "hidden": 16, "head": "categorical"}),
        (
            DataSpec(2, 2, 4),
            {"channels": 8, "blocks": 1, "hidden": 16, "head": "logistic_mixture", "mixtures": 2},
        ),
    ]

    def __init__(
        self,
        spec: DataSpec,
        *,
        channels: int = 32,
        blocks: int = 7,
        kernel: int = 3,
        positions: bool = False,
        hidden: int = 64,
        head: str = "bernoulli",
        mixtures: int = 5,
        conditional: bool = False,
    ) -> None:
        super().__init__(
            spec, head=make_head(head, spec.levels, mixtures=mixtures), conditional=conditional
        )
        check_positive(channels=channels, blocks=blocks, hidden=hidden)
        check_kernel(kernel)
        self.first = MaskedConv2d("A", 1, 2 * channels, 7)  # 7 as in the paper
        shape = (2 * channels, spec.height, spec.width)
        self.positions = nn.Parameter(torch.zeros(shape)) if positions else None
        classes = spec.classes if self.conditional else 0
        self.blocks = nn.ModuleList(_Block(channels, kernel, classes) for _ in range(blocks))
        self.last = nn.Conv2d(2 * channels, hidden, 1)
        self.out = nn.Conv2d(hidden, self.head.channels, 1)
        init_output(self.out, self.head)

    def _input(self, x: Tensor) -> Tensor:
        return self.spec.signed(x).to(self.out.weight.dtype)

    def _blocks(self) -> list[_Block]:
        return cast("list[_Block]", list(self.blocks))

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, K)."""
        u = self.first(self._input(x))  # (B, 2h, H, W)
        if self.positions is not None:
            u = u + self.positions.to(u.dtype)  # else mixed precision would end here
        for block in self.blocks:
            u = block(u, y)
        out = self.out(self.last(u.relu()).relu())  # (B, K, H, W)
        return out.flatten(2).transpose(1, 2)

    # ------------------------------------------------------ sampling: each feature is computed once

    def init_cache(self, n: int, y: Tensor | None = None) -> list[RowCache]:
        """One row cache per masked convolution."""
        width = self.spec.width
        first = RowCache(self.first, n, width)
        return [first, *(RowCache(b.causal, n, width, b.shift(y)) for b in self._blocks())]

    def step(self, x: Tensor, i: int, cache: list[RowCache]) -> tuple[Tensor, list[RowCache]]:
        """Head parameters (n, K) of pixel i: its features in every layer, and those of no other."""
        row, column = divmod(i, self.spec.width)
        first, *others = cache
        if i > 0:
            before_row, before_column = divmod(i - 1, self.spec.width)
            first.put(self._input(x[:, :, before_row, before_column]), before_column)
        if column == 0:
            for part in cache:
                part.start_row()
        u = first.output(column)  # (n, 2h)
        if self.positions is not None:
            u = u + self.positions[:, row, column]
        for block, part in zip(self._blocks(), others, strict=True):
            part.put(pointwise(block.inner, u.relu()).relu_(), column)
            u = u + pointwise(block.outer, part.output(column).relu_())
        return pointwise(self.out, pointwise(self.last, u.relu()).relu_()), cache


class _Block(nn.Module):
    """Residual block on 2h channels."""

    def __init__(self, channels: int, kernel: int, classes: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(2 * channels, channels, 1)
        self.causal = MaskedConv2d("B", channels, channels, kernel)
        self.outer = nn.Conv2d(channels, 2 * channels, 1)
        self.labels = label_shifts(classes, channels) if classes else None

    def shift(self, y: Tensor | None) -> Tensor | None:
        """What the label adds to the causal convolution's output (B, h), or None."""
        return None if self.labels is None or y is None else self.labels(y)

    def forward(self, u: Tensor, y: Tensor | None) -> Tensor:
        """(B, 2h, H, W) to the same."""
        h = self.causal(self.inner(u.relu()).relu())  # (B, h, H, W)
        shift = self.shift(y)
        if shift is not None:
            h = h + shift[:, :, None, None]
        return u + self.outer(h.relu())
