"""The gated activation of WaveNet and the gated PixelCNN."""

from __future__ import annotations

from torch import Tensor

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
    a, b = x.chunk(2, dim)
    return a.tanh() * b.sigmoid()
