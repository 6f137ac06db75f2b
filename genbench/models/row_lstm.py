"""Row LSTM: recurrent from row to row, convolutional along the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genbench.base import Conditioning, DataSpec
from genbench.errors import UserError, check_positive
from genbench.families.autoregressive import Autoregressive
from genbench.nn.heads import make_head
from genbench.nn.labels import label_shifts
from genbench.nn.masked import MaskedConv2d, RowCache

__all__ = ["RowLSTM"]


class RowLSTM(Autoregressive):
    r"""LSTM layers whose state is a whole row: each place reads its layer's input on its left, and
    the states of three places above it.

    .. math::
        (o, f, i, g) = K_{is} * u_r + K_{ss} * h_{r-1}, \qquad c_r = \sigma(f) c_{r-1} + \sigma(i) \tanh g, \qquad h_r = \sigma(o) \tanh c_r

    All places of a row are computed at once, so an image takes 28 recurrent steps and not 784. The
    input-to-state convolution is causal along the row; the state-to-state one need not be, since it
    reads the row above. A place so sees a triangle above it that widens by one place per row.

    van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016,
    https://arxiv.org/abs/1601.06759, sections 3.1, 3.3 and 3.4: a 7x7 convolution of mask A,
    residual layers, two 1x1 convolutions.

    Differs: a logistic mixture may take the place of the 256-way softmax; learned positions are an
    option; labels, where given, shift the gates.

    Arguments:
        spec: the images.
        hidden: h, the size of the state at each place; the residual stream has 2h channels.
        layers: number of LSTM layers.
        kernel: width of the state-to-state convolution, odd; the input-to-state one reads the
            (kernel + 1) / 2 left ones of as many.
        positions: add a learned vector per place to the first layer's output.
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
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f"kernel: must be odd and at least 1, got {kernel}")
        self.first = MaskedConv2d("A", 1, 2 * hidden, 7)
        self.positions = (
            nn.Parameter(torch.zeros(2 * hidden, spec.height, spec.width)) if positions else None
        )
        classes = spec.classes if self.conditional else 0
        self.layers = nn.ModuleList(_Layer(hidden, kernel, classes) for _ in range(layers))
        self.last = nn.Linear(2 * hidden, last)
        self.out = nn.Linear(last, self.head.channels)
        with torch.no_grad():
            self.out.weight.mul_(0.1)  # start close to the head's own start
            self.out.bias.copy_(self.head.initial_bias())

    def _input(self, x: Tensor) -> Tensor:
        return self.spec.signed(x).to(self.out.weight.dtype)

    def _layers(self) -> list[_Layer]:
        return cast("list[_Layer]", list(self.layers))

    def _read(self, h: Tensor) -> Tensor:
        return cast("Tensor", self.out(self.last(h.relu()).relu()))

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, K)."""
        h = self.first(self._input(x))
        if self.positions is not None:
            h = h + self.positions.to(h.dtype)  # else mixed precision would end here
        h = h.permute(0, 2, 3, 1)  # (B, H, W, 2h), as the rows are read
        for layer in self.layers:
            h = layer(h, y)
        return self._read(h).flatten(1, 2)

    # -------------------------------------------------------- sampling: each state is computed once

    def init_cache(self, n: int, y: Tensor | None = None) -> tuple[RowCache, list[_LayerCache]]:
        """A row cache of the first convolution, and the states of the row above for each layer."""
        return RowCache(self.first, n, self.spec.width), [
            _LayerCache(layer, n, self.spec.width, y) for layer in self._layers()
        ]

    def step(
        self, x: Tensor, i: int, cache: tuple[RowCache, list[_LayerCache]]
    ) -> tuple[Tensor, tuple[RowCache, list[_LayerCache]]]:
        """Head parameters (n, K) of pixel i: one place of every layer."""
        first, layers = cache
        if i > 0:
            row, column = divmod(i - 1, self.spec.width)
            first.put(self._input(x[:, :, row, column]), column)
        row, column = divmod(i, self.spec.width)
        if column == 0:
            first.start_row()
            for layer in layers:
                layer.start_row()
        h = first.output(column)
        if self.positions is not None:
            h = h + self.positions[:, row, column]
        for layer in layers:
            h = layer.place(h, column)
        return self._read(h), cache


class _Layer(nn.Module):
    """One Row LSTM layer with its residual path, on (B, H, W, 2h)."""

    def __init__(self, hidden: int, kernel: int, classes: int) -> None:
        super().__init__()
        self.hidden, self.reach = hidden, kernel // 2
        self.inputs = nn.Linear((self.reach + 1) * 2 * hidden, 4 * hidden)
        self.states = nn.Linear(kernel * hidden, 4 * hidden, bias=False)
        self.outer = nn.Linear(hidden, 2 * hidden)
        self.labels = label_shifts(classes, 4 * hidden) if classes else None
        with torch.no_grad():
            self.inputs.bias[hidden : 2 * hidden] += 1  # forget gates start open

    def shift(self, y: Tensor | None) -> Tensor | None:
        """What the labels add to the gates (B, 4h), or None."""
        return None if self.labels is None or y is None else self.labels(y)

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        """(B, H, W, 2h) to the same."""
        gates = self.inputs(_neighbours(h, self.reach, 0))
        shift = self.shift(y)
        if shift is not None:
            gates = gates + shift[:, None, None]
        state = cell = h.new_zeros(*h.shape[:1], h.shape[2], self.hidden)
        rows = []
        for row in gates.unbind(1):
            state, cell = _recur(row + self.above(state), cell)
            rows.append(state)
        return h + self.outer(torch.stack(rows, 1))

    def above(self, state: Tensor) -> Tensor:
        """What the states (B, W, h) of the row above give the gates (B, W, 4h) of this one."""
        return cast("Tensor", self.states(_neighbours(state, self.reach, self.reach)))


class _LayerCache:
    """Of one layer: states and cells of the row above and of the own row, and the own row's
    inputs.
    """

    def __init__(self, layer: _Layer, n: int, width: int, y: Tensor | None) -> None:
        self.layer, self.shift = layer, layer.shift(y)
        new, hidden = layer.outer.weight.new_zeros, layer.hidden
        self.row = new(n, width + layer.reach, 2 * hidden)
        self.state, self.cell = new(n, width, hidden), new(n, width, hidden)
        self.gates = new(n, width, 4 * hidden)

    def start_row(self) -> None:
        """The row that was being drawn becomes the one above."""
        self.gates = self.layer.above(self.state) + self.layer.inputs.bias
        if self.shift is not None:
            self.gates += self.shift[:, None]
        self.row.zero_()

    def place(self, h: Tensor, column: int) -> Tensor:
        """The layer's output (n, 2h) at a column, given its input there."""
        reach = self.layer.reach
        self.row[:, column + reach] = h
        gates = torch.addmm(
            self.gates[:, column],
            self.row[:, column : column + reach + 1].flatten(1),
            self.layer.inputs.weight.T,
        )
        state, cell = _recur(gates, self.cell[:, column])
        self.state[:, column], self.cell[:, column] = state, cell
        return h + self.layer.outer(state)


def _recur(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The next state and cell (..., h) from the gates (..., 4h) and the last cell."""
    o, f, i, g = gates.chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def _neighbours(h: Tensor, left: int, right: int) -> Tensor:
    """(..., W, C) to (..., W, (left + 1 + right) * C): each place with those beside it, zeros
    outside.
    """
    width = h.shape[-2]
    padded = F.pad(h, (0, 0, left, right))
    return torch.cat([padded[..., k : k + width, :] for k in range(left + 1 + right)], -1)
