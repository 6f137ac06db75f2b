"""Pixel transformer: causal self-attention over the pixels in raster order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from genbench.base import Conditioning, DataSpec
from genbench.families.autoregressive import Autoregressive
from genbench.nn.heads import init_output, make_head
from genbench.nn.sequence import PixelSequence, SequenceCache
from genbench.nn.transformer import Transformer, TransformerCache

__all__ = ["PixelTransformer"]

_CACHE_BYTES = 2**31
"""Of keys and values: what a small machine can spare."""


class PixelTransformer(Autoregressive):
    r"""A decoder-only transformer whose tokens are pixels: step i attends to the steps up to i,
    each of which has read the pixel before it.

    .. math::
        h \leftarrow h + W_O\, \mathrm{softmax}\left(\frac{Q K^T}{\sqrt{d}} + M\right) V, \qquad
        M_{ij} = -\infty \text{ for } j > i, \qquad
        h \leftarrow h + W_2\, \mathrm{gelu}(W_1 \mathrm{norm}(h))

    with :math:`Q = W_Q \mathrm{norm}(h)`, and K and V likewise. Multi-query attention, the default,
    has one key and value for all heads; sampling then reads ``heads`` times less memory.

    Symbols:
        :math:`h`: ``sequence`` at first; then what each of ``transformer.blocks`` gives.
        :math:`W_Q, W_K, W_V`: rows of one matrix, ``project``, in this order.
        :math:`W_O, W_1, W_2`: ``merge``, ``up`` and ``down``.

    References:
        Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin, "Attention Is All You
            Need", 2017, https://arxiv.org/abs/1706.03762.
        Chen, Radford, Child, Wu, Jun, Luan, Sutskever, "Generative Pretraining from Pixels", 2020,
            https://proceedings.mlr.press/v119/chen20s.html.
        Shazeer, "Fast Transformer Decoding: One Write-Head is All You Need", 2019,
            https://arxiv.org/abs/1911.02150 (multi-query attention).

    Differs: normalisation before each sublayer; learned vectors of row and column in place of
    sines; labels add a learned vector to every step; an input that reads a causal window is an
    option, which spares the first layers at small budgets.

    Arguments:
        spec: the images.
        width: length of the vectors, a multiple of ``heads``.
        layers: number of blocks.
        heads: attention heads.
        multi_query: share keys and values among the heads.
        expansion: width of the feed-forward layers over ``width``; 4 as in the first paper.
        activation: of the feed-forward layers: gelu or relu_squared.
        qk_norm: normalise queries and keys.
        window: the input also reads the pixels up to this many rows above and columns to either
            side that come before.
        head: distribution of a pixel: bernoulli, categorical or logistic_mixture.
        mixtures: components of the logistic mixture.
        conditional: model P(x|y).
        label_maps: labels add a vector for each step, beside one for all.

    Example:
        >>> import torch
        >>> model = PixelTransformer(DataSpec(4, 4, 2), width=8, layers=1, heads=2)
        >>> model.logits(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)).shape
        torch.Size([2, 16, 1])
    """

    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = [
        (DataSpec(3, 3, 2), {"width": 16, "layers": 2, "heads": 2}),
        (
            DataSpec(2, 2, 4),
            {"width": 16, "layers": 1, "heads": 2, "multi_query": False, "head": "categorical"},
        ),
        (
            DataSpec(2, 2, 4),
            {
                "width": 16,
                "layers": 1,
                "heads": 4,
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
        layers: int = 8,
        heads: int = 2,
        multi_query: bool = True,
        expansion: int = 4,
        activation: str = "gelu",
        qk_norm: bool = False,
        window: int = 0,
        head: str = "bernoulli",
        mixtures: int = 5,
        conditional: bool = False,
        label_maps: bool = False,
    ) -> None:
        super().__init__(
            spec, head=make_head(head, spec.levels, mixtures=mixtures), conditional=conditional
        )
        self.sequence = PixelSequence(
            spec, width, conditional=self.conditional, window=window, label_maps=label_maps
        )
        self.transformer = Transformer(
            width,
            layers=layers,
            heads=heads,
            multi_query=multi_query,
            expansion=expansion,
            activation=activation,
            qk_norm=qk_norm,
        )
        self.out = nn.Linear(width, self.head.channels)
        init_output(self.out, self.head)

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, K)."""
        h = self.transformer(self.sequence(x, y))  # (B, D, width)
        return cast("Tensor", self.out(h))

    # ----------------------------------------------------------- sampling: keys and values are kept

    def images_at_once(self) -> int:
        """As many images as 2 GiB hold the keys and values of, at most 500."""
        blocks = self.transformer.all_blocks()
        per_step = sum(2 * block.key_heads * block.size for block in blocks)  # keys and values
        per_image = per_step * self.spec.dims * self.out.weight.element_size()  # bytes
        return max(1, min(super().images_at_once(), _CACHE_BYTES // per_image))

    def init_cache(self, n: int, y: Tensor | None = None) -> tuple[SequenceCache, TransformerCache]:
        """The sequence's constant part, and room for all keys and values."""
        return self.sequence.cache(n, y), TransformerCache(self.transformer, n, self.spec.dims)

    def step(
        self, x: Tensor, i: int, cache: tuple[SequenceCache, TransformerCache]
    ) -> tuple[Tensor, tuple[SequenceCache, TransformerCache]]:
        """Head parameters (n, K) of step i: one new token."""
        constant, past = cache
        h = past.step(self.sequence.at(x, i, constant), i)  # (n, width)
        return self.out(h), cache
