"""Vector-quantised variational autoencoder with a transformer prior over its codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from genbench.base import Conditioning, DataSpec, GenerativeModel, Likelihood, Phase, Step
from genbench.errors import UserError, check_positive
from genbench.models.pixel_transformer import PixelTransformer
from genbench.nn.autoencoder import Down, Up, from_cells, to_cells
from genbench.nn.codebook import Codebook
from genbench.nn.conv import check_stages
from genbench.nn.heads import make_head

__all__ = ["VQVAE"]

CHUNK = 250  # images encoded or decoded at once outside training


class VQVAE(GenerativeModel):
    r"""A grid of discrete codes: the encoder picks the nearest of some vectors at each place, the
    decoder reads them, a prior scores the grid.

    .. math:: \mathcal{L} = -\log P(x \mid e_k) + \beta\, \lVert z(x) - \mathrm{sg}[e_k] \rVert^2, \qquad k_i = \arg\min_j \lVert z_i(x) - e_j \rVert

    sg stops the gradient; that of the first term passes from :math:`e_k` straight to :math:`z(x)`.
    The vectors e follow the encoder by a moving average, or by the codebook's own loss
    :math:`\lVert \mathrm{sg}[z(x)] - e_k \rVert^2`. With the prior :math:`P(k)` over grids,

    .. math:: P(x) = \sum_k P(k)\, P(x \mid k) \ge P(k(x))\, P(x \mid k(x))

    is the scored bound: one term of the sum, that of the encoder's own codes.

    References:
        Neural Discrete Representation Learning, van den Oord, Vinyals, Kavukcuoglu, 2017,
        https://arxiv.org/abs/1711.00937 (moving average: appendix)

    Differs: the prior is a pixel transformer over the grid in place of a PixelCNN; vectors that
    fall out of use are moved onto encoder outputs.

    Arguments:
        spec: the data set; height and width divisible by ``2 ** len(widths)``.
        codes: size of the codebook, at most 256.
        size: length of its vectors.
        widths: channels at half, quarter, ... resolution; the grid of codes has the last one.
        blocks: residual blocks at the lowest resolution, in the encoder and in the decoder.
        commitment: weight beta of the encoder's pull to its codes, nats per squared distance.
        codebook: how the vectors are learned, ``ema`` or ``loss``.
        prior_width, prior_layers, prior_heads: the prior's transformer.
        joint: train everything in one phase; else the prior in a second one, on the finished codes.
        share: of the training that is the first of two phases.
        head: pixel distribution; by default bernoulli for 2 levels, else logistic_mixture.
        mixtures: components of a logistic mixture.
        conditional: the prior reads the label, P(k|y).

    Example:
        >>> model = VQVAE(DataSpec(28, 28, 256), prior_layers=1).eval()
        >>> rng = Generator().manual_seed(0)
        >>> model.prior(3, rng=rng).shape, model.sample(3, rng=rng).shape
        (torch.Size([3, 7, 7]), torch.Size([3, 1, 28, 28]))
    """

    likelihood: ClassVar = Likelihood.LOWER_BOUND
    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    family: ClassVar = "variational"
    tiny_specs: ClassVar = (
        (
            DataSpec(2, 4, 2),
            {"codes": 3, "size": 4, "widths": [8], "prior_width": 8, "prior_layers": 1},
        ),
        (
            DataSpec(4, 2, 2),
            {
                "codes": 4,
                "size": 4,
                "widths": [8],
                "prior_width": 8,
                "prior_layers": 1,
                "joint": True,
            },
        ),
        (
            DataSpec(2, 2, 4),
            {
                "codes": 4,
                "size": 4,
                "widths": [8],
                "prior_width": 8,
                "prior_layers": 1,
                "codebook": "loss",
                "mixtures": 2,
            },
        ),
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        codes: int = 64,
        size: int = 32,
        widths: Sequence[int] = (32, 64),
        blocks: int = 1,
        commitment: float = 0.25,
        codebook: str = "ema",
        prior_width: int = 64,
        prior_layers: int = 3,
        prior_heads: int = 2,
        joint: bool = False,
        share: float = 0.6,
        head: str | None = None,
        mixtures: int = 5,
        conditional: bool = False,
    ) -> None:
        super().__init__(spec, conditional=conditional)
        check_stages(spec, widths)
        check_positive(
            size=size, prior_width=prior_width, prior_layers=prior_layers, prior_heads=prior_heads
        )
        if prior_width % prior_heads:
            raise UserError(
                f"prior_heads: must divide prior_width = {prior_width}, got {prior_heads}"
            )
        if not 2 <= codes <= 256:
            raise UserError(f"codes: must be 2..256, got {codes}")
        if commitment < 0:
            raise UserError(f"commitment: must not be negative, got {commitment}")
        if not 0 < share < 1:
            raise UserError(f"share: must be between 0 and 1, both excluded, got {share}")
        self.commitment, self.joint, self.share = commitment, joint, share
        self.head = make_head(head, spec.levels, mixtures=mixtures)
        self.encoder = nn.Sequential(Down(widths, blocks), nn.Conv2d(widths[-1], size, 1))
        self.codebook = Codebook(codes, size, learned=codebook)
        self.decoder = nn.Sequential(nn.Conv2d(size, widths[-1], 1), Up(widths, blocks, self.head))
        self.grid = DataSpec(
            spec.height // 2 ** len(widths), spec.width // 2 ** len(widths), codes, spec.classes
        )
        self.code_prior = PixelTransformer(
            self.grid,
            width=prior_width,
            layers=prior_layers,
            heads=prior_heads,
            head="categorical",
            conditional=self.conditional,
        )

    # ------------------------------------------------------------------ training

    @torch.no_grad()
    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        """Put the codebook onto outputs of the fresh encoder, of images of the training split."""
        chosen = torch.randint(0, len(x), (CHUNK,), generator=rng, device=x.device)
        self.codebook.start(self._features(x[chosen]), rng=rng)

    def phases(self) -> Sequence[Phase]:
        """One phase, or the autoencoder and then the prior on its finished codes."""
        if self.joint:
            return [Phase("loss", list(self.parameters()), self.training_loss)]
        autoencoder = [
            *self.encoder.parameters(),
            *self.codebook.parameters(),
            *self.decoder.parameters(),
        ]
        return [
            Phase("autoencoder", autoencoder, self.autoencoder_loss, span=(0.0, self.share)),
            Phase(
                "prior", list(self.code_prior.parameters()), self.prior_loss, span=(self.share, 1.0)
            ),
        ]

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Both losses at once; the prior learns the codes as they come, and its gradient does not
        reach them.
        """
        first = self.autoencoder_loss(x, y, rng=rng, progress=progress)
        assert isinstance(first.aux, Tensor)
        prior_nats = self._prior_nats(self.codebook.nearest(first.aux), y)
        return Step(
            first.loss + prior_nats, {**first.logs, "prior_nats": prior_nats.detach()}, first.aux
        )

    def autoencoder_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Reconstruction and commitment; carries the encoder's outputs to the codebook's update."""
        self.check_images(x)
        self.check_labels(len(x), y)
        z = self._features(x)
        codes = self.codebook.nearest(z)
        vectors = self.codebook(codes)
        rec_nats = -self._log_p(x, z + (vectors - z).detach()).mean()
        distance = (z - vectors.detach()).square().sum((1, 2, 3)).mean()
        loss = rec_nats + self.commitment * distance
        if self.codebook.learned == "loss":
            loss = loss + (vectors - z.detach()).square().sum((1, 2, 3)).mean()
        return Step(
            loss, {"rec_nats": rec_nats.detach(), "distance": distance.detach()}, z.detach()
        )

    def prior_loss(self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float) -> Step:
        """-log P(k) of the codes of the images."""
        self.check_images(x)
        self.check_labels(len(x), y)
        return Step(self._prior_nats(self._codes(x), y))

    def after_step(self, phase: str, aux: object, *, rng: Generator, progress: float) -> None:
        """The codebook follows the encoder's outputs."""
        if isinstance(aux, Tensor):
            self.codebook.follow(aux, rng=rng)

    # ------------------------------------------------------------------ scoring

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Bound log P(k) + log P(x|k) (B,) at the encoder's codes k; it draws nothing."""
        self.check_images(x)
        self.check_labels(len(x), y)
        prior, pixels = self._bound(x, y, rng=rng)
        return prior + pixels

    @torch.no_grad()
    def diagnostics(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> dict[str, float]:
        """``rate_nats``, the mean of -log P(k), ``distortion_nats``, that of -log P(x|k), whose sum
        is the bound, and ``code_perplexity``.

        The perplexity is exp of the entropy of the codes' frequencies over the images; at most the
        size of the codebook.
        """
        rate, distortion = (-part.mean().item() for part in self._bound(x, y, rng=rng))
        codes = self.encode(x, y, rng=rng)
        shares = (
            torch.bincount(codes.flatten(), minlength=self.grid.levels).double() / codes.numel()
        )
        return {
            "rate_nats": rate,
            "distortion_nats": distortion,
            "code_perplexity": float(torch.special.entr(shares).sum().exp()),
        }

    @torch.no_grad()
    def log_p_x_given_codes(self, x: Tensor, codes: Tensor) -> Tensor:
        """Log P(x|k) in nats, float64 (B,), of images and of codes int64 (B, H / 2^k, W / 2^k) that
        need not be the encoder's.
        """
        return self._log_p(x, self.codebook(codes[:, None]))

    # ------------------------------------------------------------------ sampling and codes

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Codes from the prior, then pixels from P(x|k), never its mean."""
        return self.decode(self.prior(n, y, rng=rng), y, rng=rng)

    @torch.no_grad()
    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Codes int64 (n, H / 2^k, W / 2^k) from the prior."""
        self.check_count(n)
        self.check_labels(n, y)
        return self.code_prior.sample(n, y, rng=rng)[:, 0].long()

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Pixels drawn from P(x|k), uint8 (n, 1, H, W), of codes int64 (n, H / 2^k, W / 2^k)."""
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
        parts = [
            self.head.sample(self.decoder(self.codebook(part[:, None])), rng=rng)
            for part in z.split(CHUNK)
        ]
        return from_cells(torch.cat(parts))

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Codes int64 (B, H / 2^k, W / 2^k) of images; deterministic."""
        self.check_images(x)
        self.check_labels(len(x), y)
        return torch.cat([self._codes(part) for part in x.split(CHUNK)])[:, 0].long()

    # ------------------------------------------------------------------ helpers

    def _bound(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> tuple[Tensor, Tensor]:
        """Log P(k) and log P(x|k) at the encoder's codes k, float64 (B,) each."""
        prior, pixels = [], []
        for begin in range(0, len(x), CHUNK):
            images, labels = (
                x[begin : begin + CHUNK],
                None if y is None else y[begin : begin + CHUNK],
            )
            codes = self._codes(images)
            prior.append(self.code_prior.log_likelihood(codes, labels, rng=rng))
            pixels.append(self._log_p(images, self.codebook(codes)))
        return torch.cat(prior), torch.cat(pixels)

    def _features(self, x: Tensor) -> Tensor:
        """The encoder's outputs (B, size, h, w) in float32."""
        return self.encoder(self.spec.signed(x)).float()

    @torch.no_grad()
    def _codes(self, x: Tensor) -> Tensor:
        """Codes as an image of the prior's, uint8 (B, 1, h, w)."""
        return self.codebook.nearest(self._features(x))

    def _log_p(self, x: Tensor, vectors: Tensor) -> Tensor:
        """Log P(x|k) in nats, float64 (B,), given the vectors (B, size, h, w)."""
        return (
            self.head.log_prob(self.decoder(vectors), to_cells(x))
            .flatten(1)
            .sum(1, dtype=torch.float64)
        )

    def _prior_nats(self, codes: Tensor, y: Tensor | None) -> Tensor:
        """Mean -log P(k) of codes uint8 (B, 1, h, w)."""
        logits = self.code_prior.logits(codes, y).float()
        return F.cross_entropy(logits.flatten(0, 1), codes.flatten().long(), reduction="sum") / len(
            codes
        )
