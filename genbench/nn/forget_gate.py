"""How an LSTM's forget gates start."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["open_forget_gate"]


@torch.no_grad()
def open_forget_gate(bias: Tensor) -> None:
    """Add 1 to the bias of the second of four gates (4h,), so that it starts open.

    Jozefowicz, Zaremba, Sutskever, "An Empirical Exploration of Recurrent Network Architectures",
    2015: without it an LSTM starts by forgetting half of its state at each step.
    """
    _, forget, _, _ = bias.chunk(4)
    forget += 1
