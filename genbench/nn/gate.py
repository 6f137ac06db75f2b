"""The gated activation of WaveNet and the gated PixelCNN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["gate"]


def gate(x: Tensor, dim: int) -> Tensor:
    r""":math:`\tanh(a) \odot \sigma(b)` of the halves a, b of ``x`` along ``dim``.

    van den Oord et al., "Conditional Image Generation with PixelCNN Decoders", 2016, equation 2.

    Arguments:
        x: (..., 2C, ...).
        dim: the axis of the 2C channels.

    Returns:
        (..., C, ...)
    """
    result: Tensor = _Gate.apply(x, dim)
    return result


class _Gate(torch.autograd.Function):
    """Keeps its input alone, and works its gradient out in place: half the memory traffic of the graph that autograd would keep."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.dim = dim
        a, b = x.chunk(2, dim)
        return torch.tanh(a).mul_(torch.sigmoid(b))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        grad = torch.empty_like(x)
        (a, b), (grad_a, grad_b) = x.chunk(2, ctx.dim), grad.chunk(2, ctx.dim)
        tanh, sigmoid, out = torch.tanh(a), torch.sigmoid(b), grad_outputs[0]
        # d tanh = 1 - tanh^2, d sigma = sigma (1 - sigma)
        torch.mul(tanh, tanh, out=grad_a).neg_().add_(1).mul_(sigmoid).mul_(out)
        torch.neg(sigmoid, out=grad_b).add_(1).mul_(sigmoid).mul_(tanh).mul_(out)
        return grad, None
