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

_STEPS = 16  # steps of sampling whose sums over what is already known are taken together


class MADE(Autoregressive):
    r"""A fully connected network whose masks leave output i only paths from pixels before i, so
    that one pass gives all conditionals.

    Each hidden unit k of layer l has a degree :math:`m_l(k)` and sees the first :math:`m_l(k)`
    pixels. With pixels counted from 0 the masks are

    .. math:: M_1[k, d] = [m_1(k) > d], \qquad M_l[k, j] = [m_l(k) \ge m_{l-1}(j)], \qquad M_\text{out}[i, k] = [i \ge m_L(k)]

    Several masks differ in the degrees, hence in connectivity, not in the order of the pixels. A
    training step uses one of them, drawn at random;
    scoring and sampling use the mean of their conditionals, which is again an autoregressive model.

    Germain, Gregor, Murray, Larochelle, "MADE: Masked Autoencoder for Distribution Estimation",
    2015, https://arxiv.org/abs/1502.03509.

    Differs: the order is the raster order, not agnostic; conditionals are averaged within one
    order, not whole likelihoods over several; labels,
    where given, add a learned vector to each layer.

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
        inputs = torch.arange(1, spec.dims + 1).expand(
            masks, -1
        )  # a unit sees pixel d if its degree is at least d + 1
        below = [inputs, *degrees[:-1]]
        self.layers = nn.ModuleList(
            MaskedLinear(high[:, :, None] >= low[:, None, :])
            for low, high in zip(below, degrees, strict=True)
        )
        outputs = torch.arange(spec.dims).repeat_interleave(self.head.channels)
        self.out = MaskedLinear(outputs[None, :, None] >= degrees[-1][:, None, :])
        sizes = (*hidden, len(outputs))
        self.labels = (
            nn.ModuleList(label_shifts(spec.classes, size) for size in sizes)
            if self.conditional
            else None
        )
        for layer, degree in enumerate(degrees):
            self.register_buffer(
                f"degrees_{layer}", degree, persistent=False
            )  # like the masks, made anew with the model
        with torch.no_grad():
            self.out.bias.copy_(self.head.initial_bias().repeat(spec.dims))

    def _input(self, x: Tensor) -> Tensor:
        return self.spec.unit(x).flatten(1).to(self.out.weight.dtype)

    def _masked_logits(self, x: Tensor, y: Tensor | None, mask: int) -> Tensor:
        """Head parameters (B, D, K) through one mask."""
        h = self._input(x)
        for index, layer in enumerate(self.layers):
            h = layer(h, mask)
            if self.labels is not None:
                h = h + self.labels[index](y)
            h = h.relu()
        out = self.out(h, mask)
        if self.labels is not None:
            out = out + cast("nn.Embedding", self.labels[-1])(y)
        return out.unflatten(1, (self.spec.dims, self.head.channels))

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, K) of the mean of the masks' conditionals."""
        if self.masks == 1:
            return self._masked_logits(x, y, 0)
        return self.head.mean_of(
            torch.stack([self._masked_logits(x, y, mask) for mask in range(self.masks)])
        )

    def training_logits(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> Tensor:
        """Head parameters through one mask, drawn at random."""
        mask = (
            int(torch.randint(self.masks, (1,), generator=rng, device=rng.device))
            if self.masks > 1
            else 0
        )
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
        params = [mask.step(i) for mask in masks]
        return (params[0] if self.masks == 1 else self.head.mean_of(torch.stack(params))), cache


class _MaskCache:
    """Activations of one mask, the units of each layer sorted by degree: those known at a step are
    the first ones.
    """

    def __init__(self, model: MADE, mask: int, pixels: Tensor, y: Tensor | None) -> None:
        dims, n = pixels.shape
        self.dims, self.channels = dims, model.head.channels
        self.known = [
            list(range(dims))
        ]  # [layer][i]: how many of its units are known at step i; layer 0 is the pixels
        self.layers: list[_Rows] = []
        order, inputs = torch.arange(dims, device=pixels.device), pixels
        for index, layer in enumerate(cast("list[MaskedLinear]", list(model.layers))):
            degrees = model.get_buffer(f"degrees_{index}")[mask]
            before, order = order, degrees.argsort(stable=True)
            bias = (
                layer.bias[order, None].expand(-1, n)
                if model.labels is None
                else layer.bias[order, None] + model.labels[index](y).T[order]
            )
            self.layers.append(_Rows(layer.weight[order][:, before], bias, inputs))
            self.known.append(torch.bincount(degrees, minlength=dims).cumsum(0).tolist())
            inputs = pixels.new_zeros(len(order), n)
            self.layers[-1].outputs = inputs
        shift = (
            model.out.bias
            if model.labels is None
            else model.out.bias + cast("nn.Embedding", model.labels[-1])(y)
        )
        self.out = _Rows(model.out.weight[:, order], shift.expand(n, -1).T, inputs)

    def step(self, i: int) -> Tensor:
        """Head parameters (n, K) of pixel i."""
        if i % _STEPS == 0:
            self._start(i, min(i + _STEPS, self.dims))
        for layer, below, own in zip(self.layers, self.known, self.known[1:], strict=False):
            first, last = (own[i - 1] if i else 0), own[i]
            if last > first:
                layer.outputs[first:last] = layer.rows(first, last, below[i]).relu_()
        return self.out.rows(i * self.channels, (i + 1) * self.channels, self.known[-1][i]).T

    def _start(self, i: int, end: int) -> None:
        """Sum up what is known before step i for all units of the steps up to ``end``: one large
        product in place of many thin ones.
        """
        before = [counts[i - 1] if i else 0 for counts in self.known]
        before[0] = i
        for layer, below, first, counts in zip(
            self.layers, before, before[1:], self.known[1:], strict=False
        ):
            layer.start(first, counts[end - 1], below)
        self.out.start(i * self.channels, end * self.channels, before[-1])


class _Rows:
    """Rows of a linear layer whose inputs (C, n) become known from the first on."""

    outputs: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, inputs: Tensor) -> None:
        self.weight, self.bias, self.inputs = weight, bias, inputs

    def start(self, first: int, last: int, known: int) -> None:
        """Sum the known inputs for some rows."""
        self.first, self.known = first, known
        self.sums = torch.addmm(
            self.bias[first:last], self.weight[first:last, :known], self.inputs[:known]
        )

    def rows(self, first: int, last: int, known: int) -> Tensor:
        """Some of these rows (rows, n), with the inputs that have become known since."""
        sums = self.sums[first - self.first : last - self.first]
        return torch.addmm(
            sums, self.weight[first:last, self.known : known], self.inputs[self.known : known]
        )


def _degrees(size: int, layer: int, masks: int, dims: int) -> Tensor:
    """Degrees (M, size) in 1..dims-1, spread evenly and, where there are several masks, dealt to
    the units at random.
    """
    even = (
        1 + torch.arange(size) * max(1, dims - 1) // size
        if dims > 1
        else torch.ones(size, dtype=torch.long)
    )
    if masks == 1:
        return even[None]
    rng = random.Random(
        layer
        # a fixed structure that no entry's seed changes; Python keeps this sequence the same for good
    )
    return torch.stack(
        [
            even[sorted(range(size), key=[rng.random() for _ in range(size)].__getitem__)]
            for _ in range(masks)
        ]
    )
