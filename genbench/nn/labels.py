"""How labels enter networks."""

from __future__ import annotations

import math

from torch import Tensor, nn

__all__ = ["LabelMaps", "label_shifts"]


def label_shifts(classes: int, width: int) -> nn.Embedding:
    """A table of one vector (width,) per label, to be added to features.

    It starts at zero, so that training begins with the model without labels; torch's default, N(0,
    1), would begin with large random differences between classes, which have to be unlearned first.
    """
    table = nn.Embedding(classes, width)
    nn.init.zeros_(table.weight)
    return table


class LabelMaps(nn.Module):
    """A learned array for each label, to be added to features: unlike a vector of
    :func:`label_shifts` it has a value of its own at each place, so that where a digit has its
    strokes is learned at once. Zero at first.

    Arguments:
        classes: number of labels.
        shape: of the array of one label.
    """

    def __init__(self, classes: int, *shape: int) -> None:
        super().__init__()
        self.shape = shape
        self.table = label_shifts(classes, math.prod(shape))

    def forward(self, y: Tensor) -> Tensor:
        """Labels (B,) to arrays (B, *shape)."""
        found: Tensor = self.table(y).view(-1, *self.shape)
        return found
