"""WaveNet: dilated causal convolutions over the pixels in raster order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genbench.base import Conditioning, DataSpec
from genbench.errors import UserError, check_positive
from genbench.families.autoregressive import Autoregressive
from genbench.nn.gate import gate, init_before_gate
from genbench.nn.heads import init_output, make_head
from genbench.nn.labels import label_shifts
from genbench.nn.sequence import PixelSequence, SequenceCache

__all__ = ["WaveNet"]


class WaveNet(Autoregressive):
    r"""Layers that each look at their own step and at one a dilation d before it, with a gate, a
    residual path and a path to the output.

    .. math::
        z_t = \tanh(W_f [h_{t-d}, h_t] + V_f y) \odot \sigma(W_g [h_{t-d}, h_t] + V_g y), \qquad
        h_t \leftarrow h_t + R z_t, \qquad
        s_t \leftarrow s_t + S z_t

    and s goes through two dense layers. A pixel sees those that are 1 plus a sum of some of the
    dilations before it; they must cover the image.

    Symbols:
        :math:`W_f, W_g`: the upper and the lower half of the rows of each layer's ``inner``; its
            left half of columns reads :math:`h_{t-d}`, the right one :math:`h_t`.
        :math:`V_f, V_g`: the columns are the halves of the rows of each layer's ``labels``.
        :math:`R, S`: the first ``channels`` rows of each layer's ``outer``, and the ``skip`` rows
            after them; the last layer has S alone.

    References:
        van den Oord, Dieleman, Zen, Simonyan, Vinyals, Graves, Kalchbrenner, Senior, Kavukcuoglu,
            "WaveNet: A Generative Model for Raw Audio", 2016, https://arxiv.org/abs/1609.03499,
            sections 2.1 to 2.5 (labels: global conditioning).

    Differs: the samples are pixels, so learned vectors of row and column are added to the input;
    dilations other than powers of two, such as multiples of the image's width, and an input that
    reads a causal window may be asked for.

    Arguments:
        spec: the images.
        channels: width of the residual path.
        skip: width of the path to the output.
        dilations: one layer each; None doubles from 1 until the image is covered.
        window: the input also reads the pixels up to this many rows above and columns to either
            side that come before.
        head: distribution of a pixel: bernoulli, categorical or logistic_mixture.
        mixtures: components of the logistic mixture.
        conditional: model P(x|y).

    Example:
        >>> model = WaveNet(DataSpec(4, 4, 2), channels=4, skip=8)
        >>> model.receptive_field()
        16
        >>> model.logits(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)).shape
        torch.Size([2, 16, 1])
    """

    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = [
        (DataSpec(3, 3, 2), {"channels": 8, "skip": 16}),
        (DataSpec(2, 2, 4), {"channels": 8, "skip": 16, "head": "categorical"}),
        (
            DataSpec(2, 2, 4),
            {
                "channels": 8,
                "skip": 16,
                "dilations": [512, *(2**k for k in range(9))],
                "head": "logistic_mixture",
                "mixtures": 2,
            },
        ),
    ]

    def __init__(
        self,
        spec: DataSpec,
        *,
        channels: int = 64,
        skip: int = 128,
        dilations: Sequence[int] | None = None,
        window: int = 0,
        head: str = "bernoulli",
        mixtures: int = 5,
        conditional: bool = False,
    ) -> None:
        super().__init__(
            spec, head=make_head(head, spec.levels, mixtures=mixtures), conditional=conditional
        )
        check_positive(channels=channels, skip=skip)
        if dilations is None:
            dilations = [2**k for k in range(max(1, (spec.dims - 1).bit_length()))]
        if not dilations or min(dilations) < 1:
            raise UserError(
                f"dilations: must be one or more positive numbers, got {list(dilations)}"
            )
        missed = sorted(set(range(spec.dims - 1)) - _sums(dilations))
        if missed:
            raise UserError(
                f"dilations: {list(dilations)} do not cover the {spec.dims} pixels of the image: "
                f"no layers add up to {missed[0]}, so no pixel sees the one {missed[0] + 1} before "
                "it; add layers, such as doubling dilations from 1"
            )
        self.sequence = PixelSequence(spec, channels, window=window)
        classes = spec.classes if self.conditional else 0
        final = len(dilations) - 1
        self.layers = nn.ModuleList(
            _Layer(channels, skip, dilation, classes, last=number == final)
            for number, dilation in enumerate(dilations)
        )
        self.last = nn.Linear(skip, skip)
        self.out = nn.Linear(skip, self.head.channels)
        with torch.no_grad():
            for layer in self._layers():  # so that neither sum's variance grows with the depth
                layer.outer.weight.div_(len(dilations) ** 0.5)
        init_output(self.out, self.head)

    def receptive_field(self) -> int:
        """How many pixels back the farthest one is that a pixel depends on, in an image that has so
        many.
        """
        return 1 + sum(layer.dilation for layer in self._layers())

    def _layers(self) -> list[_Layer]:
        return cast("list[_Layer]", list(self.layers))

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, K)."""
        h, skips = self.sequence(x), []  # (B, D, channels)
        for layer in self._layers():
            h, skip = layer(h, y)
            skips.append(skip)
        return self._read(sum(skips[1:], skips[0]))

    def _read(self, skip: Tensor) -> Tensor:
        """Head parameters (..., K) from the sum (..., skip) of the layers' paths to the output."""
        return cast("Tensor", self.out(self.last(skip.relu()).relu()))

    # ------------------------------------------------------------ sampling: a ring buffer per layer

    def init_cache(self, n: int, y: Tensor | None = None) -> tuple[SequenceCache, list[_Ring]]:
        """The sequence's constant part, and one ring buffer per layer."""
        rings = [_Ring(layer, n, self.spec.dims, y) for layer in self._layers()]
        return self.sequence.cache(n, None), rings

    def step(
        self, x: Tensor, i: int, cache: tuple[SequenceCache, list[_Ring]]
    ) -> tuple[Tensor, tuple[SequenceCache, list[_Ring]]]:
        """Head parameters (n, K) of step i: one new column of features."""
        constant, rings = cache
        h = self.sequence.at(x, i, constant)
        total: Tensor | None = None
        for ring in rings:
            h, skip = ring.step(h, i)
            total = skip if total is None else total.add_(skip)
        assert total is not None
        return self._read(total), cache


