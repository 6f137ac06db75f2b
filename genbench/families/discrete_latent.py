"""Models whose latents are a grid of discrete codes: an autoencoder around a codebook, and an
autoregressive prior over the grid.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from genbench.base import DataSpec, GenerativeModel, Likelihood
from genbench.families.autoregressive import Autoregressive
from genbench.families.chunks import chunks
from genbench.nn.autoencoder import from_cells, to_cells
from genbench.nn.codebook import Codebook
from genbench.nn.head import Head

__all__ = ["CHUNK", "DiscreteLatent"]

CHUNK = 250
"""Images encoded or decoded at once outside training: as many as the protocol scores at once."""


class DiscreteLatent(GenerativeModel):
    r"""Base of the models with discrete codes k: bound, sampling and codes. A subclass makes the
    parts below, and trains them.

    .. math:: P(x) = \sum_k P(k)\, P(x \mid k) \ge P(k(x))\, P(x \mid k(x))

    The scored bound is one term of the sum, that of the encoder's own codes k(x). Shapes: h and w
    are height and width of the grid.

    Attributes:
        grid: a grid of codes as the image that it is for the prior.
        head: distribution of a pixel.
        encoder: images (B, 1, H, W) in [-1, 1] to outputs (B, size, h, w).
        codebook: these to codes (B, 1, h, w), and codes to vectors (B, size, h, w).
        decoder: vectors to pixel parameters (B, H/2, W/2, 4, K).
        code_prior: P(k), or P(k|y) in a conditional model.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.LOWER_BOUND
    family: ClassVar[str] = "variational"

    grid: DataSpec
    head: Head
    encoder: nn.Module
    codebook: Codebook
    decoder: nn.Module
    code_prior: Autoregressive

    # ------------------------------------------------------------------ scoring

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Bound log P(k) + log P(x|k) (B,) at the encoder's codes k; it draws nothing."""
        self.check_images(x)
        self.check_labels(len(x), y)
        log_prior, log_p, _ = self._bound(x, y, rng=rng)
        return log_prior + log_p

    @torch.no_grad()
    def diagnostics(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> dict[str, float]:
        """``rate_nats``, the mean of -log P(k), ``distortion_nats``, that of -log P(x|k), whose sum
        is the bound, and ``code_perplexity``.

        The perplexity is exp of the entropy of the codes' frequencies over the images; at most the
        size of the codebook.
        """
        log_prior, log_p, codes = self._bound(x, y, rng=rng)
        counts = torch.bincount(codes.flatten().long(), minlength=self.grid.levels)
        frequencies = counts.double() / codes.numel()
        return {
            "rate_nats": -log_prior.mean().item(),
            "distortion_nats": -log_p.mean().item(),
            "code_perplexity": float(torch.special.entr(frequencies).sum().exp()),
        }

    @torch.no_grad()
    def log_p_x_given_codes(self, x: Tensor, codes: Tensor) -> Tensor:
        """Log P(x|k) in nats, float64 (B,), of images and of codes int64 (B, H / 2^n, W / 2^n) that
        need not be the encoder's; n is the number of ``widths``.
        """
        return self._log_p(x, self.codebook(codes[:, None]))

    # ------------------------------------------------------------------ sampling and codes

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Codes from the prior, then pixels from P(x|k), never its mean."""
        return self.decode(self.prior(n, y, rng=rng), y, rng=rng)

    @torch.no_grad()
    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Codes int64 (n, H / 2^n, W / 2^n) from the prior."""
        self.check_count(n)
        self.check_labels(n, y)
        return self.code_prior.sample(n, y, rng=rng)[:, 0].long()

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Pixels drawn from P(x|k), uint8 (n, 1, H, W), of codes int64 (n, H / 2^n, W / 2^n)."""
        self.check_labels(len(z), y)
        shape = (self.grid.height, self.grid.width)
        if z.is_floating_point() or tuple(z.shape[1:]) != shape:
            raise ValueError(
                f"z: must be integer codes (n, {shape[0]}, {shape[1]}), got {z.dtype} "
                f"{tuple(z.shape)}"
            )
        if int(z.min()) < 0 or int(z.max()) >= self.grid.levels:
            raise ValueError(
                f"z: codes must be 0..{self.grid.levels - 1}, got {int(z.min())}..{int(z.max())}"
            )
        cells = []
        for codes in z.split(CHUNK):
            parameters = self.decoder(self.codebook(codes[:, None]))  # (n, H/2, W/2, 4, K)
            cells.append(self.head.sample(parameters, rng=rng))
        return from_cells(torch.cat(cells))

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Codes int64 (B, H / 2^n, W / 2^n) of images; deterministic."""
        self.check_images(x)
        self.check_labels(len(x), y)
        return torch.cat([self._codes(part) for part in x.split(CHUNK)])[:, 0].long()

    # ------------------------------------------------------------------ helpers

    def _bound(
        self, x: Tensor, y: Tensor | None, *, rng: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log P(k) and log P(x|k), float64 (B,) each, at the encoder's codes k, and these (B, 1,
        h, w).
        """
        log_prior, log_p, codes = [], [], []
        for images, labels in chunks(x, y, CHUNK):
            codes.append(self._codes(images))
            log_prior.append(self.code_prior.log_likelihood(codes[-1], labels, rng=rng))
            log_p.append(self._log_p(images, self.codebook(codes[-1])))
        return torch.cat(log_prior), torch.cat(log_p), torch.cat(codes)

    def _features(self, x: Tensor) -> Tensor:
        """The encoder's outputs (B, size, h, w) in float32."""
        return self.encoder(self.spec.signed(x)).float()

    @torch.no_grad()
    def _codes(self, x: Tensor) -> Tensor:
        """Codes as an image of the prior's, uint8 (B, 1, h, w)."""
        return self.codebook.nearest(self._features(x))

    def _log_p(self, x: Tensor, vectors: Tensor) -> Tensor:
        """Log P(x|k) in nats, float64 (B,), given the vectors (B, size, h, w)."""
        log_p = self.head.log_prob(self.decoder(vectors), to_cells(x))  # (B, H/2, W/2, 4)
        return log_p.flatten(1).sum(1, dtype=torch.float64)
