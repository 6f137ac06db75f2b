"""LSTM over pixels: one recurrent state that goes through the image in raster order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from genbench.base import Conditioning, DataSpec
from genbench.errors import check_positive
from genbench.families.autoregressive import Autoregressive
from genbench.nn.forget_gate import open_forget_gate
from genbench.nn.heads import init_output, make_head
from genbench.nn.sequence import PixelSequence, SequenceCache

__all__ = ["PixelLSTM"]


class PixelLSTM(Autoregressive):
    r"""A stack of LSTM layers: each step reads the pixel before it, and outputs the distribution of
    its own pixel.

    .. math::
        (i, f, g, o) = W u_t + R h_{t-1} + b, \qquad
        c_t = \sigma(f) \odot c_{t-1} + \sigma(i) \odot \tanh g, \qquad
        h_t = \sigma(o) \odot \tanh c_t

    The input u is a learned vector of the level of the pixel before, of the row, of the column and
    of the label. All that the model knows of the row above has to pass through 28 steps; ``window``
    shows it to the network instead.

    Symbols:
        :math:`u_t`: ``sequence``; in the layers above the first one, :math:`h_t` of the one below.
        :math:`W, R, b`: ``lstm.weight_ih_l0``, ``lstm.weight_hh_l0`` and the sum of
            ``lstm.bias_ih_l0`` and ``lstm.bias_hh_l0``, the four gates i, f, g, o below each other;
            l1, ... in further layers.

    References:
        Hochreiter, Schmidhuber, "Long Short-Term Memory", 1997,
            https://doi.org/10.1162/neco.1997.9.8.1735.
        Gers, Schmidhuber, Cummins, "Learning to Forget: Continual Prediction with LSTM", 2000,
            https://doi.org/10.1162/089976600300015015 (the forget gate).
        Theis, Bethge, "Generative Image Modeling Using Spatial LSTMs", 2015,
            https://arxiv.org/abs/1506.03478 (over images in raster order).

    Differs: one state goes along the rows, where Spatial LSTMs have one from the left and one from
    above at each pixel; as there, inputs may be causal neighbourhoods.

    Arguments:
        spec: the images.
        width: length of the input vectors.
        hidden: size of the state of each layer.
        layers: number of LSTM layers.
        window: also read the pixels up to this many rows above and columns to either side that come
            before; 0 reads the last one only.
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
        (
            DataSpec(2, 2, 4),
            {"width": 8, "hidden": 16, "layers": 1, "window": 2, "head": "categorical"},
        ),
        (
            DataSpec(2, 2, 4),
            {
                "width": 8,
                "hidden": 16,
                "layers": 1,
                "window": 1,
                "head": "logistic_mixture",
                "mixtures": 2,
            },
        ),
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
        super().__init__(
            spec, head=make_head(head, spec.levels, mixtures=mixtures), conditional=conditional
        )
        check_positive(width=width, hidden=hidden, layers=layers)
        self.sequence = PixelSequence(spec, width, conditional=self.conditional, window=window)
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, self.head.channels)
        for name, bias in self.lstm.named_parameters():
            if name.startswith("bias_ih"):
                open_forget_gate(bias)
        init_output(self.out, self.head)

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, K)."""
        u = self.sequence(x, y)  # (B, D, width)
        h, _ = self.lstm(u)  # (B, D, hidden)
        return cast("Tensor", self.out(h))

    # ------------------------------------------------------------- sampling: the state is the cache

    def init_cache(
        self, n: int, y: Tensor | None = None
    ) -> tuple[SequenceCache, list[tuple[Tensor, Tensor]]]:
        """What the inputs are made of, and the states h and c (n, hidden) of each layer before the
        first pixel.
        """
        zeros = self.out.weight.new_zeros(n, self.lstm.hidden_size)
        return self.sequence.cache(n, y), [(zeros, zeros)] * self.lstm.num_layers

    def step(
        self, x: Tensor, i: int, cache: tuple[SequenceCache, list[tuple[Tensor, Tensor]]]
    ) -> tuple[Tensor, tuple[SequenceCache, list[tuple[Tensor, Tensor]]]]:
        """Head parameters (n, K) of step i: one step of every layer."""
        inputs, states = cache
        h = self.sequence.at(x, i, inputs)  # (n, width)
        for number, weights in enumerate(cast("list[list[Tensor]]", self.lstm.all_weights)):
            states[number] = torch.lstm_cell(h, states[number], *weights)
            h, _ = states[number]  # (n, hidden)
        return self.out(h), cache
