"""Batch-norm statistics for weights that were averaged after the fact."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

__all__ = ["estimate_statistics"]


@torch.no_grad()
def estimate_statistics(model: nn.Module, passes: Sequence[Callable[[], object]]) -> None:
    """Replace the running statistics of all batch norms by their cumulative averages over
    ``passes``, run in train mode.

    Averaged weights have other activations than the weights that left the running statistics behind
    (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018,
    section 3.2).
    """
    norms = [m for m in model.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: a cumulative average
    model.train()
    for run in passes:
        run()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
