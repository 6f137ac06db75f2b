"""Gaussian diffusion as a family of models: the network's estimates, noisy batches for losses, and
the variational bound with its terms.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from genbench.base import Conditioning, DataSpec, Likelihood
from genbench.errors import UserError
from genbench.families.diffusion_sampling import DiffusionSampling
from genbench.families.noise_latents import spread
from genbench.nn.gaussian_diffusion import (
    check_variance,
    prior_kl,
    q_sample,
    reverse_log_var,
    vlb_strata,
    vlb_term,
)
from genbench.nn.noise_schedule import Schedule

__all__ = ["GaussianDiffusion", "NoisyBatch"]


@dataclass(frozen=True, slots=True)
class NoisyBatch:
    """A batch at random times, for a loss.

    Attributes:
        t: times, int64 (B,) in 1..T.
        eps: noise (B, 1, H, W).
        x_t: noisy images (B, 1, H, W).
        y: labels (B,), ``classes`` where one is hidden; or None.
    """

    t: Tensor
    eps: Tensor
    x_t: Tensor
    y: Tensor | None


class GaussianDiffusion(DiffusionSampling):
    r"""Base of the diffusion models: noise is added to an image in T small steps; a network learns
    to take it away again, step by step.

    .. math::
        q(x_t \mid x_0) = \mathcal{N}(\sqrt{\bar\alpha_t}\, x_0, (1 - \bar\alpha_t) I), \qquad
        p(x_{t-1} \mid x_t) = \mathcal{N}(\mu_\theta(x_t, t), \sigma_t^2 I), \qquad
        \mu_\theta = \tfrac{1}{\sqrt{1 - \beta_t}}
        \left(x_t - \tfrac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon_\theta(x_t, t)\right)

    Scoring takes the variational bound

    .. math::
        -\log P(x_0) \le \mathrm{KL}(q(x_T | x_0) \| p(x_T))
        + \sum_{t=2}^{T} \mathbb{E}_q\, \mathrm{KL}(q(x_{t-1} | x_t, x_0) \| p(x_{t-1} | x_t))
        - \mathbb{E}_q \log P(x_0 | x_1)

    whose last term is the mass that the last step's Gaussian gives to each pixel's level. All T
    terms, or an unbiased estimate of their sum from a few times of each image, one in each of
    ``terms`` strata. The formulas are functions of :mod:`genbench.nn.gaussian_diffusion`.

    A subclass gives :meth:`model_output` and a loss.

    Symbols:
        :math:`\beta, \bar\alpha`: ``schedule.beta``, ``schedule.alpha_bar``.
        :math:`\epsilon_\theta`: ``predict_eps``.
        :math:`\sigma_t^2`: ``predict_reverse`` gives its logarithm beside epsilon.

    Arguments:
        spec: the data set.
        schedule: of the noise.
        variance: sigma^2 of the reverse steps: ``beta``, that of the forward step; ``posterior``,
            that of q(x_{t-1}|x_t, x_0); or ``learned``, between them.
        label_dropout: share of the images whose label is hidden in training; guidance needs some.
        conditional: read labels.
    """

    label_rows: int
    """Rows of a network's label tables: a class each, and where labels are hidden in training one
    more that stands for a hidden label; 0 without labels.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.LOWER_BOUND
    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    family: ClassVar[str] = "diffusion"
    # A noisy estimate of a bound of log P, whose exponential is above the bound on average.
    sums_classes: ClassVar[bool] = False

    def __init__(
        self,
        spec: DataSpec,
        *,
        schedule: Schedule,
        variance: str,
        label_dropout: float = 0.0,
        conditional: bool = False,
    ) -> None:
        super().__init__(spec, conditional=conditional)
        check_variance(variance)
        if not 0 <= label_dropout < 1:
            raise UserError(f"label_dropout: must be a share in [0, 1), got {label_dropout}")
        if label_dropout and not self.conditional:
            raise UserError(
                "label_dropout: there are no labels to hide; set conditional: true, or leave it out"
            )
        self.timesteps = len(schedule.beta) - 1
        self.variance = variance
        self.label_dropout = label_dropout
        self.label_rows = 0
        if self.conditional:
            self.label_rows = spec.classes + 1 if label_dropout else spec.classes
        for column in fields(Schedule):
            self.register_buffer(column.name, getattr(schedule, column.name), persistent=False)

    @property
    def schedule(self) -> Schedule:
        """The schedule of the noise, on the model's device."""
        return Schedule(*(self.get_buffer(column.name) for column in fields(Schedule)))

    # ------------------------------------------------------------------ the network's estimates

    @abstractmethod
    def model_output(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        """The network's estimate of the noise eps in x_t (B, 1, H, W), of the same shape.

        With a learned variance a second channel interpolates it: -1 stands for the posterior's, 1
        for that of the forward step.

        Arguments:
            x_t: noisy images.
            t: times (B,) in (0, 1], as shares of T.
            y: labels (B,), the number of classes where a label is hidden.
        """

    def predict_eps(
        self, x_t: Tensor, t: Tensor, y: Tensor | None, guidance: float = 0.0
    ) -> Tensor:
        """eps_theta (B, 1, H, W) of states ``x_t`` at times ``t`` (B,) in 1..T."""
        output = self.model_output(x_t, t / self.timesteps, y)
        return self._guided(output[:, :1], x_t, t, guidance)

    def predict_reverse(
        self, x_t: Tensor, t: Tensor, y: Tensor | None, guidance: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """eps_theta, and the log-variance of the reverse step (float64), (B, 1, H, W) each."""
        output = self.model_output(x_t, t / self.timesteps, y)
        eps = self._guided(output[:, :1], x_t, t, guidance)
        log_var = reverse_log_var(self.schedule, t, self.variance, output[:, 1:])
        return eps, log_var.expand_as(eps)

    def _guided(self, eps: Tensor, x_t: Tensor, t: Tensor, guidance: float) -> Tensor:
        """(1 + w) eps(x_t, y) - w eps(x_t), classifier-free guidance of weight w."""
        if not guidance:
            return eps
        hidden = torch.full((len(x_t),), self.spec.classes, device=x_t.device)
        unlabelled = self.model_output(x_t, t / self.timesteps, hidden)[:, :1]
        return eps + guidance * (eps - unlabelled)

    def noisy_batch(self, x_0: Tensor, y: Tensor | None, *, rng: Generator) -> NoisyBatch:
        """Images in [-1, 1] at times that are evenly spread over the batch, some labels hidden."""
        n, steps = len(x_0), self.timesteps
        t = 1 + (spread(n, rng=rng) * steps).long().clamp(max=steps - 1)
        if y is not None and self.label_dropout:
            hidden = torch.rand(n, generator=rng, device=x_0.device) < self.label_dropout
            y = torch.where(hidden, self.spec.classes, y)
        eps = torch.randn(x_0.shape, generator=rng, device=x_0.device)
        return NoisyBatch(t, eps, q_sample(self.schedule, x_0, t, eps), y)

    # ------------------------------------------------------------------ scoring

    def vlb_term(self, x: Tensor, x_t: Tensor, t: Tensor, eps: Tensor, log_var: Tensor) -> Tensor:
        """The bound's term of step t for images x of levels, nats float64 (B,), from what
        :meth:`predict_reverse` says of x_t.
        """
        return vlb_term(self.schedule, x, x_t, t, eps, log_var, spec=self.spec)

    def prior_kl(self, x_0: Tensor) -> Tensor:
        """KL(q(x_T | x_0) || N(0, I)), nats float64 (B,)."""
        return prior_kl(self.schedule, x_0)

    @torch.no_grad()
    def log_likelihood(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, terms: int = 0
    ) -> Tensor:
        """The bound of log P(x), float64 (B,): all T terms with ``terms`` = 0, else an unbiased
        estimate of it from that many times of each image.
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        edges = vlb_strata(self.timesteps, terms)
        total = -self.prior_kl(self.spec.signed(x))
        for first, end in itertools.pairwise(edges):
            t = torch.randint(first, end, (len(x),), generator=rng, device=x.device)
            total -= (end - first) * self._vlb_estimate(x, t, y, rng)
        return total

    @torch.no_grad()
    def bound_terms(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Mean nats of the bound's term of each step 1..T, then of the divergence at T, float64 (T
        + 1,).
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        terms = []
        for step in range(1, self.timesteps + 1):
            t = torch.full((len(x),), step, device=x.device)
            terms.append(self._vlb_estimate(x, t, y, rng).mean())
        return torch.stack([*terms, self.prior_kl(self.spec.signed(x)).mean()])

    def _vlb_estimate(self, x: Tensor, t: Tensor, y: Tensor | None, rng: Generator) -> Tensor:
        """The terms (B,) of steps ``t``, each at one state drawn from q(x_t | x_0)."""
        x_0 = self.spec.signed(x)
        eps = torch.randn(x_0.shape, generator=rng, device=x.device)
        x_t = q_sample(self.schedule, x_0, t, eps)
        return self.vlb_term(x, x_t, t, *self.predict_reverse(x_t, t, y))

    def likelihood_passes(self, **options: Any) -> int:
        """One per term."""
        return len(vlb_strata(self.timesteps, int(options.get("terms", 0)))) - 1
