"""Normalisation that depends on a label."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ConditionalBatchNorm2d"]


class ConditionalBatchNorm2d(nn.Module):
    r"""Batch normalisation whose gain and shift are those of the label:
    :math:`\gamma_y \hat{x} + \beta_y`.

    In the code :math:`\gamma_y` and :math:`\beta_y` are the halves of a row of ``labels``, ones and
    zeros at first; :math:`\hat{x}` comes from ``norm``.

    Dumoulin, Shlens, Kudlur, "A Learned Representation for Artistic Style", 2017,
    https://arxiv.org/abs/1610.07629.

    Arguments:
        channels: of the features.
        classes: number of labels; 0 for one gain and shift for all.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=classes == 0)
        self.labels = nn.Embedding(classes, 2 * channels) if classes else None
        if self.labels is not None:
            nn.init.ones_(self.labels.weight[:, :channels])
            nn.init.zeros_(self.labels.weight[:, channels:])

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, C, H, W) and labels (B,) to the same shape."""
        x = self.norm(x)
        if self.labels is None:
            return x
        # in the features' type: in float32 the product would be float32 too
        affine = self.labels(y).to(x.dtype)[:, :, None, None]  # (B, 2C, 1, 1)
        gain, shift = affine.chunk(2, 1)
        return torch.addcmul(shift, gain, x)
