"""Distributions of one pixel on the levels ``0..levels-1``, whose parameters a network outputs.

A head knows how many numbers per pixel it needs (``channels``, K), scores levels under them and
draws levels from them. Shapes: ``...`` is any number of leading axes, K the last axis of the
parameters.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from genbench.errors import UserError, check_positive, near

__all__ = ["Bernoulli", "Categorical", "Head", "LogisticMixture", "make_head"]


class Head(ABC):
    """A family of distributions of one pixel.

    Attributes:
        levels: number of levels of a pixel.
        channels: K, the number of parameters per pixel that a network outputs.
    """

    def __init__(self, levels: int, channels: int) -> None:
        self.levels = levels
        self.channels = channels

    @abstractmethod
    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log probability in nats ``(...)`` of integer levels ``x (...)`` under
        ``params (..., K)``.

        float64 parameters give float64, all others float32.
        """

    @abstractmethod
    def sample(self, params: Tensor, *, rng: Generator) -> Tensor:
        """Levels uint8 ``(...)`` drawn under ``params (..., K)``."""

    @abstractmethod
    def mean_of(self, params: Tensor) -> Tensor:
        """Parameters ``(..., K')`` of the equal-weight mixture of the M distributions
        ``params (M, ..., K)``.
        """

    def initial_bias(self) -> Tensor:
        """A good start (K,) for the bias of the layer that outputs the parameters; zeros unless a
        head knows better.
        """
        return torch.zeros(self.channels)

    def _check(self, params: Tensor) -> None:
        if params.shape[-1] != self.channels:
            raise ValueError(
                f"params: last axis must be {self.channels} for {type(self).__name__}, got shape "
                f"{tuple(params.shape)}"
            )


class Bernoulli(Head):
    """Two levels; the one parameter is the logit of level 1.

    Example:
        >>> make_head("bernoulli", 2).log_prob(torch.zeros(1), torch.tensor(1)).exp()
        tensor(0.5000)
    """

    def __init__(self, levels: int = 2) -> None:
        if levels != 2:
            raise UserError(
                f"head: bernoulli is for 2 levels only, got levels = {levels}; use categorical or "
                "logistic_mixture"
            )
        super().__init__(2, 1)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log-sigmoid of the logit or of its negative."""
        self._check(params)
        logit = _at_least_float32(params)[..., 0]
        return F.logsigmoid(torch.where(x.bool(), logit, -logit))

    def sample(self, params: Tensor, *, rng: Generator) -> Tensor:
        """One biased coin per pixel."""
        self._check(params)
        probability = _at_least_float32(params)[..., 0].sigmoid()
        return torch.bernoulli(probability, generator=rng).to(torch.uint8)

    def mean_of(self, params: Tensor) -> Tensor:
        """The logit of the mean probability, from logarithms."""
        self._check(params)
        return F.logsigmoid(params).logsumexp(0) - F.logsigmoid(-params).logsumexp(0)


class Categorical(Head):
    """One logit per level.

    Example:
        >>> make_head("categorical", 4).log_prob(torch.zeros(4), torch.tensor(3)).exp()
        tensor(0.2500)
    """

    def __init__(self, levels: int) -> None:
        super().__init__(levels, levels)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log-softmax of the logits, at the level."""
        self._check(params)
        logits_NK = _at_least_float32(params).reshape(-1, self.levels)
        return -F.cross_entropy(logits_NK, x.reshape(-1).long(), reduction="none").view(x.shape)

    def sample(self, params: Tensor, *, rng: Generator) -> Tensor:
        """One draw by the softmax per pixel."""
        self._check(params)
        probability_NK = _at_least_float32(params).softmax(-1).view(-1, self.levels)
        return (
            torch.multinomial(probability_NK, 1, generator=rng)
            .to(torch.uint8)
            .view(params.shape[:-1])
        )

    def mean_of(self, params: Tensor) -> Tensor:
        """The logarithm of the mean of the softmaxes."""
        self._check(params)
        return params.log_softmax(-1).logsumexp(0) - math.log(params.shape[0])


