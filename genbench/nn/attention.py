"""Causal attention, with a version for training in bfloat16 on processors
(benchmarks/autoregressive.py compares it with the library's).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

__all__ = ["causal_attention"]

_ROWS = 112
"""Steps per block, a seventh of 784: the scores of a block stay in the cache, and its products are
large enough to be fast (benchmarks/autoregressive.py).
"""


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    r"""softmax(Q K^T / sqrt(d) + M) V with :math:`M_{ij} = -\infty` for j > i.

    Vaswani et al., "Attention Is All You Need", 2017, equation 1. Where ``k`` and ``v`` have one
    head, all heads of ``q`` share it.

    Arguments:
        q: queries (B, heads, T, d).
        k: keys (B, heads or 1, T, d).
        v: values of the same shape.

    Returns:
        (B, heads, T, d)
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        result: Tensor = _Blocks.apply(q, k, v)
        return result
    if k.shape[1] < q.shape[1]:
        k, v = k.expand_as(q), v.expand_as(q)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class _Blocks(torch.autograd.Function):
    """Block by block of steps, each against the keys up to its own end; the weights are kept for
    the gradient.

    As in mixed precision without a fused kernel, scores are rounded to bfloat16 before the softmax,
    so a weight has a relative error of up to 2^-9 times its score.

    Heads that share keys become further queries of them, so that products are large: (B * key
    heads, heads per key * rows, d).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = k.flatten(0, 1), v.flatten(0, 1)
        scale = q.shape[-1] ** -0.5
        outs, weights = [], []
        for begin, end in _blocks(q.shape[2]):
            rows = _rows(q[:, :, begin:end], k.shape[1])
            scores = torch.bmm(rows * scale, keys[:, :end].mT).unflatten(1, (-1, end - begin))
            later = torch.ones(end - begin, end - begin, dtype=torch.bool, device=q.device).triu_(1)
            scores[..., begin:].masked_fill_(later, float("-inf"))
            weight = scores.softmax(-1).flatten(1, 2)  # (B * key heads, heads per key * rows, end)
            out = torch.bmm(weight, values[:, :end])
            outs.append(_unrows(out, q.shape[:2], end - begin))
            weights.append(weight)
        ctx.save_for_backward(q, k, v, *weights)
        return torch.cat(outs, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, *weights = ctx.saved_tensors
        keys, values = k.flatten(0, 1), v.flatten(0, 1)
        scale = q.shape[-1] ** -0.5
        # Transposed, as products that sum over the rows are faster that way round.
        grad_keys, grad_values = torch.zeros(2, *keys.mT.shape, dtype=q.dtype).unbind()
        grad_rows, grad = [], grad_outputs[0]
        for (begin, end), weight in zip(_blocks(q.shape[2]), weights, strict=True):
            rows = _rows(q[:, :, begin:end], k.shape[1])
            grad_out = _rows(grad[:, :, begin:end], k.shape[1])
            grad_values[:, :, :end] += torch.bmm(grad_out.mT, weight)
            grad_weight = torch.bmm(grad_out, values[:, :end].mT)
            grad_scores = torch.ops.aten._softmax_backward_data(
                grad_weight, weight, -1, weight.dtype
            )
            grad_keys[:, :, :end] += torch.bmm((rows * scale).mT, grad_scores)
            grad_query = torch.bmm(grad_scores, keys[:, :end])
            grad_rows.append(_unrows(grad_query, q.shape[:2], end - begin))
        return (
            torch.cat(grad_rows, 2).mul_(scale),
            grad_keys.mT.reshape(k.shape),
            grad_values.mT.reshape(v.shape),
        )


def _blocks(steps: int) -> list[tuple[int, int]]:
    """First step of each block, and the first after it."""
    return [(begin, min(begin + _ROWS, steps)) for begin in range(0, steps, _ROWS)]


def _rows(x: Tensor, key_heads: int) -> Tensor:
    """(B, heads, rows, d) to (B * key heads, heads per key * rows, d)."""
    return x.unflatten(1, (key_heads, -1)).flatten(0, 1).flatten(1, 2)


def _unrows(x: Tensor, shape: torch.Size, rows: int) -> Tensor:
    """The way back, to (B, heads, rows, d)."""
    return x.view(*shape, rows, -1)
