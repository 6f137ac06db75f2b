"""MADE: a masked autoencoder for distribution estimation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Generator, Tensor, nn

from genbench.base import Conditioning, DataSpec
from genbench.errors import UserError, check_positive
from genbench.families.autoregressive import Autoregressive
from genbench.nn.heads import make_head
from genbench.nn.labels import label_shifts
from genbench.nn.masked import MaskedLinear

__all__ = ["MADE"]

_SUM_STEPS = 16
"""Steps of sampling whose sums over inputs that are already known are taken in one product, large
enough to be fast; 784 pixels are 49 times as many.
"""


class MADE(Autoregressive):
    r"""A fully connected network whose masks leave output i only paths from pixels before i, so
    that one pass gives all conditionals.

    Each hidden unit k of layer l has a degree :math:`m_l(k)` and sees the first :math:`m_l(k)`
    pixels. With pixels counted from 0 the masks are

    .. math::
        M_1[k, d] = [m_1(k) > d], \qquad
        M_l[k, j] = [m_l(k) \ge m_{l-1}(j)], \qquad
        M_\text{out}[i, k] = [i \ge m_L(k)]

    and a layer is

    .. math::
        h_l = \max(0, (W_l \odot M_l) h_{l-1} + b_l + V_l y)

    with y the label as a one-hot vector, where there is one. Several masks differ in the degrees,
    hence in connectivity, not in the order of the pixels. A training step uses one of them, drawn
    at random; scoring and sampling use the mean of their conditionals, which is again an
    autoregressive model.

    Symbols:
        :math:`W_l, b_l, M_l`: ``weight``, ``bias`` and ``masks`` of each of ``layers``, and of
            ``out``, which has all K parameters of pixel i in rows i K to i K + K - 1.
        :math:`m_l`: buffers ``degrees_0``, ...
        :math:`V_l`: the columns are the rows of the tables in ``labels``.

    References:
        Germain, Gregor, Murray, Larochelle, "MADE: Masked Autoencoder for Distribution Estimation",
            2015, https://arxiv.org/abs/1502.03509.

    Differs: the order is the raster order, not agnostic; conditionals are averaged within one
    order, not whole likelihoods over several; labels, where given, add a learned vector to each
    layer.

    Arguments:
        spec: the images.
        hidden: units of each hidden layer.
        masks: number of masks.
        head: distribution of a pixel: bernoulli, categorical or logistic_mixture.
        mixtures: components of the logistic mixture.
        conditional: model P(x|y).

    Example:
        >>> model = MADE(DataSpec(3, 3, 2), hidden=[16])
        >>> model.logits(torch.zeros(4, 1, 3, 3, dtype=torch.uint8)).shape
        torch.Size([4, 9, 1])
    """

    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = [
        (DataSpec(3, 3, 2), {"hidden": [24, 24]}),
        (DataSpec(3, 3, 2), {"hidden": [24], "masks": 3}),
        (DataSpec(2, 2, 4), {"hidden": [32], "head": "categorical"}),
        (
            DataSpec(2, 2, 4),
            {"hidden": [32, 16], "head": "logistic_mixture", "mixtures": 2, "masks": 2},
        ),
    ]

    def __init__(
        self,
        spec: DataSpec,
        *,
        hidden: Sequence[int] = (500,),
        masks: int = 1,
        head: str = "bernoulli",
        mixtures: int = 5,
        conditional: bool = False,
    ) -> None:
        super().__init__(
            spec, head=make_head(head, spec.levels, mixtures=mixtures), conditional=conditional
        )
        if not hidden or min(hidden) < 1:
            raise UserError(f"hidden: must be one or more positive sizes, got {list(hidden)}")
        check_positive(masks=masks)
        self.masks = masks
        degrees = [_degrees(size, layer, masks, spec.dims) for layer, size in enumerate(hidden)]
        # A unit sees pixel d if its degree is above d: for it, pixel d has the degree d + 1.
        inputs = torch.arange(1, spec.dims + 1).expand(masks, -1)
        outputs = torch.arange(spec.dims).repeat_interleave(self.head.channels)
        self.layers = nn.ModuleList(
            MaskedLinear(above[:, :, None] >= below[:, None, :])
            for below, above in zip([inputs, *degrees[:-1]], degrees, strict=True)
        )
        self.out = MaskedLinear(outputs[None, :, None] >= degrees[-1][:, None, :])
        self.labels = None
        if self.conditional:
            sizes = (*hidden, len(outputs))
            self.labels = nn.ModuleList(label_shifts(spec.classes, size) for size in sizes)
        for layer, degree in enumerate(degrees):  # like the masks, made anew with the model
            self.register_buffer(f"degrees_{layer}", degree, persistent=False)
        with torch.no_grad():
            self.out.bias.copy_(self.head.initial_bias().repeat(spec.dims))

    def _label_shift(self, layer: int, y: Tensor | None) -> Tensor | None:
        """What the labels add to a layer (B, units), of which -1 is the last; None without."""
        if self.labels is None:
            return None
        return cast("nn.Embedding", self.labels[layer])(y)

    def _masked_logits(self, x: Tensor, y: Tensor | None, mask: int) -> Tensor:
        """Head parameters (B, D, K) through one mask."""
        h = self.spec.unit(x).flatten(1).to(self.out.weight.dtype)  # (B, D)
        for number, layer in enumerate(self.layers):
            h = layer(h, mask)
            shift = self._label_shift(number, y)
            if shift is not None:
                h = h + shift
            h = h.relu()
        out = self.out(h, mask)  # (B, D K)
        shift = self._label_shift(-1, y)
        if shift is not None:
            out = out + shift
        return out.unflatten(1, (self.spec.dims, self.head.channels))

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, K) of the mean of the masks' conditionals."""
        if self.masks == 1:
            return self._masked_logits(x, y, 0)
        each = [self._masked_logits(x, y, mask) for mask in range(self.masks)]
        return self.head.mean_of(torch.stack(each))

    def training_logits(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> Tensor:
        """Head parameters through one mask, drawn at random."""
        mask = 0
        if self.masks > 1:
            mask = int(torch.randint(self.masks, (1,), generator=rng, device=rng.device))
        return self._masked_logits(x, y, mask)

    # -------------------------------------------------- sampling: each hidden unit is computed once

    def init_cache(self, n: int, y: Tensor | None = None) -> tuple[Tensor, list[_MaskCache]]:
        """The input (D, n), filled in as pixels become known, and one cache per mask."""
        pixels = self.out.weight.new_zeros(self.spec.dims, n)
        return pixels, [_MaskCache(self, mask, pixels, y) for mask in range(self.masks)]

    def step(
        self, x: Tensor, i: int, cache: tuple[Tensor, list[_MaskCache]]
    ) -> tuple[Tensor, tuple[Tensor, list[_MaskCache]]]:
        """Head parameters (n, K) of pixel i: at step i exactly the hidden units of degree i become
        known.
        """
        pixels, masks = cache
        if i > 0:
            pixels[i - 1] = self.spec.unit(x.flatten(1)[:, i - 1])
        each = [mask.step(i) for mask in masks]
        return (each[0] if self.masks == 1 else self.head.mean_of(torch.stack(each))), cache


class _MaskCache:
    """Activations of one mask, the units of each layer sorted by degree: those known at a step are
    the first ones.
    """

    def __init__(self, model: MADE, mask: int, pixels: Tensor, y: Tensor | None) -> None:
        self.dims, n = pixels.shape
        self.channels = model.head.channels
        # [layer][i]: how many of the layer's units are known at step i; layer 0 is the pixels.
        self.known = [list(range(self.dims))]
        self.layers: list[_SortedLinear] = []
        order, inputs = torch.arange(self.dims, device=pixels.device), pixels
        for number, layer in enumerate(cast("list[MaskedLinear]", list(model.layers))):
            degrees = model.get_buffer(f"degrees_{number}")[mask]
            order_below, order = order, degrees.argsort(stable=True)
            bias = layer.bias[order, None].expand(-1, n)
            shift = model._label_shift(number, y)
            if shift is not None:
                bias = layer.bias[order, None] + shift.T[order]
            self.layers.append(_SortedLinear(layer.weight[order][:, order_below], bias, inputs))
            self.known.append(torch.bincount(degrees, minlength=self.dims).cumsum(0).tolist())
            inputs = pixels.new_zeros(len(order), n)
            self.layers[-1].outputs = inputs
        shift = model._label_shift(-1, y)
        bias = model.out.bias if shift is None else model.out.bias + shift
        self.out = _SortedLinear(model.out.weight[:, order], bias.expand(n, -1).T, inputs)

    def step(self, i: int) -> Tensor:
        """Head parameters (n, K) of pixel i."""
        if i % _SUM_STEPS == 0:
            self._sum_known(i, min(i + _SUM_STEPS, self.dims))
        for layer, inputs, units in zip(self.layers, self.known, self.known[1:], strict=False):
            first, last = (units[i - 1] if i else 0), units[i]
            if last > first:
                layer.outputs[first:last] = layer.rows(first, last, inputs[i]).relu_()
        return self.out.rows(i * self.channels, (i + 1) * self.channels, self.known[-1][i]).T

    def _sum_known(self, i: int, end: int) -> None:
        """Sum up what is known before step i for all units of the steps up to ``end``: one large
        product in place of many thin ones.
        """
        before = [counts[i - 1] if i else 0 for counts in self.known]
        before[0] = i
        for number, layer in enumerate(self.layers):
            layer.sum_known(before[number + 1], self.known[number + 1][end - 1], before[number])
        self.out.sum_known(i * self.channels, end * self.channels, before[-1])


class _SortedLinear:
    """A linear layer whose inputs (C, n) become known from the first on."""

    outputs: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, inputs: Tensor) -> None:
        self.weight, self.bias, self.inputs = weight, bias, inputs

    def sum_known(self, first: int, last: int, known: int) -> None:
        """Sum the known inputs for rows ``first`` to ``last`` - 1."""
        self.first, self.known = first, known
        self.sums = torch.addmm(
            self.bias[first:last], self.weight[first:last, :known], self.inputs[:known]
        )

    def rows(self, first: int, last: int, known: int) -> Tensor:
        """Some of these rows (rows, n), with the inputs that have become known since."""
        sums = self.sums[first - self.first : last - self.first]
        since = slice(self.known, known)
        return torch.addmm(sums, self.weight[first:last, since], self.inputs[since])


def _degrees(size: int, layer: int, masks: int, dims: int) -> Tensor:
    """Degrees (M, size) in 1..dims-1, spread evenly and, where there are several masks, dealt to
    the units at random.
    """
    even = torch.ones(size, dtype=torch.long)
    if dims > 1:
        even += torch.arange(size) * (dims - 1) // size
    if masks == 1:
        return even[None]
    # A fixed structure that no entry's seed changes; Python keeps this sequence the same for good.
    rng = random.Random(layer)
    dealt = []
    for _ in range(masks):
        keys = [rng.random() for _ in range(size)]
        dealt.append(even[sorted(range(size), key=keys.__getitem__)])
    return torch.stack(dealt)
