"""What a noisy pixel says of its level, together with what a network believes of it.

Pixels of images are one of so many levels, most of them black or white. A network that estimates
the image by itself has to learn to round, to a thousandth of a level where there is little noise.
Here it says of each pixel only how probable black, white and the levels between are; how far the
noisy value speaks for each is known, and so is the mean of the posterior.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["beliefs", "posterior_mean"]

_FINE = 0.8
"""Deviation in levels from which on the mean over levels is that over the line, to 1e-5 of a
level (Poisson summation: the difference falls as exp(-2 pi^2 deviation^2)).
"""
_BESIDE = 3  # levels to either side that have a share in a mean, at deviations up to _FINE
_ENDS = 2  # black and white


def beliefs(mixtures: int) -> int:
    """Channels that the network has for each pixel: logits of black, white and the Gaussians, and
    mean and log-deviation of each Gaussian.
    """
    return _ENDS + 3 * mixtures


def posterior_mean(z: Tensor, noise: Tensor, params: Tensor, *, levels: int) -> Tensor:
    r"""E[x | z] of pixels x on the grid of levels in [-1, 1], for z = x + noise \* N(0, 1), float32
    (B, 1, H, W).

    .. math::
        P(x) = w_b\, [x = -1] + w_w\, [x = 1] + \sum_k w_k\, \mathcal{N}(x; m_k, s_k^2)

    By Bayes' rule each part keeps its form: its weight is multiplied by its density at z, and a
    Gaussian becomes the one of precision :math:`1/s_k^2 + 1/\text{noise}^2`, whose mean is taken
    over the levels near it.

    Arguments:
        z: noisy pixels (B, 1, H, W), in units of the signal.
        noise: standard deviation of the noise in the same units, (B, 1, 1, 1).
        params: what the network says, (B, C, H, W) of C = ``beliefs(mixtures)``, all finite; zeros
            stand for equal weights, means that are spread over [-1, 1], and wide deviations.
        levels: number of levels, from -1 to 1.
    """
    step = 2 / (levels - 1)
    logits, mean, variance = _parts(params, step)
    ends = z.new_tensor([-1.0, 1.0])[:, None, None]
    at_ends = -0.5 * ((z - ends) / noise).square() - noise.log()
    total = variance + noise.square()
    between = -0.5 * (z - mean).square() / total - 0.5 * total.log()
    weights = (logits + torch.cat([at_ends, between], 1)).softmax(1)
    centre = (mean * noise.square() + z * variance) / total
    inner = _over_levels(centre, variance.sqrt() * noise / total.sqrt(), step)
    whole = torch.cat([ends.expand_as(at_ends), inner], 1)
    return (weights * whole).sum(1, keepdim=True)


def _parts(params: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of black, white and the Gaussians, and means and variances of these."""
    mixtures = (params.shape[1] - _ENDS) // 3
    logits, means, widths = params.split([_ENDS + mixtures, mixtures, mixtures], 1)
    spread = torch.linspace(-1, 1, mixtures + 2, device=params.device)[1:-1, None, None]
    # Zero is the deviation of so many Gaussians side by side; no narrower than half a level.
    wide = 2 / (mixtures + 1)
    deviation = (math.log(wide) + widths).clamp(math.log(step / 2), math.log(4 * wide)).exp()
    return logits, spread + means, deviation.square()


def _over_levels(mean: Tensor, deviation: Tensor, step: float) -> Tensor:
    """Mean of a Gaussian that is restricted to the levels, which lie ``step`` apart."""
    place = (mean.clamp(-1, 1) + 1) / step
    nearest = place.detach().round()
    near = torch.arange(-_BESIDE, _BESIDE + 1, device=mean.device)
    fine = (deviation / step).clamp(max=_FINE)[..., None]
    distance = (nearest - place)[..., None] + near
    shift = (F.softmax(-0.5 * (distance / fine).square(), -1) * near).sum(-1)
    last = round(2 / step)
    on_grid = (nearest + shift).clamp(0, last) * step - 1
    return torch.where(deviation < _FINE * step, on_grid, mean)
