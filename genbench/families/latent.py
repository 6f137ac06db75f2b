"""Models with Gaussian latents: a diagonal Gaussian prior, a diagonal Gaussian posterior, pixels
independent given the latent.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from genbench.base import DataSpec, GenerativeModel, Likelihood, Step
from genbench.errors import UserError, check_positive
from genbench.families.chunks import chunks
from genbench.nn.autoencoder import from_cells, to_cells
from genbench.nn.conv import check_stages
from genbench.nn.gaussian import normal_kl
from genbench.nn.heads import make_head
from genbench.nn.vector_autoencoder import VectorDecoder, VectorEncoder

__all__ = ["LOG_STD_RANGE", "GaussianLatent"]

DECODE_CHUNK = 128
"""Images decoded at once outside training: their parameters stay in the processor's cache."""
ENCODE_CHUNK = 500
"""Images encoded at once for the diagnostics, which bounds the memory of a whole split."""
LOG_STD_RANGE = (-7.0, 2.0)
"""Of posteriors and learned priors, so that no density overflows: standard deviations from 0.0009,
far below what a decoder tells apart, to 7.4, far beyond the prior's 1.
"""
ACTIVE = 0.01
"""Variance of a posterior mean over the images, in units of the prior's, above which Burda et al.
call a unit active.
"""


