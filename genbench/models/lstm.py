"""LSTM over pixels: one recurrent state, carried through the image in raster order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genbench.base import Conditioning, DataSpec
from genbench.families.autoregressive import Autoregressive
from genbench.nn.heads import make_head
from genbench.nn.sequence import PixelSequence

__all__ = ["PixelLSTM"]


class PixelLSTM(Autoregressive):
    r"""A stack of LSTM layers that reads the pixel before each step and outputs the distribution of the step's own.

    .. math::
        (i, f, g, o) = W u_t + R h_{t-1} + b, \qquad c_t = \sigma(f) c_{t-1} + \sigma(i) \tanh g, \qquad h_t = \sigma(o) \tanh c_t

    The input u is a learned vector of the level of the pixel before, of the row, of the column and of the label. All that the model knows
    of the row above has to be carried through 28 steps; ``window`` shows it to the network instead.

    Hochreiter, Schmidhuber, "Long Short-Term Memory", 1997, https://doi.org/10.1162/neco.1997.9.8.1735, with the forget gate of
    Gers, Schmidhuber, Cummins, 2000. Over images in raster order: Theis, Bethge, "Generative Image Modeling Using Spatial LSTMs", 2015,
    https://arxiv.org/abs/1506.03478, whose inputs are causal neighbourhoods too.

    Arguments:
        spec: the images.
        width: length of the input vectors.
        hidden: size of the state of each layer.
        layers: number of LSTM layers.
        window: also read the pixels up to this many rows above and columns to either side that come before; 0 reads the last one only.
        head: distribution of a pixel: bernoulli, categorical or logistic_mixture.
        mixtures: components of the logistic mixture.
        conditional: model P(x|y).

    Example:
        >>> model = PixelLSTM(DataSpec(4, 4, 2), width=4, hidden=8, layers=1)
        >>> model.logits(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)).shape
        torch.Size([2, 16, 1])
    """

    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = [
        (DataSpec(3, 3, 2), {"width": 8, "hidden": 16, "layers": 2}),
        (DataSpec(2, 2, 4), {"width": 8, "hidden": 16, "layers": 1, "window": 2, "head": "categorical"}),
        (DataSpec(2, 2, 4), {"width": 8, "hidden": 16, "layers": 1, "window": 1, "head": "logistic_mixture", "mixtures": 2}),
    ]

    def __init__(
        self,
        spec: DataSpec,
        *,
        width: int = 64,
        hidden: int = 256,
        layers: int = 2,
        window: int = 0,
        head: str = "bernoulli",
        mixtures: int = 5,
        conditional: bool = False,
    ) -> None:
        super().__init__(spec, head=make_head(head, spec.levels, mixtures=mixtures), conditional=conditional)
        for name, value, least in (("width", width, 1), ("hidden", hidden, 1), ("layers", layers, 1), ("window", window, 0)):
            if value < least:
                raise ValueError(f"{name}: must be at least {least}, got {value}")
        self.window = window
        self.sequence = PixelSequence(spec, width, conditional=self.conditional)
        self.taps = window * (2 * window + 1) + window  # pixels of the window before its centre
        self.around = nn.Linear(self.taps, width, bias=False) if window else None
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, self.head.channels)
        with torch.no_grad():
            for name, bias in self.lstm.named_parameters():
                if name.startswith("bias_ih"):
                    bias[hidden : 2 * hidden] += 1  # forget gates start open
            self.out.weight.mul_(0.1)  # start close to the head's own start
            self.out.bias.copy_(self.head.initial_bias())

    def _padded(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) levels as -1..1 in zeros: ``window`` rows above, and as many columns on either side."""
        pixels = (2 * self.spec.unit(x) - 1).to(self.out.weight.dtype)
        return F.pad(pixels, (self.window, self.window, self.window, 0))

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, K)."""
        inputs = self.sequence(x, y)
        if self.around is not None:
            patches = F.unfold(self._padded(x), (self.window + 1, 2 * self.window + 1))
            inputs = inputs + self.around(patches[:, : self.taps].transpose(1, 2))
        return cast("Tensor", self.out(self.lstm(inputs)[0]))

    # ------------------------------------------------------------------ sampling: the state is the cache

    def init_cache(self, n: int, y: Tensor | None = None) -> _State:
        """The state before the first pixel."""
        return _State(self, n, y)

    def step(self, x: Tensor, i: int, cache: _State) -> tuple[Tensor, _State]:
        """Head parameters (n, K) of step i: one step of every layer."""
        h = self.sequence.at(x, i, cache.constant)
        if self.around is not None:
            h = h + self.around(cache.patch(x, i))
        for number, weights in enumerate(cast("list[list[Tensor]]", self.lstm.all_weights)):
            cache.states[number] = torch.lstm_cell(h, cache.states[number], *weights)
            h = cache.states[number][0]
        return self.out(h), cache


class _State:
    """Recurrent states, and the pixels so far in their padding."""

    states: list[Any]  # (h, c) of each layer, (n, hidden) each

    def __init__(self, model: PixelLSTM, n: int, y: Tensor | None) -> None:
        self.model = model
        self.constant = model.sequence.cache(y)
        zeros = model.out.weight.new_zeros(n, model.lstm.hidden_size)
        self.states = [(zeros, zeros)] * model.lstm.num_layers
        spec, window = model.spec, model.window
        self.pixels = model.out.weight.new_zeros(n, spec.height + window, spec.width + 2 * window)

    def patch(self, x: Tensor, i: int) -> Tensor:
        """The pixels (n, taps) around step i that come before it."""
        spec, window = self.model.spec, self.model.window
        if i:
            row, column = divmod(i - 1, spec.width)
            self.pixels[:, row + window, column + window] = (2 * spec.unit(x[:, 0, row, column]) - 1).to(self.pixels.dtype)
        row, column = divmod(i, spec.width)
        return self.pixels[:, row : row + window + 1, column : column + 2 * window + 1].flatten(1)[:, : self.model.taps]
