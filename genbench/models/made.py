"""MADE: a masked autoencoder for distribution estimation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Generator, Tensor, nn

from genbench.base import Conditioning, DataSpec
from genbench.families.autoregressive import Autoregressive
from genbench.nn.heads import make_head
from genbench.nn.masked import MaskedLinear

__all__ = ["MADE"]


class MADE(Autoregressive):
    """A fully connected network whose masks leave output i only paths from pixels before i, so that one pass gives all conditionals.

    Each hidden unit k of layer l has a degree m_l(k) and sees the first m_l(k) pixels. The masks are

        M_1[k, d] = [m_1(k) > d],   M_l[k, j] = [m_l(k) >= m_{l-1}(j)],   M_out[i, k] = [i >= m_L(k)]   (pixels counted from 0)

    Several masks differ in the degrees, hence in connectivity, not in the order of the pixels. A training step uses
    one of them, drawn at random;
    scoring and sampling use the mean of their conditionals, which is again an autoregressive model.

    Germain, Gregor, Murray, Larochelle, "MADE: Masked Autoencoder for Distribution Estimation", 2015, https://arxiv.org/abs/1502.03509.

    Differs: the order is the raster order, not agnostic; conditionals are averaged within one order, not whole
    likelihoods over several; labels,
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
        (DataSpec(2, 2, 4), {"hidden": [32, 16], "head": "logistic_mixture", "mixtures": 2, "masks": 2}),
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
        super().__init__(spec, head=make_head(head, spec.levels, mixtures=mixtures), conditional=conditional)
        if not hidden or min(hidden) < 1:
            raise ValueError(f"hidden: must be one or more positive sizes, got {list(hidden)}")
        if masks < 1:
            raise ValueError(f"masks: must be at least 1, got {masks}")
        self.masks = masks
        degrees = [_degrees(size, layer, masks, spec.dims) for layer, size in enumerate(hidden)]
        inputs = torch.arange(1, spec.dims + 1).expand(masks, -1)  # a unit sees pixel d if its degree is at least d + 1
        below = [inputs, *degrees[:-1]]
        self.layers = nn.ModuleList(MaskedLinear(high[:, :, None] >= low[:, None, :]) for low, high in zip(below, degrees, strict=True))
        outputs = torch.arange(spec.dims).repeat_interleave(self.head.channels)
        self.out = MaskedLinear(outputs[None, :, None] >= degrees[-1][:, None, :])
        sizes = (*hidden, len(outputs))
        self.labels = nn.ModuleList(nn.Embedding(spec.classes, size) for size in sizes) if self.conditional else None
        for layer, degree in enumerate(degrees):
            self.register_buffer(f"degrees_{layer}", degree)
        with torch.no_grad():
            if self.labels is not None:
                nn.init.zeros_(cast("nn.Embedding", self.labels[-1]).weight)
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
        return self.head.mean_of(torch.stack([self._masked_logits(x, y, mask) for mask in range(self.masks)]))

    def training_logits(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> Tensor:
        """Head parameters through one mask, drawn at random."""
        mask = int(torch.randint(self.masks, (1,), generator=rng, device=rng.device)) if self.masks > 1 else 0
        return self._masked_logits(x, y, mask)

    # ------------------------------------------------------------------ sampling: each hidden unit is computed once

    def init_cache(self, n: int, y: Tensor | None = None) -> tuple[Tensor, list[_MaskCache]]:
        """The input (n, D), filled in as pixels become known, and one cache per mask."""
        return self.out.weight.new_zeros(n, self.spec.dims), [_MaskCache(self, mask, n, y) for mask in range(self.masks)]

    def step(self, x: Tensor, i: int, cache: tuple[Tensor, list[_MaskCache]]) -> tuple[Tensor, tuple[Tensor, list[_MaskCache]]]:
        """Head parameters (n, K) of pixel i: at step i exactly the hidden units of degree i become known."""
        pixels, masks = cache
        if i > 0:
            pixels[:, i - 1] = self.spec.unit(x.flatten(1)[:, i - 1])
        params = [mask.step(pixels, i) for mask in masks]
        return (params[0] if self.masks == 1 else self.head.mean_of(torch.stack(params))), cache


class _MaskCache:
    """Activations of one mask with the units of each layer sorted by degree, so that the units known so far are a prefix."""

    def __init__(self, model: MADE, mask: int, n: int, y: Tensor | None) -> None:
        dims, self.channels = model.spec.dims, model.head.channels
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []
        self.known: list[list[int]] = []  # [layer][degree]: units of at most this degree
        self.units: list[Tensor] = []
        before: Tensor | None = None
        for index, layer in enumerate(cast("list[MaskedLinear]", list(model.layers))):
            degrees = model.get_buffer(f"degrees_{index}")[mask]
            order = degrees.argsort(stable=True)
            weight = layer.weight[order]
            bias = layer.bias[order].expand(n, -1)
            self.weights.append(weight if before is None else weight[:, before])
            self.biases.append(bias if model.labels is None else bias + model.labels[index](y)[:, order])
            self.known.append(torch.bincount(degrees, minlength=dims).cumsum(0).tolist())
            self.units.append(weight.new_zeros(n, len(order)))
            before = order
        self.out = model.out.weight[:, before].unflatten(0, (dims, self.channels))
        shift = model.out.bias if model.labels is None else model.out.bias + cast("nn.Embedding", model.labels[-1])(y)
        self.shift = shift.expand(n, -1).unflatten(1, (dims, self.channels))

    def step(self, pixels: Tensor, i: int) -> Tensor:
        """Head parameters (n, K) of pixel i from ``pixels`` (n, D)."""
        below = pixels[:, :i]
        for weight, bias, known, units in zip(self.weights, self.biases, self.known, self.units, strict=True):
            first, last = (known[i - 1] if i else 0), known[i]
            if last > first:
                fresh = torch.addmm(bias[:, first:last], below, weight[first:last, : below.shape[1]].T)
                units[:, first:last] = fresh.relu_()
            below = units[:, :last]
        return torch.addmm(self.shift[:, i], below, self.out[i, :, : below.shape[1]].T)


def _degrees(size: int, layer: int, masks: int, dims: int) -> Tensor:
    """Degrees (M, size) in 1..dims-1, spread evenly and, where there are several masks, dealt to the units at random."""
    even = 1 + torch.arange(size) * max(1, dims - 1) // size if dims > 1 else torch.ones(size, dtype=torch.long)
    if masks == 1:
        return even[None]
    rng = torch.Generator().manual_seed(layer)  # a fixed structure; no entry's seed changes it
    return torch.stack([even[torch.randperm(size, generator=rng)] for _ in range(masks)])
