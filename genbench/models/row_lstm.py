"""Row LSTM: recurrent from row to row, convolutional along the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genbench.base import Conditioning, DataSpec
from genbench.errors import check_positive
from genbench.families.autoregressive import Autoregressive
from genbench.nn.forget_gate import open_forget_gate
from genbench.nn.heads import init_output, make_head
from genbench.nn.kernel import check_kernel
from genbench.nn.labels import label_shifts
from genbench.nn.masked import MaskedConv2d, RowCache

__all__ = ["RowLSTM"]


class RowLSTM(Autoregressive):
    r"""LSTM layers whose state is a whole row: each pixel reads its layer's input on its left, and
    the states of three pixels above it.

    .. math::
        (o, f, i, g) = K_{is} * u_r + K_{ss} * h_{r-1} + V y, \qquad
        c_r = \sigma(f) \odot c_{r-1} + \sigma(i) \odot \tanh g, \qquad
        h_r = \sigma(o) \odot \tanh c_r, \qquad
        u_r \leftarrow u_r + W h_r

    All pixels of a row are computed at once, so an image takes 28 recurrent steps and not 784. The
    input-to-state convolution is causal along the row; the state-to-state one need not be, since it
    reads the row above. A pixel so sees a triangle above it that widens by one pixel per row. The
    first u is a 7x7 convolution of mask A, and two 1x1 layers follow the last one.

    Symbols:
        :math:`K_{is}`: ``inputs`` of each of ``layers``, with the four gates o, f, i, g below each
            other and the taps of the convolution side by side, the leftmost first.
        :math:`K_{ss}`: ``states``, in the same way.
        :math:`V, W`: ``labels``, whose rows are the columns of V, and ``outer``.

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016,
            https://arxiv.org/abs/1601.06759, sections 3.1, 3.3 and 3.4.

    Differs: a logistic mixture may take the place of the 256-way softmax; learned positions are an
    option; labels, where given, shift the gates.

    Arguments:
        spec: the images.
        hidden: h, the size of the state at each pixel; the residual path has 2h channels.
        layers: number of LSTM layers.
        kernel: width of the state-to-state convolution, odd; the input-to-state one reads the
            (kernel + 1) / 2 left ones of as many.
        positions: add a learned vector per pixel to the first layer's output.
        last: channels of the last but one layer.
        head: distribution of a pixel: bernoulli, categorical or logistic_mixture.
        mixtures: components of the logistic mixture.
        conditional: model P(x|y).

    Example:
        >>> model = RowLSTM(DataSpec(4, 4, 2), hidden=4, layers=1)
        >>> model.logits(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)).shape
        torch.Size([2, 16, 1])
    """

    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = [
        (DataSpec(3, 3, 2), {"hidden": 8, "layers": 2, "last": 16, "positions": True}),
        (DataSpec(2, 2, 4), {"hidden": 8, "layers": 1, "last": 16, "head": "categorical"}),
        (
            DataSpec(2, 2, 4),
            {"hidden": 8, "layers": 1, "last": 16, "head": "logistic_mixture", "mixtures": 2},
        ),
    ]

    def __init__(
        self,
        spec: DataSpec,
        *,
        hidden: int = 64,
        layers: int = 3,
        kernel: int = 3,
        positions: bool = False,
        last: int = 128,
        head: str = "bernoulli",
        mixtures: int = 5,
        conditional: bool = False,
    ) -> None:
        super().__init__(
            spec, head=make_head(head, spec.levels, mixtures=mixtures), conditional=conditional
        )
        check_positive(hidden=hidden, layers=layers, last=last)
        check_kernel(kernel)
        self.first = MaskedConv2d("A", 1, 2 * hidden, 7)  # 7 as in the paper
        shape = (2 * hidden, spec.height, spec.width)
        self.positions = nn.Parameter(torch.zeros(shape)) if positions else None
        classes = spec.classes if self.conditional else 0
        self.layers = nn.ModuleList(_Layer(hidden, kernel, classes) for _ in range(layers))
        self.last = nn.Linear(2 * hidden, last)
        self.out = nn.Linear(last, self.head.channels)
        init_output(self.out, self.head)

    def _input(self, x: Tensor) -> Tensor:
        return self.spec.signed(x).to(self.out.weight.dtype)

    def _layers(self) -> list[_Layer]:
        return cast("list[_Layer]", list(self.layers))

    def _read(self, h: Tensor) -> Tensor:
        return cast("Tensor", self.out(self.last(h.relu()).relu()))

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, K)."""
        h = self.first(self._input(x))  # (B, 2h, H, W)
        if self.positions is not None:
            h = h + self.positions.to(h.dtype)  # else mixed precision would end here
        h = h.permute(0, 2, 3, 1)  # (B, H, W, 2h), as the rows are read
        for layer in self.layers:
            h = layer(h, y)
        return self._read(h).flatten(1, 2)

    # -------------------------------------------------------- sampling: each state is computed once

    def init_cache(self, n: int, y: Tensor | None = None) -> tuple[RowCache, list[_LayerCache]]:
        """A row cache of the first convolution, and the states of the row above for each layer."""
        width = self.spec.width
        layers = [_LayerCache(layer, n, width, y) for layer in self._layers()]
        return RowCache(self.first, n, width), layers

    def step(
        self, x: Tensor, i: int, cache: tuple[RowCache, list[_LayerCache]]
    ) -> tuple[Tensor, tuple[RowCache, list[_LayerCache]]]:
        """Head parameters (n, K) of pixel i: one pixel of every layer."""
        first, layers = cache
        if i > 0:
            row, column = divmod(i - 1, self.spec.width)
            first.put(self._input(x[:, :, row, column]), column)
        row, column = divmod(i, self.spec.width)
        if column == 0:
            first.start_row()
            for layer in layers:
                layer.start_row()
        h = first.output(column)  # (n, 2h)
        if self.positions is not None:
            h = h + self.positions[:, row, column]
        for layer in layers:
            h = layer.output(h, column)
        return self._read(h), cache


