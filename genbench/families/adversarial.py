"""Generative adversarial networks: two networks trained against each other, in two phases of every
step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Generator as Rng
from torch import Tensor, nn

from genbench.base import DataSpec, GenerativeModel, Likelihood, Phase, Step
from genbench.errors import UserError, check_positive
from genbench.nn.batch_norm_statistics import estimate_statistics

__all__ = ["Adversarial"]

SAMPLE_CHUNK = 250
"""Images generated at once, to bound memory."""


class Adversarial(GenerativeModel):
    """Base of the adversarial networks: phases, sampling and latents. A subclass gives the two
    losses.

    Arguments:
        spec: the data set.
        latent: dimensions of the standard normal z.
        generator: (z (B, latent), y) to images (B, 1, H, W) in [-1, 1].
        discriminator: (images, y) to logits (B,).
        conditional: both networks read labels.
        disc_steps: steps of the discriminator for one of the generator.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.NONE
    family: ClassVar[str] = "adversarial"
    sampler_name: ClassVar[str] = "generator"

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent: int,
        generator: nn.Module,
        discriminator: nn.Module,
        conditional: bool = False,
        disc_steps: int = 1,
    ) -> None:
        super().__init__(spec, conditional=conditional)
        check_positive(disc_steps=disc_steps)
        self.latent, self.disc_steps = latent, disc_steps
        self.generator, self.discriminator = generator, discriminator

    # ------------------------------------------------------------------ what a subclass gives

    @abstractmethod
    def disc_objective(self, real_logit: Tensor, fake_logit: Tensor) -> Tensor:
        """Loss of the discriminator, from its logits (B,) of real and of generated images."""

    @abstractmethod
    def gen_objective(self, fake_logit: Tensor) -> Tensor:
        """Loss of the generator, from the discriminator's logits (B,) of its images."""

    # ------------------------------------------------------------------ training

    @torch.no_grad()
    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Rng) -> None:
        """Batch-norm statistics of the fresh generator: with the default ones its small weights
        drown z before training. Images are not used.
        """
        labels = None if y is None else y[:SAMPLE_CHUNK]
        z = self._noise(SAMPLE_CHUNK if labels is None else len(labels), rng)
        training = self.generator.training
        estimate_statistics(self.generator, [lambda: self.generator(z, labels)])
        self.generator.train(training)

    def phases(self) -> Sequence[Phase]:
        """Steps of the discriminator, then one of the generator."""
        disc, gen = list(self.discriminator.parameters()), list(self.generator.parameters())
        return [
            Phase("disc", disc, self.disc_loss, repeats=self.disc_steps),
            Phase("gen", gen, self.gen_loss),
        ]

    def disc_loss(self, x: Tensor, y: Tensor | None, *, rng: Rng, progress: float) -> Step:
        """How badly real and generated images are told apart; each kind is a batch by itself for
        batch norm.
        """
        self._check_batch(x, y)
        with torch.no_grad():
            fake = self.generator(self._noise(len(x), rng), y)
        real_logit = self.discriminator(self.spec.signed(x), y)
        fake_logit = self.discriminator(fake, y)
        logs = {"real": real_logit.detach().mean(), "fake": fake_logit.detach().mean()}
        return Step(self.disc_objective(real_logit, fake_logit), logs)

    def gen_loss(self, x: Tensor, y: Tensor | None, *, rng: Rng, progress: float) -> Step:
        """How well the discriminator tells as many generated images as ``x`` has."""
        self._check_batch(x, y)
        fake = self.generator(self._noise(len(x), rng), y)
        fake_logit = self.discriminator(fake, y)
        return Step(self.gen_objective(fake_logit), {"fake": fake_logit.detach().mean()})

    # ------------------------------------------------------------- likelihood, sampling and latents

    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Rng) -> Tensor:
        """There is none.

        Raises:
            NotImplementedError: always; says why.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no likelihood: its generator maps the latents onto a thin "
            "set of images, and gives a test image that is not on it the probability 0; compare it "
            "by FID and Inception Score"
        )

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Rng) -> Tensor:
        """Generated images of latents from the prior, each pixel rounded to the nearest level."""
        return self.decode(self.prior(n, y, rng=rng), y, rng=rng)

    def prior(self, n: int, y: Tensor | None = None, *, rng: Rng) -> Tensor:
        """Standard normal latents (n, latent)."""
        self.check_count(n)
        self.check_labels(n, y)
        return self._noise(n, rng)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Rng) -> Tensor:
        """Generated images uint8 (n, 1, H, W) of latents; deterministic given z."""
        self.check_labels(len(z), y)
        if z.shape[1:] != (self.latent,):
            raise ValueError(f"z: shape must be (n, {self.latent}), got {tuple(z.shape)}")
        parts = [slice(begin, begin + SAMPLE_CHUNK) for begin in range(0, len(z), SAMPLE_CHUNK)]
        images = [self.generator(z[part], None if y is None else y[part]) for part in parts]
        return self.spec.from_signed(torch.cat(images).float())

    def _check_batch(self, x: Tensor, y: Tensor | None) -> None:
        self.check_images(x)
        self.check_labels(len(x), y)
        if self.training and len(x) < 2:
            raise UserError(
                f"batch_size: {type(self).__name__} normalises over a batch and needs at least 2 "
                f"images, got {len(x)}"
            )

    def _noise(self, n: int, rng: Rng) -> Tensor:
        return torch.randn(n, self.latent, generator=rng, device=rng.device)
