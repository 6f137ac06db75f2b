"""Schedules of noise: how much of an image is left after each of T steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from genbench.errors import UserError

__all__ = ["Schedule", "linear_schedule", "log_snr_schedule", "schedule_of"]

MOST_LEFT = 0.1
"""Share of an image's variance that may be left at step T, since samplers start from noise alone.

It is 0.00004 in Ho et al., 2020; with a tenth, samples start visibly off the process's marginal.
"""


@dataclass(frozen=True, slots=True)
class Schedule:
    r"""Of a process
    :math:`q(x_t \mid x_{t-1}) = \mathcal{N}(\sqrt{1 - \beta_t}\, x_{t-1}, \beta_t I)`; all (T + 1,)
    float64, index 0 is the image itself.

    Attributes:
        beta: variance of a step; 0 at index 0.
        alpha_bar: share of the image's variance left, the product of 1 - beta.
        one_minus_alpha_bar: the noise's variance, not rounded where alpha_bar is near 1.
        posterior_var: variance of q(x_{t-1} | x_t, x_0); 0 at indices 0 and 1.
    """

    beta: Tensor
    alpha_bar: Tensor
    one_minus_alpha_bar: Tensor
    posterior_var: Tensor


def linear_schedule(timesteps: int, beta_start: float, beta_end: float) -> Schedule:
    """Variances that rise linearly from ``beta_start`` to ``beta_end`` (Ho, Jain, Abbeel, 2020,
    section 4).

    Raises:
        UserError: fewer than two steps, values that are no rising variances, or too much of an
            image left at the last step.
    """
    _check_timesteps(timesteps)
    if not 0 < beta_start <= beta_end < 1:
        raise UserError(
            "beta_start, beta_end: must be variances with 0 < beta_start <= beta_end < 1, got "
            f"{beta_start} and {beta_end}"
        )
    beta = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
    return schedule_of((-beta).log1p().cumsum(0), last="beta_end")


def log_snr_schedule(timesteps: int, log_snr_max: float, log_snr_min: float) -> Schedule:
    """Logarithms of the signal-to-noise ratio alpha_bar / (1 - alpha_bar) that fall linearly from
    ``log_snr_max`` to ``log_snr_min`` (Kingma, Salimans, Poole, Ho, 2021, appendix F).

    Raises:
        UserError: fewer than two steps, ratios that do not fall, or too much of an image left at
            the last step.
    """
    _check_timesteps(timesteps)
    if not log_snr_max > log_snr_min:
        raise UserError(
            "log_snr_max, log_snr_min: log signal-to-noise ratios must fall, got "
            f"{log_snr_max} and {log_snr_min}"
        )
    log_snr = torch.linspace(log_snr_max, log_snr_min, timesteps, dtype=torch.float64)
    return schedule_of(F.logsigmoid(log_snr), last="log_snr_min")


def schedule_of(log_alpha_bar: Tensor, *, last: str) -> Schedule:
    """The schedule whose alpha_bar has these logarithms, float64 (T,), at steps 1..T.

    Arguments:
        log_alpha_bar: falling, below 0.
        last: name of the option that says where it ends, for the error.

    Raises:
        UserError: more than a share of ``MOST_LEFT`` of an image's variance is left at step T.
    """
    timesteps, left = len(log_alpha_bar), float(log_alpha_bar[-1].exp())
    if left > MOST_LEFT:
        raise UserError(
            f"timesteps, {last}: with these {timesteps} timesteps {left:.2g} of an image's "
            "variance is left at the last one, where samplers start from noise alone; at most "
            f"{MOST_LEFT} may be: take more timesteps, or another {last}"
        )
    zero = torch.zeros(1, dtype=torch.float64)
    log_alpha_bar = torch.cat([zero, log_alpha_bar])
    one_minus_alpha_bar = -log_alpha_bar.expm1()
    beta = torch.cat([zero, -log_alpha_bar.diff().expm1()])
    posterior_var = beta[1:] * one_minus_alpha_bar[:-1] / one_minus_alpha_bar[1:]
    return Schedule(
        beta, log_alpha_bar.exp(), one_minus_alpha_bar, torch.cat([zero, posterior_var])
    )


def _check_timesteps(timesteps: int) -> None:
    """UserError unless there are at least two: a first one with a posterior, and a last."""
    if timesteps < 2:
        raise UserError(f"timesteps: must be at least 2, got {timesteps}")