class LogisticMixture(Head):
    r"""Mixture of discretised logistics on the grid :math:`c_v = 2v/(L-1) - 1` with half bin
    :math:`h = 1/(L-1)`.

    .. math:: P(v) = \sum_k w_k \left[\sigma\left(\frac{c_v + h - \mu_k}{s_k}\right) - \sigma\left(\frac{c_v - h - \mu_k}{s_k}\right)\right]

    The lowest bin is open below and the highest open above, so the probabilities sum to 1. The
    parameters are, in this order, the logits of w, the means and the log-scales of all components;
    the number of components is read off the last axis. With
    :math:`\sigma(a) - \sigma(b) = \sigma(a)\,\sigma(-b)\,(1 - e^{b-a})` the logarithm has no
    cancellation anywhere.

    Differs: the log-scale is kept in [log h - 2, 10] (the paper: from -7), the same at every number
    of levels; no midpoint approximation.

    References:
        PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
        Modifications, Salimans, Karpathy, Chen, Kingma, 2017, https://arxiv.org/abs/1701.05517

    Arguments:
        levels: number of levels L.
        mixtures: number of components that a network outputs.

    Example:
        >>> head = make_head("logistic_mixture", 256, mixtures=5)
        >>> probability = head.log_prob(head.initial_bias().expand(256, 15), torch.arange(256)).exp()
        >>> round(probability.sum().item(), 5)
        1.0
    """

    def __init__(self, levels: int, mixtures: int = 5) -> None:
        check_positive(mixtures=mixtures)
        super().__init__(levels, 3 * mixtures)
        self.mixtures = mixtures
        self.log_scale_range = (-math.log(levels - 1) - 2.0, 10.0)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """See the class; the gradient stays finite for any finite parameters up to 1e6."""
        self._check(params)
        params = _at_least_float32(params)
        wants_grad = params.requires_grad and torch.is_grad_enabled()
        return _LogisticMixtureLogProb.apply(
            params, x, self.levels, self.log_scale_range, wants_grad
        )

    def sample(self, params: Tensor, *, rng: Generator) -> Tensor:
        """Draw a component, then a logistic variable, then its bin; the open edge bins take what
        lies outside the grid.
        """
        self._check(params)
        weight, mean, log_scale = (
            p.reshape(-1, p.shape[-1]) for p in _at_least_float32(params).chunk(3, -1)
        )
        component = torch.multinomial(weight.softmax(-1), 1, generator=rng)
        scale = log_scale.gather(1, component).clamp_(*self.log_scale_range).exp_()
        uniform = torch.rand(scale.shape, dtype=scale.dtype, device=scale.device, generator=rng)
        value = mean.gather(1, component).addcmul_(scale, uniform.logit_())
        level = value.add_(1).mul_((self.levels - 1) / 2).round_().clamp_(0, self.levels - 1)
        return level.to(torch.uint8).view(params.shape[:-1])

    def mean_of(self, params: Tensor) -> Tensor:
        """All components of all M mixtures, K' = M K."""
        self._check(params)
        weight, mean, log_scale = params.chunk(3, -1)
        parts = (weight.log_softmax(-1) - math.log(params.shape[0]), mean, log_scale)
        return torch.cat([p.movedim(0, -2).flatten(-2) for p in parts], -1)

    def initial_bias(self) -> Tensor:
        """Equal weights, means spread over the grid, scales that just overlap: components that
        start equal stay alike.
        """
        mean = torch.linspace(-1, 1, self.mixtures) if self.mixtures > 1 else torch.zeros(1)
        log_scale = torch.full((self.mixtures,), -math.log(2 * self.mixtures))
        return torch.cat([torch.zeros(self.mixtures), mean, log_scale])

    def _check(self, params: Tensor) -> None:
        if params.shape[-1] == 0 or params.shape[-1] % 3:
            raise ValueError(
                "params: last axis must be 3 times the number of components, got shape "
                f"{tuple(params.shape)}"
            )


# An edge so far out that a logistic's tail beyond it is 0 in every precision, yet finite, so that 0
# * edge is 0 and not NaN.
_FAR = 1e30


