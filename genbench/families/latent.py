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
from genbench.nn.autoencoder import Down, Up, from_cells, to_cells
from genbench.nn.conv import check_stages
from genbench.nn.heads import Head, make_head

__all__ = ["GaussianLatent", "kl_divergence"]

DECODE_CHUNK = (
    128  # images decoded at once when scoring: their parameters stay in the processor's cache
)
ENCODE_CHUNK = 500
LOG_STD_RANGE = (-7.0, 2.0)
# nats^0: variance of a posterior mean over images above which Burda et al., 2016, call a unit
# active
ACTIVE = 0.01


class GaussianLatent(GenerativeModel):
    r"""Base of the variational autoencoders: bounds, sampling and latents. A subclass gives
    :meth:`prior_of`.

    .. math:: P(x \mid y) = \int P(x \mid z, y)\, p(z \mid y)\, dz, \qquad
        \log P(x \mid y) \ge \mathbb{E}_{z_k \sim q(z|x,y)}\left[\log \frac1K \sum_{k=1}^K \frac{P(x \mid z_k, y)\, p(z_k \mid y)}{q(z_k \mid x, y)}\right]

    Arguments:
        spec: the data set; height and width divisible by ``2 ** len(widths)``.
        conditional: encoder and decoder read labels.
        latent: dimensions of z.
        widths: channels at half, quarter, ... resolution.
        hidden: width of the dense layers between feature maps and z.
        blocks: residual blocks at the lowest resolution, in the encoder and in the decoder.
        head: pixel distribution, see :func:`genbench.nn.heads.make_head`; by default bernoulli for
            2 levels, else logistic_mixture.
        mixtures: components of a logistic mixture.
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
        conditional: bool,
        latent: int,
        widths: Sequence[int],
        hidden: int,
        blocks: int,
        head: str | None,
        mixtures: int,
        beta: float,
        free_bits: float,
        kl_warmup: float,
    ) -> None:
        super().__init__(spec, conditional=conditional)
        check_stages(spec, widths)
        check_positive(latent=latent, hidden=hidden)
        for name, value in (("beta", beta), ("free_bits", free_bits)):
            if value < 0:
                raise UserError(f"{name}: must not be negative, got {value}")
        if not 0 <= kl_warmup <= 1:
            raise UserError(f"kl_warmup: must be a share in [0, 1], got {kl_warmup}")
        self.latent, self.beta, self.free_bits, self.kl_warmup = latent, beta, free_bits, kl_warmup
        self.head = make_head(head, spec.levels, mixtures=mixtures)
        self.encoder = _Encoder(spec, latent, widths, hidden, blocks, conditional=self.conditional)
        self.decoder = _Decoder(
            spec, latent, widths, hidden, blocks, self.head, conditional=self.conditional
        )

    # ------------------------------------------------------------------ the distributions

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
        return self.head.log_prob(self.decoder(z, y), cells).flatten(1).sum(1, dtype=torch.float64)

    # ------------------------------------------------------------------ training and scoring

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """One-sample ELBO, its KL term in closed form, less the free bits."""
        self.check_images(x)
        self.check_labels(len(x), y)
        mean, log_std = self.posterior(x, y)
        z = mean + log_std.exp() * torch.randn(mean.shape, generator=rng, device=mean.device)
        rec_nats = -self.log_p_x_given_z(to_cells(x), z, y).mean()
        kl_nats = kl_divergence(mean, log_std, *self.prior_of(y, len(x))).mean(0)
        charged = kl_nats.clamp(min=self.free_bits).sum() if self.free_bits else kl_nats.sum()
        weight = self.beta * (min(1.0, progress / self.kl_warmup) if self.kl_warmup else 1.0)
        return Step(
            rec_nats + weight * charged,
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
        prior = self.prior_of(y, len(x))
        cells = to_cells(x)
        total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
        for _ in range(draws):
            noise = torch.randn(mean.shape, generator=rng, device=mean.device)
            z = mean + log_std.exp() * noise
            log_p_z = _log_density((z - prior[0]) / prior[1].exp(), prior[1])
            total = torch.logaddexp(
                total, self._log_p_x(cells, z, y) + log_p_z - _log_density(noise, log_std)
            )
        return total - math.log(draws)

    def _log_p_x(self, cells: Tensor, z: Tensor, y: Tensor | None) -> Tensor:
        return torch.cat(
            [
                self.log_p_x_given_z(cells[part], z[part], None if y is None else y[part])
                for part in _parts(len(z))
            ]
        )

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
        for begin in range(0, len(x), ENCODE_CHUNK):
            images = x[begin : begin + ENCODE_CHUNK]
            labels = None if y is None else y[begin : begin + ENCODE_CHUNK]
            mean, log_std = self.posterior(images, labels)
            prior = self.prior_of(labels, len(mean))
            z = mean + log_std.exp() * torch.randn(mean.shape, generator=rng, device=mean.device)
            rate += kl_divergence(mean, log_std, *prior).sum(dtype=torch.float64).item()
            distortion -= self._log_p_x(to_cells(images), z, labels).sum().item()
            shifts.append((mean - prior[0]) / prior[1].exp())
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
        params = [self.decoder(z[part], None if y is None else y[part]) for part in _parts(len(z))]
        return from_cells(torch.cat([self.head.sample(part, rng=rng) for part in params]))

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Latents (B, latent) drawn from q(z|x)."""
        self.check_images(x)
        self.check_labels(len(x), y)
        mean, log_std = self.posterior(x, y)
        return mean + log_std.exp() * torch.randn(mean.shape, generator=rng, device=mean.device)


