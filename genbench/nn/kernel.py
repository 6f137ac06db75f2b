"""Sizes of convolution kernels."""

from __future__ import annotations

from genbench.errors import UserError

__all__ = ["check_kernel"]


def check_kernel(kernel: int, *, smallest: int = 1) -> None:
    """Raise UserError unless ``kernel`` is the size of a kernel that has a centre."""
    if kernel < smallest or kernel % 2 == 0:
        raise UserError(f"kernel: must be odd and at least {smallest}, got {kernel}")
