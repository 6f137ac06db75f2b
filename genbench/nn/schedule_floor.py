r"""What a diffusion's schedule costs by itself: the variational bound of a pixel with the best
denoiser possible, above the pixel's entropy.

The best denoiser is the conditional mean of the image, so what is left is lost to the steps, their
variances and the discretised decoder, whatever the network. With the names of
:mod:`genbench.nn.gaussian_diffusion` the terms of a pixel are, for t = 2 to T,

.. math::
    \mathbb{E} L_{t-1} = \tfrac12 \Big( \tfrac{\tilde\beta_t}{\sigma_t^2} - 1
    - \log \tfrac{\tilde\beta_t}{\sigma_t^2} \Big) + \tfrac{w_t^2}{2 \sigma_t^2}\,
    \mathbb{E} (x_0 - \mathbb{E}[x_0 | x_t])^2, \qquad
    w_t = \tfrac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t}

with the posterior's variance and that of the reverse step, and the mean squared error of the
estimate, which depends on the signal-to-noise ratio alone (Ho, Jain, Abbeel, 2020,
https://arxiv.org/abs/2006.11239, eq. 5 to 8). Integrals over the noise are sums over a fine grid.

No model imports this file, so that an edit trains nothing again.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from genbench.nn.gaussian import discretised_normal, normal_kl
from genbench.nn.gaussian_diffusion import posterior_log_var, reverse_log_var
from genbench.nn.noise_schedule import Schedule
from genbench.nn.roots import square_root

__all__ = ["BLACK_SHARE", "GREY", "LEVELS", "bound_floor", "excess_nats"]

LEVELS = 256
"""Of the pixels of the images that the floor is of."""
BLACK_SHARE = 0.8
"""Of the pixels of a digit, whose level is known for sure: they should cost nothing."""
GREY = range(108, 148)
"""Levels that any other pixel may have, equally likely."""

_EPS = torch.linspace(-7.0, 7.0, 141, dtype=torch.float64)
_RATIOS = 97  # at which the error of the estimate is computed; between them it is interpolated


def bound_floor(schedule: Schedule, variance: str) -> float | None:
    """Bits per dimension that the bound of a digit costs above the digit's entropy with the best
    denoiser possible, of grey levels; None where the network chooses the variance of its steps, and
    so the cost.

    Arguments:
        schedule: of the noise.
        variance: of the reverse steps, ``beta``, ``posterior`` or ``learned``.
    """
    if variance == "learned":
        return None
    black, grey = (excess_nats(schedule, variance, levels) for levels in (range(1), GREY))
    return (BLACK_SHARE * black + (1 - BLACK_SHARE) * grey) / math.log(2)


def excess_nats(schedule: Schedule, variance: str, levels: range) -> float:
    """Nats that the bound of a pixel costs above its entropy with the best denoiser possible.

    Arguments:
        schedule: of the noise.
        variance: of the reverse steps, ``beta`` or ``posterior``.
        levels: that the pixel may have, equally likely, of 256.
    """
    level, x_0 = torch.tensor(levels), _values(levels)  # (M,)
    t = torch.arange(1, len(schedule.beta))
    alpha_bar, left = schedule.alpha_bar, schedule.one_minus_alpha_bar
    ratio = square_root(alpha_bar[1:] / left[1:])  # (T,), of signal and noise
    weight = square_root(alpha_bar[:-1]) * schedule.beta[1:] / left[1:]
    shift = weight * square_root(_squared_error(ratio, levels))
    true_log_var = posterior_log_var(schedule, t).flatten()
    log_var = reverse_log_var(schedule, t, variance).flatten()
    zero = torch.zeros((), dtype=torch.float64)
    steps = normal_kl(zero, true_log_var, shift, log_var)[1:].sum()
    # At step 1 the mean is the estimate itself.
    log_p = discretised_normal(level[:, None], _estimate(ratio[0], x_0), 0.5 * log_var[0], LEVELS)
    last = -(log_p @ _probabilities()).mean()
    first = normal_kl(square_root(alpha_bar[-1]) * x_0, left[-1].log(), zero, zero).mean()
    return float(first + steps + last) - math.log(len(levels))


def _values(levels: range) -> Tensor:
    """Levels as float64 (M,) in [-1, 1]."""
    return 2 * torch.tensor(levels).double() / (LEVELS - 1) - 1


def _probabilities() -> Tensor:
    """Of the values of noise on the grid (E,)."""
    return (-0.5 * _EPS.square()).softmax(0)


def _estimate(ratio: Tensor, x_0: Tensor) -> Tensor:
    """E[x_0 | x_t] (M, E), by Bayes' rule, for each value x_0 (M,) of a pixel and of the noise.

    Arguments:
        ratio: of signal and noise, a scalar.
        x_0: values of the pixel, equally likely.
    """
    seen = ratio * x_0[:, None] + _EPS  # (M, E)
    odds = (-0.5 * (seen[..., None] - ratio * x_0).square()).softmax(-1)  # (M, E, M)
    return odds @ x_0


def _squared_error(ratio: Tensor, levels: range) -> Tensor:
    """Mean squared error (T,) of :func:`_estimate` at ratios (T,), of a pixel with these levels."""
    if len(levels) == 1:
        return torch.zeros_like(ratio)
    at = ratio.log().numpy()
    curve = _curve(float(at.min()), float(at.max()), levels)
    return torch.from_numpy(curve(at)).clamp(min=0) / ratio.square()


@functools.cache
def _curve(low: float, high: float, levels: range) -> CubicSpline:
    """That error over the logarithm of the ratio, in units of the noise, in which it counts: by
    itself it falls by many powers of ten.
    """
    x_0, grid = _values(levels), np.linspace(low, high, _RATIOS)
    errors = [
        float((one * (_estimate(one, x_0) - x_0[:, None])).square().matmul(_probabilities()).mean())
        for one in torch.from_numpy(grid).exp()
    ]
    return CubicSpline(grid, errors)