class _Encoder(nn.Module):
    """Images (B, 1, H, W) in [-1, 1] and labels (B,) to means and log standard deviations (B, 2 *
    latent).
    """

    def __init__(
        self,
        spec: DataSpec,
        latent: int,
        widths: Sequence[int],
        hidden: int,
        blocks: int,
        *,
        conditional: bool,
    ) -> None:
        super().__init__()
        self.down = Down(widths, blocks)
        self.dense = nn.Linear(widths[-1] * spec.dims // 4 ** len(widths), hidden)
        self.labels = nn.Embedding(spec.classes, hidden) if conditional else None
        self.out = nn.Linear(hidden, 2 * latent)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.dense(self.down(x).flatten(1))
        return self.out(torch.relu(h if self.labels is None else h + self.labels(y)))


class _Decoder(nn.Module):
    """Latents (B, latent) and labels (B,) to pixel parameters (B, H/2, W/2, 4, K)."""

    def __init__(
        self,
        spec: DataSpec,
        latent: int,
        widths: Sequence[int],
        hidden: int,
        blocks: int,
        head: Head,
        *,
        conditional: bool,
    ) -> None:
        super().__init__()
        self.size = (spec.height // 2 ** len(widths), spec.width // 2 ** len(widths))
        self.first = nn.Linear(latent, hidden)
        self.labels = nn.Embedding(spec.classes, hidden) if conditional else None
        self.dense = nn.Linear(hidden, widths[-1] * self.size[0] * self.size[1])
        self.up = Up(widths, blocks, head)

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        h = self.first(z)
        h = self.dense(torch.relu(h if self.labels is None else h + self.labels(y)))
        return self.up(
            h.view(len(z), *self.size, -1).permute(0, 3, 1, 2)
        )  # channels last in memory, the faster layout here


def _parts(n: int) -> list[slice]:
    return [slice(begin, begin + DECODE_CHUNK) for begin in range(0, n, DECODE_CHUNK)]


def kl_divergence(
    mean: Tensor, log_std: Tensor, prior_mean: Tensor, prior_log_std: Tensor
) -> Tensor:
    """KL(N(mean, std^2) || N(prior_mean, prior_std^2)) in nats per dimension, all shapes (B,
    latent).
    """
    ratio = 2 * (log_std - prior_log_std)
    return 0.5 * (((mean - prior_mean) / prior_log_std.exp()).square() + ratio.exp() - ratio - 1)


def _log_density(noise: Tensor, log_std: Tensor) -> Tensor:
    """Log density, less a constant, in float64 (B,), of the point at ``noise`` standard deviations
    from the mean.
    """
    return -(log_std.double() + 0.5 * noise.double().square()).sum(1)
