"""What the images of a data set are: their size, their levels, their classes; and levels as numbers
that networks read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["DataSpec"]


@dataclass(frozen=True, slots=True)
class DataSpec:
    """The images of a data set: ``uint8 (B, 1, height, width)`` with values ``0..levels-1``;
    ``classes = 0`` means no labels.
    """

    height: int
    width: int
    levels: int
    classes: int = 0

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(
                f"height and width must be at least 1, got {self.height} and {self.width}"
            )
        if not 2 <= self.levels <= 256:
            raise ValueError(f"levels must be 2..256, got {self.levels}")
        if self.classes < 0:
            raise ValueError(f"classes must be 0 (no labels) or more, got {self.classes}")

    @property
    def dims(self) -> int:
        """Number of pixels D."""
        return self.height * self.width

    def unit(self, x: Tensor) -> Tensor:
        """Levels ``0..levels-1`` as float32 in [0, 1], same shape."""
        return x.float() / (self.levels - 1)

    def signed(self, x: Tensor) -> Tensor:
        """Levels as float32 in [-1, 1], same shape: a convolution's zero padding then tells the
        border from the background.
        """
        return 2 * self.unit(x) - 1

    def from_signed(self, v: Tensor) -> Tensor:
        """The nearest levels, uint8, of values where [-1, 1] spans the levels; same shape."""
        top = self.levels - 1
        return ((v + 1) / 2 * top).round().clamp(0, top).to(torch.uint8)
