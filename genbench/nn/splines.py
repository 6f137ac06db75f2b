"""Monotone rational-quadratic splines.

Durkan, Bekasov, Murray, Papamakarios, "Neural Spline Flows", 2019,
https://arxiv.org/abs/1906.04032, section 3.1 (after Gregory, Delbourgo, 1982).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from genbench.nn.roots import square_root

__all__ = ["BINS", "BOUND", "spline"]

BINS = 8
"""Of each spline; a coupling's network puts out three channels for each, less one."""
BOUND = 4.0
"""The spline lives on [-BOUND, BOUND]; outside it is the identity. Standard normal latents lie
within but for 6 in 100,000.
"""
MIN_SHARE = 1e-3
"""Least width and height of a bin as a share of the whole, and least slope, as in the paper's code:
the map stays invertible.
"""
_UNIT_SLOPE = math.log(math.exp(1 - MIN_SHARE) - 1)  # softplus of it, and MIN_SHARE, is 1
_INSIDE = 1e-6  # how far from the ends values outside are put, to be computed and then dropped


def spline(values: Tensor, params: Tensor, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
    r"""Each value through its own spline.

    In a bin from (x_0, y_0) to (x_1, y_1) with slopes d_0, d_1 at its ends, mean slope
    m = (y_1 - y_0) / (x_1 - x_0) and t = (x - x_0) / (x_1 - x_0), eqs. 4 and 5,

    .. math::
        y = y_0 + (y_1 - y_0) \frac{m t^2 + d_0 t (1 - t)}{m + (d_0 + d_1 - 2 m) t (1 - t)}, \qquad
        y' = \frac{m^2 (d_1 t^2 + 2 m t (1 - t) + d_0 (1 - t)^2)}
        {(m + (d_0 + d_1 - 2 m) t (1 - t))^2}

    and the inverse solves a quadratic equation for t (eqs. 6 to 8).

    Arguments:
        values: any shape.
        params: values' shape and 3 * BINS - 1: logits of widths, logits of heights, slopes at inner
            knots. All zero: the identity.
        inverse: the inverse map.

    Returns:
        The results, and the logarithm of the map's (or the inverse's) slope there, both of values'
        shape.
    """
    widths, heights, slopes = params.split([BINS, BINS, BINS - 1], -1)
    xs, ys = _knots(widths), _knots(heights)  # (..., BINS + 1)
    inner = F.softplus(slopes + _UNIT_SLOPE) + MIN_SHARE
    ends = torch.ones_like(inner[..., :1])
    slopes = torch.cat([ends, inner, ends], -1)  # (..., BINS + 1)
    inside = (values > -BOUND) & (values < BOUND)
    clipped = values.clamp(-BOUND + _INSIDE, BOUND - _INSIDE)
    knots = (ys if inverse else xs).contiguous()
    bins = (torch.searchsorted(knots, clipped[..., None].contiguous()) - 1).clamp(0, BINS - 1)
    x0, x1, y0, y1, d0, d1 = (
        ends_of.gather(-1, bins + shift)[..., 0] for ends_of in (xs, ys, slopes) for shift in (0, 1)
    )
    mean_slope = (y1 - y0) / (x1 - x0)
    curve = d1 + d0 - 2 * mean_slope
    if inverse:
        rise = clipped - y0
        a = (y1 - y0) * (mean_slope - d0) + rise * curve
        b = (y1 - y0) * d0 - rise * curve
        c = -mean_slope * rise
        t = 2 * c / (-b - square_root((b * b - 4 * a * c).clamp(min=0)))
        result = t * (x1 - x0) + x0
    else:
        t, height = (clipped - x0) / (x1 - x0), y1 - y0
        numerator = mean_slope * t * t + d0 * t * (1 - t)
        result = y0 + height * numerator / (mean_slope + curve * t * (1 - t))
    squared = mean_slope.square()
    slope = squared * (d1 * t * t + 2 * mean_slope * t * (1 - t) + d0 * (1 - t).square())
    log_slope = slope.log() - 2 * (mean_slope + curve * t * (1 - t)).log()
    log_slope = -log_slope if inverse else log_slope
    zero = torch.zeros_like(log_slope)
    return torch.where(inside, result, values), torch.where(inside, log_slope, zero)


def _knots(logits: Tensor) -> Tensor:
    """Increasing positions (..., BINS + 1) from -BOUND to BOUND."""
    shares = MIN_SHARE + (1 - MIN_SHARE * BINS) * logits.softmax(-1)
    return F.pad(2 * BOUND * shares.cumsum(-1), (1, 0)) - BOUND
