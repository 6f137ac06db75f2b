"""Restricted Boltzmann machine with binary units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from genbench.base import DataSpec, Step
from genbench.errors import UserError, check_positive
from genbench.families.energy import EnergyBased

__all__ = ["RBM"]

_RARE = 0.005  # share of a pixel's own level below which the start's biases do not go


class RBM(EnergyBased[Tensor]):
    r"""Binary pixels v and binary hidden units h, joined by weights; none within a layer, so each
    layer is independent given the other.

    .. math:: P(v) = \frac1Z \sum_h e^{b^T v + c^T h + h^T W v} = e^{-F(v)} / Z, \qquad -F(v) = b^T v + \sum_j \log(1 + e^{c_j + W_j v})

    .. math:: P(h_j = 1 \mid v) = \sigma(c_j + W_j v), \qquad P(v_i = 1 \mid h) = \sigma(b_i + W_i^T h)

    The gradient of the log-likelihood is that of -F at the data less its mean under the model, for
    which persistent chains stand (PCD). Its normaliser is estimated by annealed importance sampling
    from independent pixels with the data's frequencies, on the path of Salakhutdinov and Murray:
    :math:`\log f_\beta(v) = (1 - \beta) b_0^T v + \beta b^T v + \sum_j \log(1 + e^{\beta (c_j + W_j v)})`.

    References:
        Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient,
        Tieleman, 2008 (PCD) On the Quantitative Analysis of Deep Belief Networks, Salakhutdinov,
        Murray, 2008 (AIS) A Practical Guide to Training Restricted Boltzmann Machines, Hinton, 2010

    Arguments:
        spec: a data set of two levels.
        hidden: hidden units.
        persistent_chains: persistent chains.
        mcmc_steps: Gibbs sweeps of the chains for each training step.
        burn_in: Gibbs sweeps behind a sample.

    Example:
        >>> model = RBM(DataSpec(4, 4, 2), hidden=8)
        >>> rng = Generator().manual_seed(0)
        >>> info = model.prepare_likelihood(rng=rng, chains=50, temperatures=100)
        >>> model.log_likelihood(model.sample(3, rng=rng), rng=rng).shape
        torch.Size([3])
    """

    sampler_name: ClassVar[str] = "gibbs"
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (DataSpec(3, 3, 2), {"hidden": 6, "persistent_chains": 64, "burn_in": 200}),
    )

    chain: Tensor
    start_bias: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        hidden: int = 500,
        persistent_chains: int = 128,
        mcmc_steps: int = 1,
        burn_in: int = 1000,
    ) -> None:
        super().__init__(spec, burn_in=burn_in)
        if spec.levels != 2:
            raise UserError(
                f"RBM: needs a data set of 2 levels, such as binary_mnist, got {spec.levels}"
            )
        check_positive(hidden=hidden, persistent_chains=persistent_chains, mcmc_steps=mcmc_steps)
        self.moves = mcmc_steps
        self.weight = nn.Parameter(0.01 * torch.randn(hidden, spec.dims))
        self.visible_bias, self.hidden_bias = (
            nn.Parameter(torch.zeros(spec.dims)),
            nn.Parameter(torch.zeros(hidden)),
        )
        self.register_buffer("start_bias", torch.zeros(spec.dims))
        self.register_buffer("chain", torch.zeros(persistent_chains, spec.dims))

    # ------------------------------------------------------------------ the distribution

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v), float32 (n,), of visible states float (n, D)."""
        return -(
            v @ self.visible_bias + F.softplus(F.linear(v, self.weight, self.hidden_bias)).sum(1)
        )

    def log_f(self, x: Tensor, beta: float = 1.0) -> Tensor:
        """The path from independent pixels to the model, float64 (n,)."""
        bias = (1 - beta) * self.start_bias + beta * self.visible_bias
        inputs = beta * F.linear(x, self.weight, self.hidden_bias)
        return (x.double() @ bias.double()) + F.softplus(inputs).sum(1, dtype=torch.float64)

    def move(self, x: Tensor, beta: float = 1.0, *, rng: Generator) -> Tensor:
        """A Gibbs sweep: all hidden units given the visible ones, then all visible ones."""
        h = _bernoulli(beta * F.linear(x, self.weight, self.hidden_bias), rng)
        return _bernoulli(
            (1 - beta) * self.start_bias + beta * (h @ self.weight + self.visible_bias), rng
        )

    def start(self, n: int, *, rng: Generator) -> Tensor:
        """Independent pixels with the data's frequencies."""
        return _bernoulli(self.start_bias.expand(n, -1), rng)

    def log_z_start(self) -> float:
        """Hidden units without inputs add log 2 each."""
        return float(F.softplus(self.start_bias.double()).sum()) + len(self.hidden_bias) * math.log(
            2
        )

    def to_images(self, x: Tensor) -> Tensor:
        """(n, D) to images uint8 (n, 1, H, W)."""
        return x.to(torch.uint8).view(-1, 1, self.spec.height, self.spec.width)

    def from_images(self, x: Tensor) -> Tensor:
        """Images to float (n, D)."""
        return x.flatten(1).to(self.weight.dtype)

    # ------------------------------------------------------------------ training

    @torch.no_grad()
    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        """Visible biases, and the start of AIS, of the pixels' frequencies; chains from there."""
        share = x.float().mean(0).flatten().clamp(_RARE, 1 - _RARE)
        self.start_bias.copy_(share.logit())
        self.visible_bias.copy_(self.start_bias)
        self.chain.copy_(self.start(len(self.chain), rng=rng))

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Mean free energy of the data less that of the chains after some sweeps; its gradient is
        PCD's. Carries the chains.
        """
        self.check_images(x)
        chain = self.chain
        with torch.no_grad():
            for _ in range(self.moves):
                chain = self.move(chain, rng=rng)
        data, model = self.free_energy(self.from_images(x)).mean(), self.free_energy(chain).mean()
        return Step(
            data - model, {"data": data.detach(), "persistent_chains": model.detach()}, chain
        )

    def after_step(self, phase: str, carry: object, *, rng: Generator, progress: float) -> None:
        """The chains go on from where they are."""
        if isinstance(carry, Tensor):
            self.chain.copy_(carry)


def _bernoulli(logits: Tensor, rng: Generator) -> Tensor:
    return torch.bernoulli(logits.sigmoid(), generator=rng)
