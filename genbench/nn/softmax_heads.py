"""Pixel heads with a logit per level: Bernoulli for two levels, categorical for any number."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from genbench.errors import UserError
from genbench.nn.head import Head, at_least_float32

__all__ = ["Bernoulli", "Categorical"]


class Bernoulli(Head):
    """Two levels; the one parameter is the logit of level 1.

    Example:
        >>> Bernoulli().log_prob(torch.zeros(1), torch.tensor(1)).exp()
        tensor(0.5000)
    """

    def __init__(self, levels: int = 2) -> None:
        if levels != 2:
            raise UserError(
                f"head: bernoulli is for 2 levels only, got levels = {levels}; use categorical or "
                "logistic_mixture"
            )
        super().__init__(2, 1)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-sigmoid of the logit or of its negative."""
        self._check(parameters)
        logit = at_least_float32(parameters)[..., 0]
        return F.logsigmoid(torch.where(x.bool(), logit, -logit))

    def sample(self, parameters: Tensor, *, rng: Generator) -> Tensor:
        """One biased coin per pixel."""
        self._check(parameters)
        probability = at_least_float32(parameters)[..., 0].sigmoid()
        return torch.bernoulli(probability, generator=rng).to(torch.uint8)

    def mean_of(self, parameters: Tensor) -> Tensor:
        """The logit of the mean probability, from logarithms."""
        self._check(parameters)
        return F.logsigmoid(parameters).logsumexp(0) - F.logsigmoid(-parameters).logsumexp(0)


class Categorical(Head):
    """One logit per level.

    Example:
        >>> Categorical(4).log_prob(torch.zeros(4), torch.tensor(3)).exp()
        tensor(0.2500)
    """

    def __init__(self, levels: int) -> None:
        super().__init__(levels, levels)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-softmax of the logits, at the level."""
        self._check(parameters)
        logits_NK = at_least_float32(parameters).reshape(-1, self.levels)
        log_prob_N = -F.cross_entropy(logits_NK, x.reshape(-1).long(), reduction="none")
        return log_prob_N.view(x.shape)

    def sample(self, parameters: Tensor, *, rng: Generator) -> Tensor:
        """One draw by the softmax per pixel."""
        self._check(parameters)
        probability_NK = at_least_float32(parameters).softmax(-1).view(-1, self.levels)
        level_N1 = torch.multinomial(probability_NK, 1, generator=rng)
        return level_N1.to(torch.uint8).view(parameters.shape[:-1])

    def mean_of(self, parameters: Tensor) -> Tensor:
        """The logarithm of the mean of the softmaxes."""
        self._check(parameters)
        return parameters.log_softmax(-1).logsumexp(0) - math.log(parameters.shape[0])
