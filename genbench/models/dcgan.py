"""Deep convolutional generative adversarial network with the non-saturating loss."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Generator as Rng
from torch import Tensor, nn
from torch.nn import functional as F

from genbench.base import DataSpec, GenerativeModel, Likelihood, Phase, Step
from genbench.batch_norm import estimate_statistics
from genbench.errors import check_positive
from genbench.nn.conv import check_stages

__all__ = ["DCGAN"]

SAMPLE_CHUNK = 250  # images generated at once


class Generator(nn.Module):
    """Latents (B, latent) to images (B, 1, H, W) in [-1, 1], doubling the resolution by transposed convolutions."""

    def __init__(self, spec: DataSpec, latent: int, widths: Sequence[int], hidden: int) -> None:
        super().__init__()
        size = (spec.height // 2 ** len(widths), spec.width // 2 ** len(widths))
        top = widths[-1]
        layers: list[nn.Module] = [nn.Linear(latent, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
        layers += [nn.Linear(hidden, top * size[0] * size[1], bias=False), nn.Unflatten(1, (top, *size))]
        for inputs, outputs in itertools.pairwise(widths[::-1]):
            layers += [nn.BatchNorm2d(inputs), nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.ConvTranspose2d(widths[0], 1, 4, stride=2, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class Discriminator(nn.Module):
    """Images (B, 1, H, W) in [-1, 1] to the logit (B,) of being real, halving the resolution by strided convolutions."""

    def __init__(self, spec: DataSpec, widths: Sequence[int], hidden: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
        cells = spec.dims // 4 ** len(widths)
        layers += [nn.Flatten(), nn.Linear(widths[-1] * cells, hidden, bias=False), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[:, 0].float()


class DCGAN(GenerativeModel):
    r"""Generative adversarial network: a generator G(z) learns against a discriminator with logit D(x).

    .. math:: \min_D \; \mathbb{E}_x[\mathrm{softplus}(-D(x))] + \mathbb{E}_z[\mathrm{softplus}(D(G(z)))], \qquad
        \min_G \; \mathbb{E}_z[\mathrm{softplus}(-D(G(z)))], \qquad z \sim \mathcal{N}(0, I)

    The second is the non-saturating loss: where the discriminator is sure, the generator still gets a gradient. The images have no
    likelihood: G maps onto a thin set, on which a probability of a given test image is not defined.

    References:
        Generative Adversarial Nets, Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661
        Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks, Radford, Metz, Chintala, 2016,
        https://arxiv.org/abs/1511.06434

    Differs: two stages do for 28 x 28 images; one dense hidden layer in each network stands for the stages left out, since without it the
    discriminator sees no more than 10 x 10 pixels at once and judges strokes, not digits. Gaussian instead of uniform latents.

    Arguments:
        spec: the data set; height and width divisible by ``2 ** len(widths)``.
        latent: dimensions of z.
        widths: channels at half, quarter, ... resolution, of both networks.
        hidden: width of the dense hidden layer of both networks.

    Example:
        >>> model = DCGAN(DataSpec(28, 28, 256), widths=(8, 16)).eval()
        >>> model.sample(3, rng=Rng().manual_seed(0)).shape
        torch.Size([3, 1, 28, 28])
    """

    likelihood: ClassVar = Likelihood.NONE
    family: ClassVar = "adversarial"
    sampler_name: ClassVar = "generator"
    tiny_specs: ClassVar = (
        (DataSpec(2, 4, 2), {"latent": 4, "widths": [8], "hidden": 16}),
        (DataSpec(2, 2, 4), {"latent": 4, "widths": [8], "hidden": 16}),
    )

    def __init__(self, spec: DataSpec, *, latent: int = 64, widths: Sequence[int] = (32, 64), hidden: int = 256) -> None:
        super().__init__(spec)
        check_stages(spec, widths)
        check_positive(latent=latent)
        self.latent = latent
        self.generator = Generator(spec, latent, widths, hidden)
        self.discriminator = Discriminator(spec, widths, hidden)
        self.apply(init_weights)

    # ------------------------------------------------------------------ training

    @torch.no_grad()
    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Rng) -> None:
        """Batch-norm statistics of the fresh generator: with the default ones its small weights drown z before training. Data is not used."""
        z, training = self.prior(SAMPLE_CHUNK, rng=rng), self.generator.training
        estimate_statistics(self.generator, [lambda: self.generator(z)])
        self.generator.train(training)

    def phases(self) -> Sequence[Phase]:
        """One step of the discriminator, then one of the generator."""
        return [
            Phase("disc", list(self.discriminator.parameters()), self.disc_loss),
            Phase("gen", list(self.generator.parameters()), self.gen_loss),
        ]

    def disc_loss(self, x: Tensor, y: Tensor | None, *, rng: Rng, progress: float) -> Step:
        """Cross-entropy of telling real from generated images; each kind is its own batch for batch norm, as in the paper."""
        self.check_images(x)
        self.check_labels(len(x), y)
        with torch.no_grad():
            fake = self.generator(self.prior(len(x), rng=rng))
        real_logit = self.discriminator(self.spec.signed(x))
        fake_logit = self.discriminator(fake)
        loss = F.softplus(-real_logit).mean() + F.softplus(fake_logit).mean()
        return Step(loss, {"real": real_logit.detach().sigmoid().mean(), "fake": fake_logit.detach().sigmoid().mean()})

    def gen_loss(self, x: Tensor, y: Tensor | None, *, rng: Rng, progress: float) -> Step:
        """Non-saturating loss of as many generated images as ``x`` has."""
        self.check_images(x)
        self.check_labels(len(x), y)
        fake_logit = self.discriminator(self.generator(self.prior(len(x), rng=rng)))
        return Step(F.softplus(-fake_logit).mean(), {"fake": fake_logit.detach().sigmoid().mean()})

    # ------------------------------------------------------------------ sampling and latents

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Rng) -> Tensor:
        """Generated images of latents from the prior, each pixel rounded to the nearest level."""
        return self.decode(self.prior(n, y, rng=rng), y, rng=rng)

    def prior(self, n: int, y: Tensor | None = None, *, rng: Rng) -> Tensor:
        """Standard normal latents (n, latent)."""
        self.check_count(n)
        self.check_labels(n, y)
        return torch.randn(n, self.latent, generator=rng, device=rng.device)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Rng) -> Tensor:
        """Generated images uint8 (n, 1, H, W) of latents; deterministic given z."""
        self.check_labels(len(z), y)
        if z.shape[1:] != (self.latent,):
            raise ValueError(f"z: shape must be (n, {self.latent}), got {tuple(z.shape)}")
        unit = torch.cat([self.generator(part) for part in z.split(SAMPLE_CHUNK)]).float().add(1).mul(0.5)
        return (unit * (self.spec.levels - 1)).round().to(torch.uint8)


def init_weights(module: nn.Module) -> None:
    """Initialisation of the paper: weights N(0, 0.02^2), batch-norm gains N(1, 0.02^2), biases 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
