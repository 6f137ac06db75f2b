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

_WEIGHT_STD = 0.01
"""Of the first weights: Hinton, 2010, section 8."""
_MIN_SHARE = 0.005
"""Least share of images in which a pixel counts as black, or as white, for the first biases: those
of a pixel that never changes would be infinite.
"""


class RBM(EnergyBased[Tensor]):
    r"""Binary pixels v and binary hidden units h, joined by weights; none within a layer, so each
    layer is independent given the other.

    .. math::
        P(v) = \frac1Z \sum_h e^{b^T v + c^T h + h^T W v} = e^{-F(v)} / Z, \qquad
        -F(v) = b^T v + \sum_j \log(1 + e^{c_j + W_j v})

    .. math::
        P(h_j = 1 \mid v) = \sigma(c_j + W_j v), \qquad
        P(v_i = 1 \mid h) = \sigma(b_i + W_i^T h)

    The gradient of the log-likelihood is that of -F at the data less its mean under the model, for
    which persistent chains stand (PCD). Its normaliser is estimated by annealed importance sampling
    from independent pixels with the data's frequencies, on the path of Salakhutdinov and Murray,

    .. math::
        \log f_\beta(v) = (1 - \beta) b_0^T v + \beta b^T v
        + \sum_j \log(1 + e^{\beta (c_j + W_j v)})

    Symbols:
        :math:`W, b, c`: ``weight``, ``visible_bias``, ``hidden_bias``.
        :math:`b_0`: ``start_bias``.
        :math:`F, Z`: ``free_energy``, and ``log_z``, its logarithm.

    References:
        Tieleman, "Training Restricted Boltzmann Machines using Approximations to the Likelihood
            Gradient", 2008, https://doi.org/10.1145/1390156.1390290 (PCD).
        Salakhutdinov, Murray, "On the Quantitative Analysis of Deep Belief Networks", 2008,
            https://doi.org/10.1145/1390156.1390266 (AIS).
        Hinton, "A Practical Guide to Training Restricted Boltzmann Machines", 2010,
            https://www.cs.toronto.edu/~hinton/absps/guideTR.pdf.

    Differs: nothing.

    Arguments:
        spec: a data set of two levels.
        hidden: hidden units.
        persistent_chains: their number.
        mcmc_steps: Gibbs sweeps of the chains for each training step, k of PCD-k.
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
        self.mcmc_steps = mcmc_steps
        self.weight = nn.Parameter(_WEIGHT_STD * torch.randn(hidden, spec.dims))
        self.visible_bias = nn.Parameter(torch.zeros(spec.dims))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.register_buffer("start_bias", torch.zeros(spec.dims))
        self.register_buffer("chain", torch.zeros(persistent_chains, spec.dims))

    # ------------------------------------------------------------------ the distribution

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v), float32 (n,), of visible states float (n, D)."""
        log_sum_h = F.softplus(self._hidden_logits(v)).sum(1)
        return -(v @ self.visible_bias + log_sum_h)

    def log_f(self, state: Tensor, beta: float = 1.0) -> Tensor:
        """The path from independent pixels to the model, float64 (n,)."""
        bias = (1 - beta) * self.start_bias + beta * self.visible_bias
        log_sum_h = F.softplus(beta * self._hidden_logits(state)).sum(1, dtype=torch.float64)
        return (state.double() @ bias.double()) + log_sum_h

    def move(self, state: Tensor, beta: float = 1.0, *, rng: Generator) -> Tensor:
        """A Gibbs sweep: all hidden units given the visible ones, then all visible ones."""
        h = _bernoulli(beta * self._hidden_logits(state), rng)
        visible_logits = h @ self.weight + self.visible_bias
        return _bernoulli((1 - beta) * self.start_bias + beta * visible_logits, rng)

    def _hidden_logits(self, v: Tensor) -> Tensor:
        """Inputs c + W v, (n, hidden), of visible states float (n, D)."""
        return F.linear(v, self.weight, self.hidden_bias)

    def initial_states(self, n: int, *, rng: Generator) -> Tensor:
        """Independent pixels with the data's frequencies."""
        return _bernoulli(self.start_bias.expand(n, -1), rng)

    def initial_log_z(self) -> float:
        """Of independent pixels, and hidden units without inputs, which add log 2 each."""
        log_z_visible = float(F.softplus(self.start_bias.double()).sum())
        return log_z_visible + len(self.hidden_bias) * math.log(2)

    def to_images(self, state: Tensor) -> Tensor:
        """(n, D) to images uint8 (n, 1, H, W)."""
        return state.to(torch.uint8).view(-1, 1, self.spec.height, self.spec.width)

    def from_images(self, x: Tensor) -> Tensor:
        """Images to float (n, D)."""
        return x.flatten(1).to(self.weight.dtype)

    # ------------------------------------------------------------------ training

    @torch.no_grad()
    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        """Visible biases, and the start of AIS, of the pixels' frequencies; chains from there."""
        share = x.float().mean(0).flatten().clamp(_MIN_SHARE, 1 - _MIN_SHARE)
        self.start_bias.copy_(share.logit())
        self.visible_bias.copy_(self.start_bias)
        self.chain.copy_(self.initial_states(len(self.chain), rng=rng))

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Mean free energy of the data less that of the chains after some sweeps; its gradient is
        PCD's. ``aux`` is the chains.
        """
        self.check_images(x)
        chain = self.chain
        with torch.no_grad():
            for _ in range(self.mcmc_steps):
                chain = self.move(chain, rng=rng)
        data = self.free_energy(self.from_images(x)).mean()
        model = self.free_energy(chain).mean()
        return Step(data - model, {"data": data.detach(), "chains": model.detach()}, aux=chain)

    def after_step(self, phase: str, aux: object, *, rng: Generator, progress: float) -> None:
        """The chains stay where the loss has moved them."""
        if isinstance(aux, Tensor):
            self.chain.copy_(aux)


def _bernoulli(logits: Tensor, rng: Generator) -> Tensor:
    return torch.bernoulli(logits.sigmoid(), generator=rng)
