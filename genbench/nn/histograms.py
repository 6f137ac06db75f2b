"""Histograms of each pixel's levels: the distribution of independent pixels."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

__all__ = ["draw_pixels", "log_histograms"]

_PART = 10_000
"""Images counted at once: their places in the table, int64, take 63 MB at 28 x 28."""


def log_histograms(x: Tensor, levels: int) -> Tensor:
    """Logarithms, float64 (D, levels), of the shares of each pixel's levels in images uint8 (N, 1,
    H, W), counted from one of each.
    """
    counts = torch.ones(x[0].numel(), levels, dtype=torch.float64, device=x.device)
    offsets = torch.arange(len(counts), device=x.device) * levels
    for part in x.flatten(1).split(_PART):
        counts += torch.bincount(
            (part.long() + offsets).flatten(), minlength=counts.numel()
        ).view_as(counts)
    return counts.log() - counts.sum(1, keepdim=True).log()


def draw_pixels(log_probs: Tensor, n: int, *, rng: Generator) -> Tensor:
    """Levels int64 (n, D), each drawn from its pixel's histogram, from log-probabilities (D,
    levels).
    """
    if n == 0:  # of which the library wants none
        return torch.empty(0, len(log_probs), dtype=torch.int64, device=log_probs.device)
    return torch.multinomial(log_probs.exp(), n, replacement=True, generator=rng).T
