"""The square root with the same bits on all x86-64 processors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["square_root"]


def square_root(x: Tensor) -> Tensor:
    """The square root of finite values of at least 0, to within two units of the last place.

    ``torch.sqrt`` calls MKL, which starts from an approximation that each maker of processors
    rounds in its own way; the reciprocal root is PyTorch's own kernel, by instructions that are
    exactly specified (``compute.isa``, docs/pipeline.md).
    """
    return x * x.clamp(min=torch.finfo(x.dtype).tiny).rsqrt()
