"""Normal distributions: divergences, and masses of the bins of pixel levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["discretised_normal", "normal_kl"]


def normal_kl(mean: Tensor, log_var: Tensor, other_mean: Tensor, other_log_var: Tensor) -> Tensor:
    r"""KL(N(mean, exp(log_var)) || N(other_mean, exp(other_log_var))) in nats, elementwise.

    .. math:: \frac12 \left( \frac{\sigma^2}{\sigma'^2} - 1 - \log \frac{\sigma^2}{\sigma'^2}
        + \frac{(\mu - \mu')^2}{\sigma'^2} \right)
    """
    log_ratio = log_var - other_log_var
    spread = log_ratio.exp() - 1 - log_ratio
    shift = (mean - other_mean).square() * (-other_log_var).exp()
    return 0.5 * (spread + shift)


def discretised_normal(levels: Tensor, mean: Tensor, log_std: Tensor, count: int) -> Tensor:
    """Log of the mass that N(mean, std^2) gives each pixel's bin, the outer bins open, in nats,
    elementwise float64.

    Arguments:
        levels: integer levels 0..count-1.
        mean: in units where level l lies at 2 l / (count - 1) - 1.
        log_std: in these units.
        count: number of levels.
    """
    centre = 2.0 * levels.double() / (count - 1) - 1
    half = 1.0 / (count - 1)  # of the width of a bin
    std = log_std.double().exp()
    upper = ((centre + half - mean.double()) / std).masked_fill(levels == count - 1, math.inf)
    lower = ((centre - half - mean.double()) / std).masked_fill(levels == 0, -math.inf)
    # In the tail where the mass lies: differences of values near 1 would lose it.
    flip = lower > 0
    lower, upper = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
    log_upper, log_lower = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
    # The bound keeps the mass of a bin that is too thin for float64 above 0: the two logs, of some
    # hundred nats at most, are exact to about 1e-14 times that.
    return log_upper + torch.log1p(-(log_lower - log_upper).clamp(max=-1e-12).exp())
