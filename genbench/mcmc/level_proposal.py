"""Proposals of Metropolis steps on a grid of levels that follow a gradient."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

__all__ = ["LevelProposal"]


class LevelProposal:
    r"""Each pixel i is drawn by itself, from a log-density of which one part, g, is known for each
    level, and the other by its gradient s alone.

    .. math:: q(x' \mid x) \propto \prod_i \exp\left(g_i(x'_i) + s_i\, (x'_i - x_i)\right)

    which is a Gibbs step of a density that is linear in its other part, always accepted there.
    Where gradients hold nearby only, a discrete Langevin proposal of step size alpha,

    .. math::
        q(x' \mid x) \propto \prod_i \exp\left(g_i(x'_i)
        + \tfrac12 s_i\, (x'_i - x_i) - \frac{(x'_i - x_i)^2}{2 \alpha}\right)

    with half the gradient, as in a Langevin step.

    References:
        Zhang, Liu, Liu, "A Langevin-like Sampler for Discrete Distributions", 2022,
            https://arxiv.org/abs/2206.09914, eq. 3 (of step size alpha).

    Arguments:
        x: levels int64 (n, D) to go from.
        log_known: g, (n, D, L).
        gradient: s, (n, D).
        values: of the levels, (L,).
        reach: alpha, or 0 for no bound.
    """

    def __init__(
        self, x: Tensor, log_known: Tensor, gradient: Tensor, values: Tensor, reach: float
    ) -> None:
        change = values - values[x][..., None]  # (n, D, L)
        tilt = gradient[..., None] * change
        if reach:
            tilt = 0.5 * tilt - change.square() / (2 * reach)
        self.log_p = (log_known + tilt).log_softmax(-1)  # (n, D, L)

    def draw(self, rng: Generator) -> Tensor:
        """Levels int64 (n, D), by the Gumbel trick's exponential form."""
        exponential = torch.empty_like(self.log_p).exponential_(generator=rng)
        return (self.log_p - exponential.log()).argmax(-1)

    def log_mass(self, x: Tensor) -> Tensor:
        """Log-probability float64 (n,) of levels (n, D)."""
        return self.log_p.gather(2, x[..., None]).flatten(1).sum(1, dtype=torch.float64)
