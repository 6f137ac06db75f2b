"""How labels enter networks."""

from __future__ import annotations

from torch import nn

__all__ = ["label_shifts"]


def label_shifts(classes: int, width: int) -> nn.Embedding:
    """A table of one vector (width,) per label, to be added to features.

    It starts at zero, so that training begins with the model without labels; torch's default, N(0,
    1), would begin with large random differences between classes, which have to be unlearned first.
    """
    table = nn.Embedding(classes, width)
    nn.init.zeros_(table.weight)
    return table