class _LogisticMixtureLogProb(torch.autograd.Function):
    r"""log P with its gradient worked out on the way forward: several times faster than the graph
    that autograd would keep.

    With :math:`\log\sigma(a) = \min(a, 0) + \log\sigma(|a|)` each component splits into an exponent
    e, which may be anything, and a factor c, which is never small:
    :math:`\log P = m + \log \sum_k e^{e_k - m} c_k` with :math:`m = \max_k e_k`. One logarithm per
    pixel is enough.

    Inside, components are the leading axis and pixels the last, so that sums over components run
    along vectors. Legend: M components, N pixels; below, above are the scaled distances from the
    mean to the upper and from the lower edge to the mean.
    """

    @staticmethod
    def forward(
        ctx: Any,
        params: Tensor,
        x: Tensor,
        levels: int,
        log_scale_range: tuple[float, float],
        wants_grad: bool,
    ) -> Tensor:
        logit_MN, mean_MN, raw_MN = (
            params.movedim(-1, 0).reshape(params.shape[-1], -1).contiguous().chunk(3)
        )
        inverse_MN = raw_MN.clamp(*log_scale_range).neg_().exp_()
        lo_N, hi_N = _edges(x.reshape(-1), levels, params.dtype)
        below_MN = (hi_N - mean_MN).mul_(inverse_MN)
        above_MN = (mean_MN - lo_N).mul_(inverse_MN)
        width_MN = inverse_MN * (hi_N - lo_N)
        tanh_MN = (
            0.5 * width_MN
        ).tanh_()  # 1 - exp(-width) = 2 tanh / (1 + tanh) without cancellation
        factor_MN = (
            below_MN.abs()
            .sigmoid_()
            .mul_(above_MN.abs().sigmoid_())
            .mul_(tanh_MN)
            .div_(tanh_MN + 1)
            .mul_(2)
        )
        log_weight_MN = logit_MN.log_softmax(0)
        exponent_MN = below_MN.clamp(max=0).add_(above_MN.clamp(max=0)).add_(log_weight_MN)
        top_N = exponent_MN.amax(0)
        joint_MN = exponent_MN.sub_(top_N).exp_().mul_(factor_MN)
        total_N = joint_MN.sum(0)
        if wants_grad:
            share_MN = joint_MN.div_(total_N)
            right_MN, left_MN = torch.sigmoid(-below_MN), torch.sigmoid(-above_MN)
            grad_KN = torch.empty(
                (params.shape[-1], x.numel()), dtype=params.dtype, device=params.device
            )
            grad_weight, grad_mean, grad_scale = grad_KN.chunk(3)
            torch.sub(share_MN, log_weight_MN.exp_(), out=grad_weight)
            torch.sub(left_MN, right_MN, out=grad_mean).mul_(inverse_MN).mul_(share_MN)
            ratio_MN = width_MN.mul_(1 - tanh_MN).div_(tanh_MN.mul_(2))  # width / (exp(width) - 1)
            torch.mul(below_MN, right_MN, out=grad_scale).addcmul_(above_MN, left_MN).add_(
                ratio_MN
            ).mul_(share_MN).neg_()
            grad_scale.mul_((raw_MN >= log_scale_range[0]) & (raw_MN <= log_scale_range[1]))
            ctx.save_for_backward(grad_KN)
            ctx.shape = params.shape
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
    lo_N = (doubled_N - 1).div_(levels - 1).sub_(1).masked_fill_(x_N == 0, -_FAR)
    hi_N = doubled_N.add_(1).div_(levels - 1).sub_(1).masked_fill_(x_N == levels - 1, _FAR)
    return lo_N, hi_N


def _at_least_float32(params: Tensor) -> Tensor:
    return params if params.dtype in (torch.float32, torch.float64) else params.float()


def make_head(name: str | None, levels: int, *, mixtures: int = 5) -> Head:
    """The head called ``name``: "bernoulli" (2 levels only), "categorical" or "logistic_mixture"
    (of ``mixtures`` components).

    None is bernoulli for 2 levels, else logistic_mixture.

    Raises:
        UserError: an unknown name, or levels that the head does not take.
    """
    name = name or ("bernoulli" if levels == 2 else "logistic_mixture")
    if name == "bernoulli":
        return Bernoulli(levels)
    if name == "categorical":
        return Categorical(levels)
    if name == "logistic_mixture":
        return LogisticMixture(levels, mixtures)
    raise UserError(
        f"head: unknown head {name!r}{near(name, ['bernoulli', 'categorical', 'logistic_mixture'])}"
    )
