"""Schedules of noise: how much of an image is left after each of T steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genbench.errors import UserError

__all__ = ["Schedule", "linear_schedule", "log_snr_schedule"]

LEFT = 0.1
"""Share of an image's variance that may be left at step T, since samplers start from noise alone:
0.00004 in Ho et al., 2020.
"""


@dataclass(frozen=True, slots=True)
class Schedule:
    r"""Of a process
    :math:`q(x_t \mid x_{t-1}) = \mathcal{N}(\sqrt{1 - \beta_t}\, x_{t-1}, \beta_t I)`; all (T + 1,)
    float64, index 0 is the image itself.

    Attributes:
        beta: variance of a step; 0 at index 0.
        alpha_bar: share of the image's variance left, the product of 1 - beta.
        noise: 1 - alpha_bar, not rounded where alpha_bar is near 1.
        posterior_var: variance of q(x_{t-1} | x_t, x_0); 0 at indices 0 and 1.
    """

    beta: Tensor
    alpha_bar: Tensor
    noise: Tensor
    posterior_var: Tensor


def linear_schedule(steps: int, first: float, last: float) -> Schedule:
    """Variances that rise linearly from ``first`` to ``last`` (Ho, Jain, Abbeel, 2020, section
    4).
    """
    check_steps(steps)
    if not 0 < first <= last < 1:
        raise UserError(
            f"first, last: must be variances with 0 < first <= last < 1, got {first} and {last}"
        )
    beta = torch.linspace(first, last, steps, dtype=torch.float64)
    return _schedule((-beta).log1p().cumsum(0))


def log_snr_schedule(steps: int, first: float, last: float) -> Schedule:
    """Log signal-to-noise ratios that fall linearly from ``first`` to ``last`` (Kingma, Salimans,
    Poole, Ho, 2021, appendix F).
    """
    check_steps(steps)
    if not first > last:
        raise UserError(
            f"first, last: log signal-to-noise ratios must fall, got {first} and {last}"
        )
    return _schedule(
        torch.nn.functional.logsigmoid(torch.linspace(first, last, steps, dtype=torch.float64))
    )


def check_steps(steps: int) -> None:
    """UserError unless there are at least two."""
    if steps < 2:
        raise UserError(f"steps: must be at least 2, got {steps}")


def _schedule(log_alpha_bar: Tensor) -> Schedule:
    """From log alpha_bar of steps 1..T."""
    left = float(log_alpha_bar[-1].exp())
    if left > LEFT:
        raise UserError(
            f"steps, first, last: with these {len(log_alpha_bar)} steps {left:.2g} of an image's "
            "variance is left at the last one, where samplers "
            f"start from noise alone; at most {LEFT} may be: take more steps, or another last"
        )
    log_alpha_bar = torch.cat([torch.zeros(1, dtype=torch.float64), log_alpha_bar])
    noise = -log_alpha_bar.expm1()
    beta = torch.cat([torch.zeros(1, dtype=torch.float64), -log_alpha_bar.diff().expm1()])
    posterior = torch.cat([torch.zeros(1, dtype=torch.float64), beta[1:] * noise[:-1] / noise[1:]])
    return Schedule(beta, log_alpha_bar.exp(), noise, posterior)
