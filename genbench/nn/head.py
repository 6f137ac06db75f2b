"""What a pixel head is: a family of distributions of one pixel, whose parameters a network outputs.

A head knows how many numbers per pixel it needs (``channels``, K), scores levels under them and
draws levels from them. Shapes: ``...`` is any number of leading axes, K the last axis of the
parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor, nn

__all__ = ["Head", "at_least_float32", "init_output"]

_OUTPUT_SCALE = 0.1
"""Of the last layer's weights over torch's default: small against the spread of any head's initial
bias, so that the first loss is that of the bias, yet not zero, so that gradients flow back.
"""


class Head(ABC):
    """A family of distributions of one pixel on the levels ``0..levels-1``.

    Attributes:
        levels: number of levels of a pixel.
        channels: K, the number of parameters per pixel that a network outputs.
    """

    def __init__(self, levels: int, channels: int) -> None:
        self.levels = levels
        self.channels = channels

    @abstractmethod
    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log probability in nats ``(...)`` of integer levels ``x (...)`` under
        ``parameters (..., K)``.

        float64 parameters give float64, all others float32.
        """

    @abstractmethod
    def sample(self, parameters: Tensor, *, rng: Generator) -> Tensor:
        """Levels uint8 ``(...)`` drawn under ``parameters (..., K)``."""

    @abstractmethod
    def mean_of(self, parameters: Tensor) -> Tensor:
        """Parameters ``(..., K')`` of the equal-weight mixture of the M distributions
        ``parameters (M, ..., K)``.
        """

    def initial_bias(self) -> Tensor:
        """A good start (K,) for the bias of the layer that outputs the parameters; zeros unless a
        head knows better.
        """
        return torch.zeros(self.channels)

    def _check(self, parameters: Tensor) -> None:
        if parameters.shape[-1] != self.channels:
            raise ValueError(
                f"parameters: last axis must be {self.channels} for {type(self).__name__}, got "
                f"shape {tuple(parameters.shape)}"
            )


def at_least_float32(parameters: Tensor) -> Tensor:
    """float32 of narrower parameters, as mixed precision gives them; float64 stays."""
    exact = parameters.dtype in (torch.float32, torch.float64)
    return parameters if exact else parameters.float()


@torch.no_grad()
def init_output(layer: nn.Linear | nn.Conv2d, head: Head) -> None:
    """Start the last layer of a network, which outputs a head's parameters of one pixel, close to
    the head's initial bias.
    """
    assert layer.bias is not None
    layer.weight.mul_(_OUTPUT_SCALE)
    layer.bias.copy_(head.initial_bias())