class _Layer(nn.Module):
    """One gated layer; the last one has no residual path, which nothing would read."""

    def __init__(
        self, channels: int, skip: int, dilation: int, classes: int, *, last: bool
    ) -> None:
        super().__init__()
        self.channels, self.dilation, self.last = channels, dilation, last
        self.inner = nn.Linear(2 * channels, 2 * channels)
        self.outer = nn.Linear(channels, skip if last else channels + skip)
        self.labels = label_shifts(classes, 2 * channels) if classes else None
        init_before_gate(self.inner)

    def forward(self, h: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, T, C) to the same and (B, T, skip)."""
        before = F.pad(h, (0, 0, self.dilation, 0))[:, : h.shape[1]]  # h_{t-d}
        inner = self.inner(torch.cat([before, h], -1))  # (B, T, 2C)
        if self.labels is not None:
            inner = inner + self.labels(y)[:, None]
        return self.paths(h, gate(inner, -1))

    def paths(self, h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """The next h (..., C), which is h + R z and in the last layer h, and S z (..., skip)."""
        out = self.outer(z)
        if self.last:
            return h, out
        return h + out[..., : self.channels], out[..., self.channels :]


class _Ring:
    """A ring buffer of the last inputs of a layer, as many as its dilation."""

    def __init__(self, layer: _Layer, n: int, steps: int, y: Tensor | None) -> None:
        self.layer = layer
        self.shift = None if layer.labels is None else layer.labels(y)
        self.inputs = layer.inner.weight.new_zeros(min(layer.dilation, steps), n, layer.channels)

    def step(self, h: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """Outputs (n, C) and (n, skip) given the input (n, C) of step i."""
        slot = i % len(self.inputs)  # of step i - d; zero, as padding is, while i < d
        inner = self.layer.inner(torch.cat([self.inputs[slot], h], -1))
        self.inputs[slot] = h
        if self.shift is not None:
            inner += self.shift
        return self.layer.paths(h, gate(inner, -1))


def _sums(dilations: Sequence[int]) -> set[int]:
    """Sums of all choices of the dilations."""
    sums = {0}
    for dilation in dilations:
        sums |= {total + dilation for total in sums}
    return sums
