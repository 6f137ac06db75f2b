"""Convolutional pieces that several models share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from genbench.base import DataSpec
from genbench.errors import UserError

__all__ = ["check_stages", "conv3x3", "pointwise"]


def conv3x3(inputs: int, outputs: int, *, bias: bool = True) -> nn.Conv2d:
    """A 3 x 3 convolution that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def pointwise(conv: nn.Conv2d, h: Tensor) -> Tensor:
    """A 1 x 1 convolution at one place: (n, in) to (n, out)."""
    return F.linear(h, conv.weight[:, :, 0, 0], conv.bias)


def check_stages(spec: DataSpec, widths: Sequence[int]) -> None:
    """Raise UserError unless ``widths`` is one positive channel count per halving, and the image
    can be halved that often.
    """
    if not widths or min(widths) < 1:
        raise UserError(
            "widths: must be at least one positive channel count, one per halving of the image, "
            f"got {list(widths)}"
        )
    step = 2 ** len(widths)
    if spec.height % step or spec.width % step:
        legal = next(
            n
            for n in range(len(widths), -1, -1)
            if spec.height % 2**n == 0 and spec.width % 2**n == 0
        )
        raise UserError(
            f"widths: {len(widths)} stages need height and width divisible by {step}, got "
            f"{spec.height} x {spec.width}; at most {legal} stages are possible"
        )