class GaussianLatent(GenerativeModel):
    r"""Base of the variational autoencoders: bounds, sampling and latents. A subclass gives
    :meth:`prior_of`, and :meth:`make_prior` if its prior is learned.

    .. math::
        P(x \mid y) = \int P(x \mid z, y)\, p(z \mid y)\, dz, \qquad
        \log P(x \mid y) \ge \mathbb{E}_{z_k \sim q(z|x,y)}\left[
            \log \frac1K \sum_{k=1}^K
            \frac{P(x \mid z_k, y)\, p(z_k \mid y)}{q(z_k \mid x, y)} \right]

    Encoder and decoder read the labels if the class does.

    Arguments:
        spec: the images; height and width divisible by ``2 ** len(widths)``.
        latent: dimensions of z.
        widths: channels at half, quarter, ... resolution.
        hidden: width of the dense layers between feature maps and z.
        blocks: residual blocks at the lowest resolution, in the encoder and in the decoder.
        head: distribution of a pixel: bernoulli, categorical or logistic_mixture; by default
            bernoulli for 2 levels, else logistic_mixture.
        mixtures: components of the logistic mixture.
        beta: weight of the KL term in training; 1 is the bound that is scored.
        free_bits: nats of KL per latent dimension, averaged over a batch, that cost nothing in
            training.
        kl_warmup: share of the training over which the weight of the KL term rises from 0 to
            ``beta``.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.LOWER_BOUND
    family: ClassVar[str] = "variational"

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent: int = 32,
        widths: Sequence[int] = (32, 64),
        hidden: int = 256,
        blocks: int = 1,
        head: str | None = None,
        mixtures: int = 5,
        beta: float = 1.0,
        free_bits: float = 0.0,
        kl_warmup: float = 0.0,
    ) -> None:
        super().__init__(spec)
        check_stages(spec, widths)
        check_positive(latent=latent, hidden=hidden)
        for name, value in (("beta", beta), ("free_bits", free_bits)):
            if value < 0:
                raise UserError(f"{name}: must not be negative, got {value}")
        if not 0 <= kl_warmup <= 1:
            raise UserError(f"kl_warmup: must be a share in [0, 1], got {kl_warmup}")
        self.latent, self.beta, self.free_bits, self.kl_warmup = latent, beta, free_bits, kl_warmup
        self.head = make_head(head, spec.levels, mixtures=mixtures)
        classes = spec.classes if self.conditional else 0
        self.encoder = VectorEncoder(
            spec, 2 * latent, widths=widths, hidden=hidden, blocks=blocks, classes=classes
        )
        self.decoder = VectorDecoder(
            spec,
            latent,
            widths=widths,
            hidden=hidden,
            blocks=blocks,
            head=self.head,
            classes=classes,
        )
        self.prior_net = self.make_prior(hidden)

    # ------------------------------------------------------------------ the distributions

    def make_prior(self, hidden: int) -> nn.Module | None:
        """The network of a prior that is learned; None where it is fixed."""
        return None

    @abstractmethod
    def prior_of(self, y: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (n, latent) of p(z) or p(z|y)."""

    def posterior(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (B, latent) of q(z|x) or q(z|x,y) for images uint8 (B, 1,
        H, W).
        """
        mean, log_std = self.encoder(self.spec.signed(x), y).float().chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD_RANGE)

    def log_p_x_given_z(self, cells: Tensor, z: Tensor, y: Tensor | None) -> Tensor:
        """Log P(x|z) in nats, float64 (B,), of images cut by :func:`to_cells`, under latents (B,
        latent).
        """
        log_p = self.head.log_prob(self.decoder(z, y), cells)  # (B, H/2, W/2, 4)
        return log_p.flatten(1).sum(1, dtype=torch.float64)

    # ------------------------------------------------------------------ training and scoring

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """One-sample ELBO in nats per image, its KL term in closed form, less the free bits."""
        self.check_images(x)
        self.check_labels(len(x), y)
        mean, log_std = self.posterior(x, y)
        z = _draw(mean, log_std, rng=rng)
        rec_nats = -self.log_p_x_given_z(to_cells(x), z, y).mean()
        prior_mean, prior_log_std = self.prior_of(y, len(x))
        kl = normal_kl(mean, 2 * log_std, prior_mean, 2 * prior_log_std)  # (B, latent)
        kl_nats = kl.mean(0)
        # Free bits: what a dimension costs counts from there on only.
        charged = kl_nats.clamp(min=self.free_bits) if self.free_bits else kl_nats  # (latent,)
        warmed_up = min(1.0, progress / self.kl_warmup) if self.kl_warmup else 1.0
        weight = self.beta * warmed_up
        return Step(
            rec_nats + weight * charged.sum(),
            {"rec_nats": rec_nats.detach(), "kl_nats": kl_nats.detach().sum()},
        )

    @torch.no_grad()
    def log_likelihood(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, draws: int = 1
    ) -> Tensor:
        """Importance-weighted bound (B,) of log P(x), with ``draws`` = 1 the ELBO. Encodes once,
        decodes in chunks of a fixed size.
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        check_positive(draws=draws)
        mean, log_std = self.posterior(x, y)
        prior_mean, prior_log_std = self.prior_of(y, len(x))
        cells = to_cells(x)
        total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
        for _ in range(draws):
            noise = torch.randn(mean.shape, generator=rng, device=mean.device)
            z = mean + log_std.exp() * noise
            log_q = _log_density(noise, log_std)
            log_prior = _log_density((z - prior_mean) / prior_log_std.exp(), prior_log_std)
            log_weight = self._log_p_x(cells, z, y) + log_prior - log_q
            total = torch.logaddexp(total, log_weight)
        return total - math.log(draws)

    def _log_p_x(self, cells: Tensor, z: Tensor, y: Tensor | None) -> Tensor:
        """:meth:`log_p_x_given_z` in chunks."""
        parts = zip(cells.split(DECODE_CHUNK), chunks(z, y, DECODE_CHUNK), strict=True)
        return torch.cat([self.log_p_x_given_z(cells_, z_, y_) for cells_, (z_, y_) in parts])

    @torch.no_grad()
    def diagnostics(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> dict[str, float]:
        """``rate_nats``, the mean KL term, ``distortion_nats``, the mean of -log P(x|z), whose sum
        is the bound of one draw, and ``active_units``.

        A unit is active if its posterior mean, in standard deviations of the prior from the prior's
        mean, has a variance above 0.01 over the images (Burda, Grosse, Salakhutdinov, "Importance
        Weighted Autoencoders", 2016, section 5.2). Rate and distortion: Alemi et al., "Fixing a
        Broken ELBO", 2018, https://arxiv.org/abs/1711.00464.
        """
        shifts, rate, distortion = [], 0.0, 0.0
        for images, labels in chunks(x, y, ENCODE_CHUNK):
            mean, log_std = self.posterior(images, labels)
            prior_mean, prior_log_std = self.prior_of(labels, len(mean))
            z = _draw(mean, log_std, rng=rng)
            kl_nats = normal_kl(mean, 2 * log_std, prior_mean, 2 * prior_log_std)
            rate += kl_nats.sum(dtype=torch.float64).item()
            distortion -= self._log_p_x(to_cells(images), z, labels).sum().item()
            shifts.append((mean - prior_mean) / prior_log_std.exp())
        active = (torch.cat(shifts).double().var(0, correction=0) > ACTIVE).sum()
        return {
            "rate_nats": rate / len(x),
            "distortion_nats": distortion / len(x),
            "active_units": float(active),
        }

    # ------------------------------------------------------------------ sampling and latents

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """A latent from the prior, then pixels from P(x|z), never its mean."""
        return self.decode(self.prior(n, y, rng=rng), y, rng=rng)

    @torch.no_grad()
    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Latents (n, latent) from the prior."""
        self.check_count(n)
        self.check_labels(n, y)
        mean, log_std = self.prior_of(y, n)
        return mean + log_std.exp() * torch.randn(n, self.latent, generator=rng, device=rng.device)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Pixels drawn from P(x|z), uint8 (n, 1, H, W)."""
        self.check_labels(len(z), y)
        if z.shape[1:] != (self.latent,):
            raise ValueError(f"z: shape must be (n, {self.latent}), got {tuple(z.shape)}")
        parameters = [self.decoder(*part) for part in chunks(z, y, DECODE_CHUNK)]
        return from_cells(torch.cat([self.head.sample(part, rng=rng) for part in parameters]))

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Latents (B, latent) drawn from q(z|x)."""
        self.check_images(x)
        self.check_labels(len(x), y)
        mean, log_std = self.posterior(x, y)
        return _draw(mean, log_std, rng=rng)


def _draw(mean: Tensor, log_std: Tensor, *, rng: Generator) -> Tensor:
    """A point of N(mean, std^2), through which the gradient passes to both."""
    return mean + log_std.exp() * torch.randn(mean.shape, generator=rng, device=mean.device)


def _log_density(noise: Tensor, log_std: Tensor) -> Tensor:
    """Log density, less a constant, in float64 (B,), of the point at ``noise`` standard deviations
    from the mean.
    """
    return -(log_std.double() + 0.5 * noise.double().square()).sum(1)