class _Layer(nn.Module):
    """One Row LSTM layer with its residual path, on (B, H, W, 2h)."""

    def __init__(self, hidden: int, kernel: int, classes: int) -> None:
        super().__init__()
        self.hidden, self.reach = hidden, kernel // 2
        self.inputs = nn.Linear((self.reach + 1) * 2 * hidden, 4 * hidden)  # K_is
        self.states = nn.Linear(kernel * hidden, 4 * hidden, bias=False)  # K_ss
        self.outer = nn.Linear(hidden, 2 * hidden)
        self.labels = label_shifts(classes, 4 * hidden) if classes else None
        open_forget_gate(self.inputs.bias)

    def shift(self, y: Tensor | None) -> Tensor | None:
        """What the labels add to the gates (B, 4h), or None."""
        return None if self.labels is None or y is None else self.labels(y)

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        """(B, H, W, 2h) to the same."""
        batch, _, width, _ = h.shape
        gates = self.inputs(_neighbours(h, self.reach, 0))  # (B, H, W, 4h)
        shift = self.shift(y)
        if shift is not None:
            gates = gates + shift[:, None, None]
        state = cell = h.new_zeros(batch, width, self.hidden)
        states = []
        for row in gates.unbind(1):
            state, cell = _recur(row + self.above(state), cell)
            states.append(state)
        return h + self.outer(torch.stack(states, 1))

    def above(self, state: Tensor) -> Tensor:
        """K_ss * h: the part of a row's gates (B, W, 4h) that comes from the states (B, W, h) of
        the row above.
        """
        return cast("Tensor", self.states(_neighbours(state, self.reach, self.reach)))


class _LayerCache:
    """Of one layer: states and cells of the row above, which the current row overwrites from the
    left, and the current row's inputs.
    """

    def __init__(self, layer: _Layer, n: int, width: int, y: Tensor | None) -> None:
        self.layer, self.shift = layer, layer.shift(y)
        new, hidden = layer.outer.weight.new_zeros, layer.hidden
        self.row = new(n, width + layer.reach, 2 * hidden)  # padded on the left
        self.state, self.cell = new(n, width, hidden), new(n, width, hidden)
        self.gates = new(n, width, 4 * hidden)  # as far as the row above, bias and labels make them

    def start_row(self) -> None:
        """The row that was being drawn becomes the one above."""
        self.gates = self.layer.above(self.state) + self.layer.inputs.bias
        if self.shift is not None:
            self.gates += self.shift[:, None]
        self.row.zero_()

    def output(self, h: Tensor, column: int) -> Tensor:
        """The layer's output (n, 2h) at a column, given its input there."""
        reach = self.layer.reach
        self.row[:, column + reach] = h
        left = self.row[:, column : column + reach + 1].flatten(1)  # (n, (reach + 1) 2h)
        gates = torch.addmm(self.gates[:, column], left, self.layer.inputs.weight.T)
        state, cell = _recur(gates, self.cell[:, column])
        self.state[:, column], self.cell[:, column] = state, cell
        return h + self.layer.outer(state)


def _recur(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The next state and cell (..., h) from the gates (..., 4h) and the last cell."""
    o, f, i, g = gates.chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def _neighbours(h: Tensor, left: int, right: int) -> Tensor:
    """(..., W, C) to (..., W, (left + 1 + right) * C): each pixel with those beside it, zeros
    outside.
    """
    width = h.shape[-2]
    padded = F.pad(h, (0, 0, left, right))
    taps = [padded[..., k : k + width, :] for k in range(left + 1 + right)]
    return torch.cat(taps, -1)
