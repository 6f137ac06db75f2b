"""Gated PixelCNN: two stacks of convolutions, one for the rows above and one for the current row,
so that there is no blind spot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genbench.base import Conditioning, DataSpec
from genbench.errors import UserError, check_positive
from genbench.families.autoregressive import Autoregressive
from genbench.nn.conv import pointwise
from genbench.nn.gate import gate, init_before_gate
from genbench.nn.heads import init_output, make_head
from genbench.nn.kernel import check_kernel
from genbench.nn.labels import LabelMaps, label_shifts

__all__ = ["GatedPixelCNN"]

_FIRST = 3
"""Rows above and pixels to the left that the first layer sees: the paper's 7x7 kernel, cut."""


class GatedPixelCNN(Autoregressive):
    r"""A vertical stack v that sees all rows above, and a horizontal stack h that sees the left
    part of the current row and reads v.

    .. math::
        a = V * v, \qquad
        v \leftarrow g(a + L_v y), \qquad
        h \leftarrow h + W_o\, g(H * h + W_v a + L_h y), \qquad
        g(a, b) = \tanh a \odot \sigma(b)

    where g takes the halves of its argument. In the vertical stack a feature of row r has seen rows
    above r only, since the first layer looks at rows r-3..r-1; its convolutions may then use row r
    itself, whole, and reach as far to the right as to the left. So every pixel before i inside the
    :meth:`window` of i reaches i. No weight is masked: the kernels have only the rows and columns
    that they use.

    Symbols:
        :math:`V`: ``vertical`` of each of ``layers``.
        :math:`W_v, H`: ``horizontal``, whose first 2C input channels are those of a, and the others
            the taps of H side by side, the leftmost first.
        :math:`W_o`: ``outer``.
        :math:`L_v, L_h`: the columns are the two halves of the rows of ``labels``; the last layer
            has L_h alone.

    References:
        van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves, Kavukcuoglu, "Conditional Image
            Generation with PixelCNN Decoders", 2016, https://arxiv.org/abs/1606.05328, section 2
            and figure 2.

    Differs: the first layer has no gate; a logistic mixture may take the place of the 256-way
    softmax; learned positions, dilated kernels and label maps are options. The paper's own maps of
    labels, s = m(y), come from a transposed convolution; these are free.

    Arguments:
        spec: the images.
        channels: C, the width of both stacks.
        layers: number of gated layers.
        kernel: size of their convolutions, odd.
        dilations: distance of the taps of those convolutions, for the first layers and then from
            the beginning again: a field of sight that covers a digit at the cost of kernels of 3.
            None may skip pixels that the layers below it do not see either.
        positions: add learned vectors per pixel to the first layer's outputs.
        label_maps: add such vectors for each label too.
        hidden: channels of the last but one layer.
        head: distribution of a pixel: bernoulli, categorical or logistic_mixture.
        mixtures: components of the logistic mixture.
        conditional: model P(x|y).

    Example:
        >>> model = GatedPixelCNN(DataSpec(4, 4, 2), channels=4, layers=2)
        >>> model.logits(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)).shape
        torch.Size([2, 16, 1])
    """

    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = [
        (DataSpec(3, 3, 2), {"channels": 8, "layers": 2, "hidden": 16, "positions": True}),
        (
            DataSpec(2, 2, 4),
            {"channels": 8, "layers": 1, "kernel": 5, "hidden": 16, "head": "categorical"},
        ),
        (DataSpec(3, 3, 2), {"channels": 8, "layers": 2, "dilations": [2, 1], "hidden": 16}),
        (
            DataSpec(2, 2, 4),
            {"channels": 8, "layers": 1, "hidden": 16, "head": "logistic_mixture", "mixtures": 2},
        ),
    ]

    def __init__(
        self,
        spec: DataSpec,
        *,
        channels: int = 64,
        layers: int = 7,
        kernel: int = 3,
        dilations: Sequence[int] = (1,),
        positions: bool = False,
        label_maps: bool = False,
        hidden: int = 128,
        head: str = "bernoulli",
        mixtures: int = 5,
        conditional: bool = False,
    ) -> None:
        super().__init__(
            spec, head=make_head(head, spec.levels, mixtures=mixtures), conditional=conditional
        )
        check_positive(channels=channels, layers=layers, hidden=hidden)
        check_kernel(kernel, smallest=3)
        check_positive(**{f"dilations[{i}]": dilation for i, dilation in enumerate(dilations)})
        if not dilations:
            raise UserError("dilations: must be at least one, got none")
        self.first_vertical = nn.Conv2d(1, channels, (_FIRST, 2 * _FIRST + 1))
        self.first_horizontal = nn.Conv2d(1, channels, (1, _FIRST))
        shape = (2, channels, spec.height, spec.width)
        self.positions = nn.Parameter(torch.zeros(shape)) if positions else None
        if label_maps and not self.conditional:
            raise UserError("label_maps: only with conditional: true")
        self.label_maps = LabelMaps(spec.classes, *shape) if label_maps else None
        classes = spec.classes if self.conditional else 0
        self.layers = nn.ModuleList(
            _Layer(
                channels,
                kernel,
                dilations[number % len(dilations)],
                classes,
                last=number == layers - 1,
            )
            for number in range(layers)
        )
        self._check_sight()
        self.last = nn.Conv2d(channels, hidden, 1)
        self.out = nn.Conv2d(hidden, self.head.channels, 1)
        with torch.no_grad():
            for layer in self._layers():  # so that the residual path's variance does not grow
                layer.outer.weight.div_(layers**0.5)
        init_output(self.out, self.head)

    def window(self) -> tuple[int, int]:
        """How far a pixel sees: rows up, and columns to the left and, in the rows above, to the
        right.
        """
        reach = _FIRST + sum(layer.reach for layer in self._layers())
        return reach, reach

    def _check_sight(self) -> None:
        """Raise UserError where taps are so far apart that a pixel between them is never seen."""
        reach = _FIRST
        for number, layer in enumerate(self._layers()):
            if layer.dilation > reach:
                raise UserError(
                    f"dilations: {layer.dilation} in layer {number} skips pixels, for the layers "
                    f"below it see {reach} to the left; at most that"
                )
            reach += layer.reach

    def _layers(self) -> list[_Layer]:
        return cast("list[_Layer]", list(self.layers))

    def _input(self, x: Tensor) -> Tensor:
        return self.spec.signed(x).to(self.out.weight.dtype)

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, K)."""
        pixels = self._input(x)
        # Rows r-3..r-1 and columns c-3..c-1: one more on top and on the left than a centred kernel
        # would take, and the last ones not at all.
        v = self.first_vertical(F.pad(pixels, (_FIRST, _FIRST, _FIRST, -1)))
        h = self.first_horizontal(F.pad(pixels, (_FIRST, -1, 0, 0)))
        if self.positions is not None:  # of the features' type, or mixed precision would end here
            v = v + self.positions[0].to(v.dtype)
            h = h + self.positions[1].to(h.dtype)
        if self.label_maps is not None:
            maps = self.label_maps(y).to(v.dtype)
            v, h = v + maps[:, 0], h + maps[:, 1]
        for number, layer in enumerate(self.layers):
            v, h = layer(v if number == 0 else gate(v, 1), h, y)
        out = self.out(self.last(h.relu()).relu())  # (B, K, H, W)
        return out.flatten(2).transpose(1, 2)

    # ------------------------------------------------------ sampling: each feature is computed once

    def init_cache(self, n: int, y: Tensor | None = None) -> _Cache:
        """The features that are still needed."""
        return _Cache(self, n, y)

    def step(self, x: Tensor, i: int, cache: _Cache) -> tuple[Tensor, _Cache]:
        """Head parameters (n, K) of pixel i: the vertical stack once per row, the horizontal one at
        this pixel.
        """
        row, column = divmod(i, self.spec.width)
        if column == 0:
            cache.start_row(self._input(x[:, :, max(0, row - _FIRST) : row]), row)
        else:
            cache.pixels[:, column - 1 + _FIRST] = self._input(x[:, 0, row, column - 1])
        h = cache.output(column)
        return pointwise(self.out, pointwise(self.last, h.relu_()).relu_()), cache


class _Layer(nn.Module):
    """One gated layer of both stacks. The gate of the vertical one stands between layers, since
    nothing reads it after the last.
    """

    def __init__(
        self, channels: int, kernel: int, dilation: int, classes: int, *, last: bool
    ) -> None:
        super().__init__()
        taps = kernel // 2  # to the left of the centre, and above it
        self.dilation, self.reach, self.last = dilation, taps * dilation, last
        self.vertical = nn.Conv2d(channels, 2 * channels, (taps + 1, kernel), dilation=dilation)
        # Reads the vertical stack at a pixel and the horizontal one there and on the left: one
        # large product in place of two.
        self.horizontal = nn.Conv2d((3 + taps) * channels, 2 * channels, 1)
        self.outer = nn.Conv2d(channels, channels, 1)
        gates = 1 if last else 2
        self.labels = label_shifts(classes, gates * 2 * channels) if classes else None
        init_before_gate(self.vertical)
        init_before_gate(self.horizontal)

    def shifts(self, y: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What the labels add before the vertical and the horizontal gate, (B, 2C) each or None."""
        if self.labels is None or y is None:
            return None, None
        shift = self.labels(y)
        if self.last:
            return None, shift
        vertical, horizontal = shift.chunk(2, 1)
        return vertical, horizontal

    def forward(self, v: Tensor, h: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next v, before its gate (B, 2C, H, W), and the next h from v and h (B, C, H, W)."""
        above = self.vertical(F.pad(v, (self.reach, self.reach, self.reach, 0)))  # (B, 2C, H, W)
        left = [
            F.pad(h, (by, 0, 0, 0))[..., : h.shape[-1]]
            for by in range(self.reach, 0, -self.dilation)
        ]
        both = self.horizontal(torch.cat([above, *left, h], 1))  # (B, 2C, H, W)
        vertical, horizontal = self.shifts(y)
        if vertical is not None:
            above = above + vertical[:, :, None, None]
        if horizontal is not None:
            both = both + horizontal[:, :, None, None]
        return above, h + self.outer(gate(both, 1))


class _Cache:
    """What is still needed of the rows above and of the current row. Of the horizontal stack the
    channels are the last axis.
    """

    def __init__(self, model: GatedPixelCNN, n: int, y: Tensor | None) -> None:
        self.model, self.width = model, model.spec.width
        new = model.out.weight.new_zeros
        channels = model.last.in_channels
        self.pixels = new(n, self.width + _FIRST)  # the current row, padded on the left
        self.layers = [
            _LayerCache(layer, new, n, channels, self.width, layer.shifts(y))
            for layer in model._layers()
        ]
        self.first = model.first_horizontal.weight[:, 0, 0].T.contiguous()
        # What positions, labels and bias give the current row's first features.
        self.starts = new(n, self.width, channels)
        self.maps = None if model.label_maps is None or y is None else model.label_maps(y)

    def start_row(self, above: Tensor, row: int) -> None:
        """The vertical stack of a row, whole, given the pixels (n, 1, up to 3, W) above it."""
        model = self.model
        v = model.first_vertical(F.pad(above, (_FIRST, _FIRST, _FIRST - above.shape[2], 0)))
        self.starts[:] = cast("Tensor", model.first_horizontal.bias)
        if model.positions is not None:
            v = v + model.positions[0, :, row : row + 1]
            self.starts += model.positions[1, :, row].T
        if self.maps is not None:
            v = v + self.maps[:, 0, :, row : row + 1]
            self.starts += self.maps[:, 1, :, row].mT
        self.pixels.zero_()
        for number, layer in enumerate(self.layers):
            v = layer.start_row(v if number == 0 else gate(v, 1))

    def output(self, column: int) -> Tensor:
        """Features (n, C) of the horizontal stack at a column of the current row."""
        left = self.pixels[:, column : column + _FIRST]
        h = torch.addmm(self.starts[:, column], left, self.first)
        for layer in self.layers:
            h = layer.output(h, column)
        return h


class _LayerCache:
    """Of one layer: the last rows of the vertical stack, and the current row of both."""

    def __init__(
        self,
        layer: _Layer,
        new: Any,
        n: int,
        channels: int,
        width: int,
        shifts: tuple[Tensor | None, Tensor | None],
    ) -> None:
        self.layer = layer
        self.vertical_shift, self.horizontal_shift = shifts
        self.rows = new(n, channels, layer.reach, width)
        self.across = new(n, width, 2 * channels)  # W_v a, with bias and labels
        self.row = new(n, width + layer.reach, channels)  # h, padded on the left
        weight = layer.horizontal.weight[:, :, 0, 0]
        self.from_above = weight[:, : 2 * channels]  # W_v
        self.from_left = weight[:, 2 * channels :].T.contiguous()  # H: (taps * C, 2C)
        self.outer = layer.outer.weight[:, :, 0, 0].T.contiguous()

    def start_row(self, v: Tensor) -> Tensor:
        """Take the layer's vertical input (n, C, 1, W) of a new row; return the next layer's before
        its gate (n, 2C, 1, W).
        """
        layer, reach = self.layer, self.layer.reach
        rows = torch.cat([self.rows, v], 2)
        self.rows = rows[:, :, 1:]
        above = layer.vertical(F.pad(rows, (reach, reach, 0, 0)))
        channels_last = above[:, :, 0].transpose(1, 2)  # (n, W, 2C)
        self.across = F.linear(channels_last, self.from_above, layer.horizontal.bias)
        self.row.zero_()
        if self.vertical_shift is not None:
            above = above + self.vertical_shift[:, :, None, None]
        if self.horizontal_shift is not None:
            self.across += self.horizontal_shift[:, None]
        return above

    def output(self, h: Tensor, column: int) -> Tensor:
        """The layer's horizontal output (n, C) at a column, given its input there."""
        reach = self.layer.reach
        self.row[:, column + reach] = h
        taps = self.row[:, column : column + reach + 1 : self.layer.dilation]
        left = taps.flatten(1)  # (n, taps * C)
        both = torch.addmm(self.across[:, column], left, self.from_left)
        bias = cast("Tensor", self.layer.outer.bias)
        return h.add_(torch.addmm(bias, gate(both, 1), self.outer))
