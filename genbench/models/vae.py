"""Variational autoencoder with a convolutional encoder and decoder."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from genbench.base import DataSpec, GenerativeModel, Likelihood, Step
from genbench.errors import check_positive
from genbench.nn.conv import check_stages, conv3x3
from genbench.nn.heads import make_head

__all__ = ["VAE"]

DECODE_CHUNK = 128  # images decoded at once when scoring: their parameters stay in the processor's cache
LOG_STD_RANGE = (-7.0, 2.0)


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))), images (B, C, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv3x3(width, width)
        self.last = conv3x3(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(F.relu(self.first(F.relu(x))))


class Encoder(nn.Module):
    """Images (B, 1, H, W) in [-1, 1] to means and log standard deviations (B, 2 * latent)."""

    def __init__(self, spec: DataSpec, latent: int, widths: Sequence[int], hidden: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, width in zip([1, *widths[:-1]], widths, strict=True):
            layers += [nn.PixelUnshuffle(2), conv3x3(4 * inputs, width), nn.ReLU()]
        layers += [Residual(widths[-1]) for _ in range(blocks)]
        cells = spec.dims // 4 ** len(widths)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * cells, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Decoder(nn.Module):
    """Latents (B, latent) to pixel parameters (B, H/2, W/2, 4, K), the four pixels of each 2 x 2 cell together.

    The last layer works at half resolution and puts out four pixels at once: a quarter of the work, and no full-size feature map.
    """

    def __init__(self, spec: DataSpec, latent: int, widths: Sequence[int], hidden: int, blocks: int, bias: Tensor) -> None:
        super().__init__()
        self.size = (spec.height // 2 ** len(widths), spec.width // 2 ** len(widths))
        self.dense = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, widths[-1] * self.size[0] * self.size[1]))
        layers: list[nn.Module] = [Residual(widths[-1]) for _ in range(blocks)]
        for inputs, outputs in itertools.pairwise(widths[::-1]):
            layers += [nn.ReLU(), nn.Conv2d(inputs, 4 * outputs, 1), nn.PixelShuffle(2), nn.ReLU(), conv3x3(outputs, outputs)]
        out = nn.Conv2d(widths[0], 4 * len(bias), 1)
        out.bias = nn.Parameter(bias.repeat(4))
        self.layers = nn.Sequential(*layers, nn.ReLU(), out)

    def forward(self, z: Tensor) -> Tensor:
        features = self.dense(z).view(len(z), *self.size, -1).permute(0, 3, 1, 2)  # channels last in memory, the faster layout here
        return self.layers(features).permute(0, 2, 3, 1).unflatten(3, (4, -1))


class VAE(GenerativeModel):
    r"""Variational autoencoder, :math:`P(x) = \int P(x \mid z)\, \mathcal{N}(z; 0, I)\, dz`, pixels independent given z.

    Training maximises the evidence lower bound with one sample, scoring uses the tighter importance-weighted bound with K draws:

    .. math:: \mathbb{E}_{q(z|x)}[\log P(x \mid z)] - \mathrm{KL}(q(z \mid x) \,\|\, p(z)) \le
        \mathbb{E}_{z_k \sim q(z|x)}\left[\log \frac1K \sum_{k=1}^K \frac{P(x \mid z_k)\, p(z_k)}{q(z_k \mid x)}\right] \le \log P(x)

    where :math:`q(z \mid x)` is a diagonal Gaussian whose mean and log standard deviation the encoder puts out.

    References:
        Auto-Encoding Variational Bayes, Kingma, Welling, 2014, https://arxiv.org/abs/1312.6114
        Importance Weighted Autoencoders, Burda, Grosse, Salakhutdinov, 2016, https://arxiv.org/abs/1509.00519

    Differs: convolutional networks, a discretised logistic mixture for 8-bit pixels, the log standard deviation kept in [-7, 2].

    Arguments:
        spec: the data set; height and width divisible by ``2 ** len(widths)``.
        latent: dimensions of z.
        widths: channels at half, quarter, ... resolution.
        hidden: width of the dense layers between feature maps and z.
        blocks: residual blocks at the lowest resolution, in the encoder and in the decoder.
        head: pixel distribution, see :func:`genbench.nn.heads.make_head`; by default bernoulli for 2 levels, else logistic_mixture.
        mixtures: components of a logistic mixture.

    Example:
        >>> model = VAE(DataSpec(28, 28, 256), latent=8)
        >>> rng = Generator().manual_seed(0)
        >>> model.log_likelihood(model.sample(3, rng=rng), rng=rng, draws=16).shape
        torch.Size([3])
    """

    likelihood: ClassVar = Likelihood.LOWER_BOUND
    family: ClassVar = "variational"
    tiny_specs: ClassVar = (
        (DataSpec(2, 4, 2), {"latent": 2, "widths": [8], "hidden": 16}),
        (DataSpec(2, 2, 4, 3), {"latent": 2, "widths": [8], "hidden": 16, "mixtures": 2}),
        (DataSpec(2, 2, 4), {"latent": 2, "widths": [8], "hidden": 16, "head": "categorical"}),
    )

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
    ) -> None:
        super().__init__(spec)
        check_stages(spec, widths)
        check_positive(latent=latent)
        self.latent = latent
        self.head = make_head(head or ("bernoulli" if spec.levels == 2 else "logistic_mixture"), spec.levels, mixtures=mixtures)
        self.encoder = Encoder(spec, latent, widths, hidden, blocks)
        self.decoder = Decoder(spec, latent, widths, hidden, blocks, self.head.initial_bias())

    # ------------------------------------------------------------------ the two networks

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (B, latent) of q(z|x) for images uint8 (B, 1, H, W)."""
        mean, log_std = self.encoder(self.spec.signed(x)).float().chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD_RANGE)

    def log_p_x_given_z(self, cells: Tensor, z: Tensor) -> Tensor:
        """Log P(x|z) in nats (B,), summed in float64, of images cut by :func:`to_cells`, under latents (B, latent)."""
        return self.head.log_prob(self.decoder(z), cells).flatten(1).sum(1, dtype=torch.float64)

    # ------------------------------------------------------------------ training and scoring

    def training_loss(self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float) -> Step:
        """One-sample ELBO, its KL term in closed form."""
        self.check_images(x)
        self.check_labels(len(x), y)
        mean, log_std = self.posterior(x)
        z = mean + log_std.exp() * torch.randn(mean.shape, generator=rng, device=mean.device)
        rec_nats = -self.log_p_x_given_z(to_cells(x), z).mean()
        kl_nats = kl_to_standard_normal(mean, log_std).mean()
        return Step(rec_nats + kl_nats, {"rec_nats": rec_nats.detach(), "kl_nats": kl_nats.detach()})

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator, draws: int = 1) -> Tensor:
        """Importance-weighted bound (B,) of log P(x), with ``draws`` = 1 the ELBO. Encodes once, decodes in chunks of a fixed size."""
        self.check_images(x)
        self.check_labels(len(x), y)
        if draws < 1:
            raise ValueError(f"draws: must be at least 1, got {draws}")
        mean, log_std = self.posterior(x)
        cells = to_cells(x)
        total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
        for _ in range(draws):
            noise = torch.randn(mean.shape, generator=rng, device=mean.device)
            total = torch.logaddexp(total, self.log_weight(cells, mean, log_std, noise))
        return total - math.log(draws)

    def log_weight(self, cells: Tensor, mean: Tensor, log_std: Tensor, noise: Tensor) -> Tensor:
        """Log P(x|z) p(z) / q(z|x) in nats, float64 (B,), at z = mean + std * noise."""
        z = mean + log_std.exp() * noise
        parts = zip(cells.split(DECODE_CHUNK), z.split(DECODE_CHUNK), strict=True)
        log_p_x = torch.cat([self.log_p_x_given_z(*part) for part in parts])
        log_ratio = log_std.double() + 0.5 * (noise.double().square() - z.double().square())
        return log_p_x.double() + log_ratio.sum(1)

    # ------------------------------------------------------------------ sampling and latents

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """A latent from the prior, then pixels from P(x|z), never its mean."""
        return self.decode(self.prior(n, y, rng=rng), y, rng=rng)

    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Standard normal latents (n, latent)."""
        self.check_count(n)
        self.check_labels(n, y)
        return torch.randn(n, self.latent, generator=rng, device=rng.device)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Pixels drawn from P(x|z), uint8 (n, 1, H, W)."""
        self.check_labels(len(z), y)
        if z.shape[1:] != (self.latent,):
            raise ValueError(f"z: shape must be (n, {self.latent}), got {tuple(z.shape)}")
        cells = torch.cat([self.head.sample(self.decoder(part), rng=rng) for part in z.split(DECODE_CHUNK)])
        return F.pixel_shuffle(cells.permute(0, 3, 1, 2), 2)

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Latents (B, latent) drawn from q(z|x)."""
        self.check_images(x)
        self.check_labels(len(x), y)
        mean, log_std = self.posterior(x)
        return mean + log_std.exp() * torch.randn(mean.shape, generator=rng, device=mean.device)


def to_cells(x: Tensor) -> Tensor:
    """Images (B, 1, H, W) as their 2 x 2 cells (B, H/2, W/2, 4), the order in which the decoder puts out pixels."""
    return F.pixel_unshuffle(x, 2).permute(0, 2, 3, 1).contiguous()


def kl_to_standard_normal(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, I)) in nats (B,), means and log standard deviations (B, latent)."""
    return 0.5 * (mean.square() + (2 * log_std).exp() - 2 * log_std - 1).sum(-1)
