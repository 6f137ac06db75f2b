"""Gaussian diffusion: the noising process, the variational bound with its terms, the samplers and
their latents.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from genbench.base import Conditioning, DataSpec, Likelihood
from genbench.errors import UserError, near
from genbench.families.noise_latents import NoiseLatents, spread
from genbench.hardware.precision import autocast, check_precision
from genbench.nn.noise_schedule import Schedule
from genbench.nn.normal import discretised_normal, normal_kl
from genbench.nn.roots import square_root

__all__ = ["VARIANCES", "GaussianDiffusion"]

VARIANCES = ("beta", "posterior", "learned")
FRAMES = 50


class GaussianDiffusion(NoiseLatents):
    r"""Base of the diffusion models: noise is added to an image in T small steps; a network learns
    to take it away again, step by step.

    .. math:: q(x_t \mid x_0) = \mathcal{N}(\sqrt{\bar\alpha_t}\, x_0, (1 - \bar\alpha_t) I), \qquad
        p(x_{t-1} \mid x_t) = \mathcal{N}(\mu_\theta(x_t, t), \sigma_t^2 I), \qquad
        \mu_\theta = \tfrac{1}{\sqrt{1 - \beta_t}} \left(x_t - \tfrac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon_\theta(x_t, t)\right)

    Scoring takes the variational bound

    .. math:: -\log P(x_0) \le \mathrm{KL}(q(x_T | x_0) \| p(x_T)) + \sum_{t=2}^{T} \mathbb{E}_q\, \mathrm{KL}(q(x_{t-1} | x_t, x_0) \| p(x_{t-1} | x_t))
        - \mathbb{E}_q \log P(x_0 | x_1)

    whose last term is the mass that the last step's Gaussian gives to each pixel's level. All T
    terms, or an unbiased estimate of their sum from a few times of each image, one in each of
    ``terms`` strata.

    A subclass gives :meth:`denoise` and a loss.

    Arguments:
        spec: the data set.
        schedule: of the noise.
        variance: sigma^2 of the reverse steps: ``beta``, that of the forward step; ``posterior``,
            that of q(x_{t-1}|x_t, x_0); or ``learned``, between them.
        label_dropout: share of the images whose label is hidden in training; guidance needs some.
        conditional: read labels.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.LOWER_BOUND
    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    family: ClassVar[str] = "diffusion"
    sums_classes: ClassVar[bool] = (
        # a noisy estimate of a bound of log P, whose exponential is above the bound on average
        False
    )

    beta: Tensor
    alpha_bar: Tensor
    noise: Tensor
    posterior_var: Tensor

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
        if variance not in VARIANCES:
            raise UserError(f"variance: unknown {variance!r}{near(variance, VARIANCES)}")
        if not 0 <= label_dropout < 1:
            raise UserError(f"label_dropout: must be a share in [0, 1), got {label_dropout}")
        if label_dropout and not self.conditional:
            raise UserError(
                "label_dropout: there are no labels to hide; set conditional: true, or leave it out"
            )
        self.steps, self.variance, self.label_dropout = (
            len(schedule.beta) - 1,
            variance,
            label_dropout,
        )
        for name in ("beta", "alpha_bar", "noise", "posterior_var"):
            self.register_buffer(name, getattr(schedule, name), persistent=False)

    @abstractmethod
    def denoise(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        """The network's estimate of the noise in x_t (B, 1, H, W) at times t (B,) in (0, 1], of the
        same shape.

        With a learned variance a second channel interpolates it: -1 stands for the posterior's, 1
        for that of the forward step. ``y`` holds the number of classes where a label is hidden.
        """

    # ------------------------------------------------------------------ the process and its reverse

    def _noised(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t (B, 1, H, W) of images in [-1, 1] at steps t (B,)."""
        return (
            square_root(_at(self.alpha_bar, t)).float() * x0
            + square_root(_at(self.noise, t)).float() * noise
        )

    def _noise(
        self, x_t: Tensor, t: Tensor, y: Tensor | None, guidance: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """The network's estimate of the noise, and the log-variance of the reverse step, (B, 1, H,
        W) each.
        """
        out = self.denoise(x_t, t / self.steps, y)
        noise = out[:, :1]
        if guidance:
            hidden = torch.full_like(y, self.spec.classes)  # type: ignore[arg-type]
            noise = noise + guidance * (noise - self.denoise(x_t, t / self.steps, hidden)[:, :1])
        upper = _at(self.beta, t).log()
        # The posterior's variance is 0 at step 1; the next one stands for it, as in the papers.
        lower = _at(self.posterior_var, t.clamp(min=2)).log()
        if self.variance == "learned":
            share = (out[:, 1:].double() + 1) / 2
            return noise, share * upper + (1 - share) * lower
        return noise, (upper if self.variance == "beta" else lower).expand_as(noise)

    def _mean(self, x_t: Tensor, t: Tensor, noise: Tensor, *, clip: bool = False) -> Tensor:
        """Mean of the reverse step, float64."""
        beta, spread = _at(self.beta, t), square_root(_at(self.noise, t))
        if clip:
            x0 = ((x_t - spread * noise) / square_root(_at(self.alpha_bar, t))).clamp(-1, 1)
            return self._posterior_mean(x0, x_t, t)
        return (x_t - beta / spread * noise) / square_root(1 - beta)

    def _posterior_mean(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0), float64."""
        beta = _at(self.beta, t)
        kept = (
            square_root(_at(self.alpha_bar, t - 1)) * beta * x0
            + square_root(1 - beta) * _at(self.noise, t - 1) * x_t
        )
        return kept / _at(self.noise, t)

    def _drawn(
        self, x0: Tensor, y: Tensor | None, rng: Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """For a loss: steps t (B,), evenly spread over the batch, noise, x_t, and labels, some of
        them hidden.
        """
        t = 1 + (spread(len(x0), rng=rng) * self.steps).long().clamp(max=self.steps - 1)
        if y is not None and self.label_dropout:
            y = torch.where(
                torch.rand(len(x0), generator=rng, device=x0.device) < self.label_dropout,
                self.spec.classes,
                y,
            )
        noise = torch.randn(x0.shape, generator=rng, device=x0.device)
        return t, noise, self._noised(x0, t, noise), y

    # ------------------------------------------------------------------ scoring

    def _term(
        self, x: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, noise: Tensor, log_var: Tensor
    ) -> Tensor:
        """The bound's term of step t, nats float64 (B,): a divergence, or at step 1 minus the
        log-probability of the levels.
        """
        mean = self._mean(x_t.double(), t, noise.double())
        true_mean, true_log_var = (
            self._posterior_mean(x0.double(), x_t.double(), t),
            _at(self.posterior_var, t.clamp(min=2)).log(),
        )
        log_var, last = log_var.double(), (t == 1).nonzero()[:, 0]
        divergence = normal_kl(true_mean, true_log_var, mean, log_var).flatten(1).sum(1)
        decoder = (
            -discretised_normal(x[last], mean[last], 0.5 * log_var[last], self.spec.levels)
            .flatten(1)
            .sum(1)
        )
        return divergence.index_copy(0, last, decoder)

    def _prior_term(self, x0: Tensor) -> Tensor:
        """KL(q(x_T | x_0) || N(0, I)), float64 (B,)."""
        mean, log_var = square_root(self.alpha_bar[-1]) * x0.double(), self.noise[-1].log()
        zero = torch.zeros((), dtype=torch.float64, device=x0.device)
        return normal_kl(mean, log_var, zero, zero).flatten(1).sum(1)

    @torch.no_grad()
    def log_likelihood(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, terms: int = 0
    ) -> Tensor:
        """The bound of log P(x), float64 (B,): all T terms with ``terms`` = 0, else an unbiased
        estimate of it from that many times of each image.
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        edges = self._strata(terms)
        x0 = self.spec.signed(x)
        total = -self._prior_term(x0)
        for first, end in itertools.pairwise(edges):
            t = torch.randint(first, end, (len(x),), generator=rng, device=x.device)
            x_t = self._noised(x0, t, torch.randn(x0.shape, generator=rng, device=x.device))
            total -= (end - first) * self._term(x, x0, x_t, t, *self._noise(x_t, t, y))
        return total

    @torch.no_grad()
    def bound_terms(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Mean nats of the bound's term of each step 1..T, then of the divergence at T, float64 (T
        + 1,).
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        x0, found = self.spec.signed(x), []
        for step in range(1, self.steps + 1):
            t = torch.full((len(x),), step, device=x.device)
            x_t = self._noised(x0, t, torch.randn(x0.shape, generator=rng, device=x.device))
            found.append(self._term(x, x0, x_t, t, *self._noise(x_t, t, y)).mean())
        return torch.stack([*found, self._prior_term(x0).mean()])

    def _strata(self, terms: int) -> list[int]:
        """Edges of the strata of steps: each step its own, or some that widen with the step, since
        the terms fall with it.
        """
        if not 0 <= terms <= self.steps:
            raise UserError(f"terms: must be 0 (all) to {self.steps}, got {terms}")
        if terms in (0, self.steps):
            return list(range(1, self.steps + 2))
        edges = [1]
        for i in range(1, terms + 1):
            even = 1 + round(self.steps * (i / terms) ** 2)
            edges.append(min(max(edges[-1] + 1, even), self.steps + 1 - (terms - i)))
        return edges

    def likelihood_passes(self, **options: Any) -> int:
        """One per term."""
        return len(self._strata(int(options.get("terms", 0)))) - 1

    # ------------------------------------------------------------------ sampling

    @torch.no_grad()
    def frames(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        rng: Generator,
        ddim_steps: int = 0,
        guidance: float = 0.0,
        clip: bool = False,
        precision: str = "float32",
    ) -> Iterator[Tensor]:
        """Some of the states of sampling, and at last the images."""
        self.check_count(n)
        self.check_labels(n, y)
        self._check_sampler(ddim_steps, guidance)
        check_precision(precision, where="precision")
        x = self.as_maps(self.prior(n, y, rng=rng))
        times = self._times(ddim_steps)
        shown = set(torch.linspace(0, len(times) - 2, min(FRAMES, len(times) - 1)).long().tolist())
        for i, (now, then) in enumerate(itertools.pairwise(times)):
            with autocast(precision, x.device):
                noise, log_var = self._noise(x, torch.full((n,), now, device=x.device), y, guidance)
            x = (
                self._ddim(x, noise, now, then, clip)
                if ddim_steps
                else self._ancestral(x, noise, log_var, now, clip, rng)
            )
            if i in shown and then:
                yield self._levels(x)
        yield self._levels(x)

    def sample(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        rng: Generator,
        ddim_steps: int = 0,
        guidance: float = 0.0,
        clip: bool = False,
        precision: str = "float32",
    ) -> Tensor:
        """Ancestral sampling through all T steps; the last one draws from the discretised decoder.

        Arguments:
            n: images.
            y: labels.
            rng: source of randomness.
            ddim_steps: steps of the deterministic sampler (DDIM) in place of it; 0 for ancestral
                sampling.
            guidance: weight of the difference that the label makes; needs a conditional model
                trained with ``label_dropout``.
            clip: clip the estimate of the image at every step.
            precision: of the network: ``float32``, ``bfloat16``, which is cheaper and not quite the
                scored one, or ``auto``, bfloat16 where it is native.
        """
        return deque(
            self.frames(
                n,
                y,
                rng=rng,
                ddim_steps=ddim_steps,
                guidance=guidance,
                clip=clip,
                precision=precision,
            ),
            maxlen=1,
        )[0]

    def describe_sampler(self, **options: object) -> tuple[str, bool]:
        """``ancestral``, or ``ddim-20`` with what else is changed."""
        name, matches = super().describe_sampler(
            **{k: v for k, v in options.items() if k != "ddim_steps"}
        )
        return (
            (f"ddim-{options['ddim_steps']}{name.removeprefix('ancestral')}", False)
            if options.get("ddim_steps")
            else (name, matches)
        )

    def _check_sampler(self, ddim_steps: int, guidance: float) -> None:
        if not 0 <= ddim_steps <= self.steps:
            raise UserError(f"ddim_steps: must be 0 (none) to {self.steps}, got {ddim_steps}")
        if not 0 <= guidance < math.inf:
            raise UserError(f"guidance: must be a number of at least 0, got {guidance}")
        if guidance and not self.conditional:
            raise UserError(
                "guidance: this entry is unconditional; guidance needs conditional: true and "
                "label_dropout above 0"
            )
        if guidance and not self.label_dropout:
            raise UserError(
                "guidance: this entry never saw hidden labels; train it with label_dropout above 0"
            )

    def _times(self, ddim_steps: int) -> list[int]:
        """Steps from T down to 0."""
        count = ddim_steps or self.steps
        return [round(self.steps * i / count) for i in range(count, -1, -1)]

    def _ancestral(
        self, x: Tensor, noise: Tensor, log_var: Tensor, now: int, clip: bool, rng: Generator
    ) -> Tensor:
        """A draw from the reverse step at ``now``; also at step 1, where rounding makes it one from
        the discretised decoder.
        """
        t = torch.full((len(x),), now, device=x.device)
        fresh = torch.randn(x.shape, generator=rng, device=x.device)
        return (
            self._mean(x.double(), t, noise.double(), clip=clip) + (0.5 * log_var).exp() * fresh
        ).float()

    def _ddim(self, x: Tensor, noise: Tensor, now: int, then: int, clip: bool = False) -> Tensor:
        """The deterministic step from ``now`` to ``then``, which may also lie later."""
        x0 = (x.double() - square_root(self.noise[now]) * noise) / square_root(self.alpha_bar[now])
        if clip:
            x0 = x0.clamp(-1, 1)
        return (
            square_root(self.alpha_bar[then]) * x0 + square_root(self.noise[then]) * noise
        ).float()

    def _levels(self, x: Tensor) -> Tensor:
        """(n, 1, H, W) in [-1, 1] to the nearest levels."""
        return (
            ((x + 1) / 2 * (self.spec.levels - 1))
            .round()
            .clamp(0, self.spec.levels - 1)
            .to(torch.uint8)
        )

    # ------------------------------------------------------------------ latents, by DDIM

    @torch.no_grad()
    def decode(
        self, z: Tensor, y: Tensor | None = None, *, rng: Generator, ddim_steps: int | None = None
    ) -> Tensor:
        """Images uint8 (n, 1, H, W) of latents (n, D) by the deterministic sampler, in 50 steps, or
        T if there are fewer, unless told.
        """
        self.check_latents(z, y)
        return self._levels(self._follow(self.as_maps(z), self._latent_times(ddim_steps), y))

    @torch.no_grad()
    def encode(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, ddim_steps: int | None = None
    ) -> Tensor:
        """Latents (B, D) that the deterministic sampler leads back to about these images, in as
        many steps.
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        return self._follow(self.spec.signed(x), self._latent_times(ddim_steps)[::-1], y).flatten(1)

    def _latent_times(self, ddim_steps: int | None) -> list[int]:
        if ddim_steps is None:
            return self._times(min(50, self.steps))
        if not 1 <= ddim_steps <= self.steps:
            raise UserError(f"ddim_steps: must be 1 to {self.steps}, got {ddim_steps}")
        return self._times(ddim_steps)

    def _follow(self, x: Tensor, times: Sequence[int], y: Tensor | None) -> Tensor:
        for now, then in itertools.pairwise(times):
            t = torch.full((len(x),), max(now, 1), device=x.device)  # the network knows no step 0
            x = self._ddim(x, self._noise(x, t, y)[0], now, then)
        return x


def _at(values: Tensor, t: Tensor) -> Tensor:
    """Values (T + 1,) at steps (B,), as (B, 1, 1, 1)."""
    return values[t][:, None, None, None]
