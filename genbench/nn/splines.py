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
BOUND = 4.0
"""The spline lives on [-BOUND, BOUND]; outside it is the identity."""
_LEAST = 1e-3  # of a bin's share and of a slope
_FLAT = math.log(math.exp(1 - _LEAST) - 1)  # softplus of it, and _LEAST, is 1


def spline(values: Tensor, params: Tensor, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """Each value through its own spline.

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
    xs, ys = _knots(widths), _knots(heights)
    inner = F.softplus(slopes + _FLAT) + _LEAST
    ends = torch.ones_like(inner[..., :1])
    slopes = torch.cat([ends, inner, ends], -1)
    inside = (values > -BOUND) & (values < BOUND)
    clipped = values.clamp(-BOUND + 1e-6, BOUND - 1e-6)
    bins = (
        torch.searchsorted((ys if inverse else xs).contiguous(), clipped[..., None].contiguous())
        - 1
    ).clamp(0, BINS - 1)
    x0, x1, y0, y1, d0, d1 = (
        t.gather(-1, bins + shift)[..., 0] for t in (xs, ys, slopes) for shift in (0, 1)
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
        t = (clipped - x0) / (x1 - x0)
        result = y0 + (y1 - y0) * (mean_slope * t * t + d0 * t * (1 - t)) / (
            mean_slope + curve * t * (1 - t)
        )
    slope = mean_slope.square() * (
        d1 * t * t + 2 * mean_slope * t * (1 - t) + d0 * (1 - t).square()
    )
    log_slope = slope.log() - 2 * (mean_slope + curve * t * (1 - t)).log()
    log_slope = -log_slope if inverse else log_slope
    return torch.where(inside, result, values), torch.where(
        inside, log_slope, torch.zeros_like(log_slope)
    )


def _knots(logits: Tensor) -> Tensor:
    """Increasing positions (..., BINS + 1) from -BOUND to BOUND."""
    shares = _LEAST + (1 - _LEAST * BINS) * logits.softmax(-1)
    return F.pad(2 * BOUND * shares.cumsum(-1), (1, 0)) - BOUND
