"""Large batches in parts, so that memory does not grow with their size."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

__all__ = ["chunks"]


def chunks(x: Tensor, y: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Views of at most ``size`` rows of ``x`` (B, ...), each with its labels out of ``y`` (B,), or
    with None.
    """
    for begin in range(0, len(x), size):
        part = slice(begin, begin + size)
        yield x[part], None if y is None else y[part]
