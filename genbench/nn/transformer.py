"""A causal transformer on sequences of vectors, and the same one token at a time with a cache of
keys and values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genbench.errors import UserError, check_positive, near
from genbench.nn.attention import causal_attention

__all__ = ["Transformer", "TransformerCache"]

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu_squared": lambda h: F.relu(h).square(),
}


class Transformer(nn.Module):
    """Blocks of causal attention and feed-forward layers, each after a normalisation and beside a
    residual path; a last normalisation.

    Arguments:
        width: length of the vectors, a multiple of ``heads``.
        layers: number of blocks.
        heads: attention heads.
        multi_query: one key and value for all heads (Shazeer, "Fast Transformer Decoding", 2019).
        expansion: width of the feed-forward layers over ``width``; 4 as in Vaswani et al., 2017.
        activation: of the feed-forward layers: ``gelu``, or ``relu_squared`` (So et al., "Primer",
            2021, https://arxiv.org/abs/2109.08668).
        qk_norm: normalise queries and keys to root mean square 1, times a learned vector (Dehghani
            et al., "Scaling Vision Transformers to 22 Billion Parameters", 2023,
            https://arxiv.org/abs/2302.05442).
    """

    def __init__(
        self,
        width: int,
        *,
        layers: int,
        heads: int,
        multi_query: bool = True,
        expansion: int = 4,
        activation: str = "gelu",
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        check_positive(width=width, layers=layers, heads=heads, expansion=expansion)
        if width % heads:
            raise UserError(f"heads: must divide width = {width}, got {heads}")
        if activation not in _ACTIVATIONS:
            raise UserError(f"activation: unknown {activation!r}{near(activation, _ACTIVATIONS)}")
        self.blocks = nn.ModuleList(
            _Block(width, heads, multi_query, expansion, activation, qk_norm) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        # Each block adds to the residual path twice; its variance is not to grow with the depth:
        # Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3.
        depth = math.sqrt(2 * layers)
        with torch.no_grad():
            for block in self.all_blocks():
                block.merge.weight.div_(depth)
                block.down.weight.div_(depth)

    def all_blocks(self) -> list[_Block]:
        """The blocks, with their type."""
        return cast("list[_Block]", list(self.blocks))

    def forward(self, h: Tensor) -> Tensor:
        """(B, T, width) to the same; output t depends on inputs 0..t."""
        for block in self.blocks:
            h = block(h)
        return cast("Tensor", self.norm(h))


class _Block(nn.Module):
    """Attention, then a feed-forward layer."""

    def __init__(
        self,
        width: int,
        heads: int,
        multi_query: bool,
        expansion: int,
        activation: str,
        qk_norm: bool,
    ) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[activation]
        self.heads, self.size = heads, width // heads
        self.key_heads = 1 if multi_query else heads
        self.norm_attend, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        # W_Q, W_K and W_V as the rows of one matrix, in this order.
        self.project = nn.Linear(width, width + 2 * self.key_heads * self.size, bias=False)
        self.norm_query, self.norm_key = (
            nn.RMSNorm(self.size) if qk_norm else nn.Identity() for _ in range(2)
        )
        self.merge = nn.Linear(width, width)  # W_O
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)

    def split(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, T, heads, size), keys and values (B, T, key heads, size) of ``h`` (B, T,
        width).
        """
        queries, keys = self.heads * self.size, self.key_heads * self.size
        parts = self.project(self.norm_attend(h)).split([queries, keys, keys], -1)
        q, k, v = (part.unflatten(-1, (-1, self.size)) for part in parts)
        return self.norm_query(q), self.norm_key(k), v

    def forward(self, h: Tensor) -> Tensor:
        """(B, T, width) to the same."""
        q, k, v = (part.transpose(1, 2) for part in self.split(h))  # (B, heads, T, size)
        attended = causal_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, T, width)
        return self.feed(h + self.merge(attended))

    def feed(self, h: Tensor) -> Tensor:
        """The feed-forward layer and its residual path."""
        return h + self.down(self.activation(self.up(self.norm_forward(h))))


class TransformerCache:
    """Keys and values (n * key heads, steps, size) of every block, filled in step by step.

    Arguments:
        model: the transformer.
        n: sequences.
        steps: their full length.
    """

    def __init__(self, model: Transformer, n: int, steps: int) -> None:
        self.model = model
        new = model.norm.weight.new_zeros
        self.past = [
            tuple(new(n * block.key_heads, steps, block.size) for _ in range(2))
            for block in model.all_blocks()
        ]

    def step(self, h: Tensor, i: int) -> Tensor:
        """Output (n, width) of step ``i`` given its input, after all steps before it."""
        for block, (keys, values) in zip(self.model.all_blocks(), self.past, strict=True):
            q, k, v = block.split(h[:, None])
            keys[:, i], values[:, i] = k[:, 0].flatten(0, 1), v[:, 0].flatten(0, 1)
            # The heads that share a key are so many queries of it.
            queries = q[:, 0].unflatten(1, (block.key_heads, -1)).flatten(0, 1) * block.size**-0.5
            weights = torch.bmm(queries, keys[:, : i + 1].mT).softmax(-1)
            attended = torch.bmm(weights, values[:, : i + 1]).view(len(h), -1)  # (n, width)
            h = block.feed(h + block.merge(attended))
        return cast("Tensor", self.model.norm(h))
