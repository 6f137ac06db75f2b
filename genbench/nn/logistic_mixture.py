"""The pixel head of PixelCNN++: a mixture of logistics, each cut into one bin per level."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable

from genbench.errors import check_positive
from genbench.nn.head import Head, at_least_float32

__all__ = ["LogisticMixture"]

_NARROWEST = -2.0
"""Log-scale, over that of half a bin, below which a component can't get: at it, one that is centred
in a bin has 1 - 2 sigma(-e^2) = 99.9 % of its mass in it, so narrower ones would only be steeper.
"""
_WIDEST = 10.0
"""Log-scale above which a component can't get: it is flat over the grid to 1 part in e^10."""
_FAR = 1e30
"""An edge so far out that a logistic's tail beyond it is 0 in every precision, yet finite, so that
0 * edge is 0 and not NaN.
"""


class LogisticMixture(Head):
    r"""Mixture of discretised logistics on the grid :math:`c_v = 2v/(L-1) - 1` with half bin
    :math:`h = 1/(L-1)`.

    .. math::
        P(v) = \sum_k w_k \left[
            \sigma\left(\frac{c_v + h - \mu_k}{s_k}\right)
            - \sigma\left(\frac{c_v - h - \mu_k}{s_k}\right) \right]

    The lowest bin is open below and the highest open above, so the probabilities sum to 1. The
    parameters are, in this order, the logits of w, the means and the log-scales of all components;
    the number of components is read off the last axis. With
    :math:`\sigma(a) - \sigma(b) = \sigma(a)\,\sigma(-b)\,(1 - e^{b-a})` the logarithm has no
    cancellation anywhere.

    References:
        Salimans, Karpathy, Chen, Kingma, "PixelCNN++: Improving the PixelCNN with Discretized
            Logistic Mixture Likelihood and Other Modifications", 2017,
            https://arxiv.org/abs/1701.05517.

    Differs: the log-scale is kept in [log h - 2, 10] (the paper: from -7), the same at every number
    of levels; no midpoint approximation.

    Arguments:
        levels: number of levels L.
        mixtures: number of components that a network outputs; 5 as in the paper.

    Example:
        >>> head = LogisticMixture(256, mixtures=5)
        >>> params = head.initial_bias().expand(256, 15)
        >>> probability = head.log_prob(params, torch.arange(256)).exp()
        >>> round(probability.sum().item(), 5)
        1.0
    """

    def __init__(self, levels: int, mixtures: int = 5) -> None:
        check_positive(mixtures=mixtures)
        super().__init__(levels, 3 * mixtures)
        self.mixtures = mixtures
        log_half_bin = -math.log(levels - 1)
        self.log_scale_range = (log_half_bin + _NARROWEST, _WIDEST)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """See the class; the gradient stays finite for any finite parameters up to 1e6."""
        self._check(parameters)
        parameters = at_least_float32(parameters)
        wants_grad = parameters.requires_grad and torch.is_grad_enabled()
        return _LogProb.apply(parameters, x, self.levels, self.log_scale_range, wants_grad)

    def sample(self, parameters: Tensor, *, rng: Generator) -> Tensor:
        """Draw a component, then a logistic variable, then its bin; the open edge bins take what
        lies outside the grid.
        """
        self._check(parameters)
        logit_NM, mean_NM, log_scale_NM = (
            part.reshape(-1, part.shape[-1]) for part in at_least_float32(parameters).chunk(3, -1)
        )
        component = torch.multinomial(logit_NM.softmax(-1), 1, generator=rng)  # (N, 1)
        scale = log_scale_NM.gather(1, component).clamp_(*self.log_scale_range).exp_()
        uniform = torch.rand(scale.shape, dtype=scale.dtype, device=scale.device, generator=rng)
        value = mean_NM.gather(1, component).addcmul_(scale, uniform.logit_())
        level = value.add_(1).mul_((self.levels - 1) / 2).round_().clamp_(0, self.levels - 1)
        return level.to(torch.uint8).view(parameters.shape[:-1])

    def mean_of(self, parameters: Tensor) -> Tensor:
        """All components of all M mixtures, K' = M K."""
        self._check(parameters)
        logit, mean, log_scale = parameters.chunk(3, -1)
        log_weight = logit.log_softmax(-1) - math.log(parameters.shape[0])
        parts = (log_weight, mean, log_scale)
        return torch.cat([part.movedim(0, -2).flatten(-2) for part in parts], -1)

    def initial_bias(self) -> Tensor:
        """Equal weights, means spread over the grid, scales that just overlap: components that
        start equal stay alike.
        """
        mean = torch.linspace(-1, 1, self.mixtures) if self.mixtures > 1 else torch.zeros(1)
        # A quarter of the grid's length 2 over the number of components.
        log_scale = torch.full((self.mixtures,), -math.log(2 * self.mixtures))
        return torch.cat([torch.zeros(self.mixtures), mean, log_scale])

    def _check(self, parameters: Tensor) -> None:
        if parameters.shape[-1] == 0 or parameters.shape[-1] % 3:
            raise ValueError(
                "parameters: last axis must be 3 times the number of components, got shape "
                f"{tuple(parameters.shape)}"
            )


