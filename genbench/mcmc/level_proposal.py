"""Proposals of Metropolis steps on a grid of levels that follow a gradient."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

__all__ = ["LevelProposal"]


class LevelProposal:
    r"""Each pixel i is drawn by itself, from what is known of the density: that part which is known
    for each level, and the slope of the rest.

    .. math:: q(x' \mid x) \propto \prod_i \exp\left(g_i(x'_i) + s_i\, (x'_i - x_i)\right)

    which is a Gibbs step of a density that is linear in its unknown part, always accepted there.
    Where slopes hold nearby only, steps of bounded reach,

    .. math:: q(x' \mid x) \propto \prod_i \exp\left(g_i(x'_i) + \tfrac12 s_i\, (x'_i - x_i) - \frac{(x'_i - x_i)^2}{2 \alpha}\right)

    of which half the slope balances the way back.

    References:
        A Langevin-like Sampler for Discrete Distributions, Zhang, Liu, Liu, 2022,
        https://arxiv.org/abs/2206.09914, eq. 3 (of bounded reach)

    Arguments:
        x: levels int64 (n, D) to go from.
        gain: g, that part of the log-density which is known for each level, (n, D, L).
        slope: s, of the part that is known by its gradient alone, (n, D).
        values: of the levels, (L,).
        reach: alpha, or 0 for no bound.
    """

    def __init__(
        self, x: Tensor, gain: Tensor, slope: Tensor, values: Tensor, reach: float
    ) -> None:
        change = values - values[x][..., None]
        tilt = slope[..., None] * change
        self.log_p = (
            gain + (0.5 * tilt - change.square() / (2 * reach) if reach else tilt)
        ).log_softmax(-1)

    def draw(self, rng: Generator) -> Tensor:
        """Levels int64 (n, D), by the Gumbel trick's exponential form."""
        exponential = torch.empty_like(self.log_p).exponential_(generator=rng)
        return (self.log_p - exponential.log()).argmax(-1)

    def log_mass(self, x: Tensor) -> Tensor:
        """Log-probability float64 (n,) of levels (n, D)."""
        return self.log_p.gather(2, x[..., None]).flatten(1).sum(1, dtype=torch.float64)