class _LogProb(torch.autograd.Function):
    r"""log P with its gradient worked out on the way forward: several times faster than the graph
    that autograd would keep.

    With :math:`\log\sigma(a) = \min(a, 0) + \log\sigma(|a|)` each component splits into an exponent
    e, which may be anything, and a factor c, which is never small:
    :math:`\log P = m + \log \sum_k e^{e_k - m} c_k` with :math:`m = \max_k e_k`. One logarithm per
    pixel is enough.

    Inside, components are the leading axis and pixels the last, so that sums over components run
    along vectors. Legend: M components, N pixels, K = 3 M parameters; below and above are the
    distances from the mean to the bin's upper edge and from its lower edge to the mean, in scales.
    """

    @staticmethod
    def forward(
        ctx: Any,
        parameters: Tensor,
        x: Tensor,
        levels: int,
        log_scale_range: tuple[float, float],
        wants_grad: bool,
    ) -> Tensor:
        channels = parameters.shape[-1]
        parameters_KN = parameters.movedim(-1, 0).reshape(channels, -1).contiguous()
        logit_MN, mean_MN, raw_MN = parameters_KN.chunk(3)
        inverse_MN = raw_MN.clamp(*log_scale_range).neg_().exp_()  # 1 / s
        lower_N, upper_N = _edges(x.reshape(-1), levels, parameters.dtype)
        below_MN = (upper_N - mean_MN).mul_(inverse_MN)
        above_MN = (mean_MN - lower_N).mul_(inverse_MN)
        width_MN = inverse_MN * (upper_N - lower_N)
        tanh_MN = (0.5 * width_MN).tanh_()
        # 1 - exp(-width) = 2 tanh / (1 + tanh), without cancellation.
        factor_MN = below_MN.abs().sigmoid_().mul_(above_MN.abs().sigmoid_())
        factor_MN = factor_MN.mul_(tanh_MN).div_(tanh_MN + 1).mul_(2)
        log_weight_MN = logit_MN.log_softmax(0)
        exponent_MN = below_MN.clamp(max=0).add_(above_MN.clamp(max=0)).add_(log_weight_MN)
        top_N = exponent_MN.amax(0)
        joint_MN = exponent_MN.sub_(top_N).exp_().mul_(factor_MN)
        total_N = joint_MN.sum(0)
        if wants_grad:
            share_MN = joint_MN.div_(total_N)  # P(component | level)
            right_MN, left_MN = torch.sigmoid(-below_MN), torch.sigmoid(-above_MN)
            grad_KN = torch.empty(
                (channels, x.numel()), dtype=parameters.dtype, device=parameters.device
            )
            grad_logit, grad_mean, grad_log_scale = grad_KN.chunk(3)
            # d/dlogit = share - w
            torch.sub(share_MN, log_weight_MN.exp_(), out=grad_logit)
            # d/dmean = share (left - right) / s
            torch.sub(left_MN, right_MN, out=grad_mean).mul_(inverse_MN).mul_(share_MN)
            # d/dlog s = -share (below right + above left + width / (exp(width) - 1))
            ratio_MN = width_MN.mul_(1 - tanh_MN).div_(tanh_MN.mul_(2))
            torch.mul(below_MN, right_MN, out=grad_log_scale).addcmul_(above_MN, left_MN)
            grad_log_scale.add_(ratio_MN).mul_(share_MN).neg_()
            low, high = log_scale_range
            grad_log_scale.mul_((raw_MN >= low) & (raw_MN <= high))
            ctx.save_for_backward(grad_KN)
            ctx.shape = parameters.shape
        return top_N.add_(total_N.log_()).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        (grad_KN,) = ctx.saved_tensors
        grad = (grad_KN * grad_outputs[0].reshape(-1)).view(-1, *ctx.shape[:-1]).movedim(0, -1)
        return grad, None, None, None, None


def _edges(x_N: Tensor, levels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Lower and upper edge (N,) of the bins of levels ``x_N``; neighbouring bins share the same
    float.
    """
    doubled_N = x_N.to(dtype).mul_(2)
    lower_N = (doubled_N - 1).div_(levels - 1).sub_(1).masked_fill_(x_N == 0, -_FAR)
    upper_N = doubled_N.add_(1).div_(levels - 1).sub_(1).masked_fill_(x_N == levels - 1, _FAR)
    return lower_N, upper_N
