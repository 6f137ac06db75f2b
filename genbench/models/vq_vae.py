"""Vector-quantised variational autoencoder with a transformer prior over its codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from genbench.base import Conditioning, DataSpec, Phase, Step
from genbench.errors import UserError, check_positive
from genbench.families.discrete_latent import DiscreteLatent
from genbench.models.pixel_transformer import PixelTransformer
from genbench.nn.autoencoder import Down, Up
from genbench.nn.codebook import Codebook
from genbench.nn.conv import check_stages
from genbench.nn.heads import make_head

__all__ = ["VQVAE"]

_INITIAL_IMAGES = 250
"""Of the training split, whose outputs the codebook starts on: 12,250 at 7 x 7, for up to 256
vectors.
"""
_TINY = {"codes": 4, "size": 4, "widths": [8], "prior_width": 8, "prior_layers": 1}


class VQVAE(DiscreteLatent):
    r"""A grid of discrete codes: the encoder's output at each place is replaced by the nearest
    vector of a codebook, the decoder reads these vectors, and a learned prior scores the grid.

    .. math::
        \mathcal{L} = -\log P(x \mid e_k) + \beta\, \lVert z(x) - \mathrm{sg}[e_k] \rVert^2, \qquad
        k_i = \arg\min_j \lVert z_i(x) - e_j \rVert

    sg stops the gradient; that of the first term passes from :math:`e_k` straight to :math:`z(x)`.
    The vectors e follow the encoder by a moving average, or by the codebook's own loss
    :math:`\lVert \mathrm{sg}[z(x)] - e_k \rVert^2`. With the prior :math:`P(k)` over grids,

    .. math:: P(x) = \sum_k P(k)\, P(x \mid k) \ge P(k(x))\, P(x \mid k(x))

    is the scored bound: one term of the sum, that of the encoder's own codes.

    Symbols:
        :math:`z(x)`: ``encoder``.
        :math:`e_j`: ``codebook.vectors``; :math:`k` is what ``codebook.nearest`` gives.
        :math:`P(x \mid k)`: ``decoder`` and ``head``.
        :math:`P(k)`: ``code_prior``, for which a grid of codes is an image.
        :math:`\beta`: ``commitment``.

    References:
        van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", 2017,
            https://arxiv.org/abs/1711.00937 (moving average: appendix).

    Differs: the prior is a pixel transformer over the grid in place of a PixelCNN; vectors that
    fall out of use are restarted at encoder outputs.

    Arguments:
        spec: the images; height and width divisible by ``2 ** len(widths)``.
        codes: size of the codebook, at most 256.
        size: length of its vectors.
        widths: channels at half, quarter, ... resolution; the grid of codes has the last one.
        blocks: residual blocks at the lowest resolution, in the encoder and in the decoder.
        commitment: weight beta of the encoder's pull to its codes, nats per squared distance; 0.25
            as in the paper.
        codebook: how the vectors are learned, ``ema`` or ``loss``.
        prior_width, prior_layers, prior_heads: the prior's transformer.
        joint: train everything in one phase; else the prior in a second one, on the finished codes.
        share: of the training that is the first of two phases.
        head: distribution of a pixel: bernoulli, categorical or logistic_mixture; by default
            bernoulli for 2 levels, else logistic_mixture.
        mixtures: components of the logistic mixture.
        conditional: the prior reads the label, P(k|y).

    Example:
        >>> model = VQVAE(DataSpec(28, 28, 256), prior_layers=1).eval()
        >>> rng = Generator().manual_seed(0)
        >>> model.prior(3, rng=rng).shape, model.sample(3, rng=rng).shape
        (torch.Size([3, 7, 7]), torch.Size([3, 1, 28, 28]))
    """

    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    tiny_specs: ClassVar = (
        (DataSpec(2, 4, 2), {**_TINY, "codes": 3}),
        (DataSpec(4, 2, 2), {**_TINY, "joint": True}),
        (DataSpec(2, 2, 4), {**_TINY, "codebook": "loss", "mixtures": 2}),
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
        scale = 2 ** len(widths)
        self.grid = DataSpec(spec.height // scale, spec.width // scale, codes, spec.classes)
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
        chosen = torch.randint(0, len(x), (_INITIAL_IMAGES,), generator=rng, device=x.device)
        self.codebook.start(self._features(x[chosen]), rng=rng)

    def phases(self) -> Sequence[Phase]:
        """One phase, or the autoencoder and then the prior on its finished codes."""
        if self.joint:
            return [Phase("loss", list(self.parameters()), self.training_loss)]
        parts = (self.encoder, self.codebook, self.decoder)
        autoencoder = [parameter for part in parts for parameter in part.parameters()]
        prior = list(self.code_prior.parameters())
        return [
            Phase("autoencoder", autoencoder, self.autoencoder_loss, span=(0.0, self.share)),
            Phase("prior", prior, self.prior_loss, span=(self.share, 1.0)),
        ]

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Both losses at once; the prior learns the codes as they come, and its gradient does not
        reach them.
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        loss, logs, quantised = self._autoencode(x)
        prior_nats = self._prior_nats(quantised.codes, y)
        return Step(loss + prior_nats, {**logs, "prior_nats": prior_nats.detach()}, quantised)

    def autoencoder_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Reconstruction and commitment, in nats per image; hands the encoder's outputs on to the
        codebook's update.
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        return Step(*self._autoencode(x))

    def prior_loss(self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float) -> Step:
        """-log P(k) of the codes of the images, in nats per image."""
        self.check_images(x)
        self.check_labels(len(x), y)
        return Step(self._prior_nats(self._codes(x), y))

    def after_step(self, phase: str, aux: object, *, rng: Generator, progress: float) -> None:
        """The codebook follows the encoder's outputs."""
        if isinstance(aux, _Quantised):
            self.codebook.update(aux.z, aux.codes, rng=rng)

    # ------------------------------------------------------------------ helpers

    def _autoencode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor], _Quantised]:
        """The autoencoder's loss, its parts, and the codes."""
        z = self._features(x)
        codes = self.codebook.nearest(z)
        vectors = self.codebook(codes)
        straight_through = z + (vectors - z).detach()
        rec_nats = -self._log_p(x, straight_through).mean()
        distance = (z - vectors.detach()).square().sum((1, 2, 3)).mean()
        loss = rec_nats + self.commitment * distance
        if self.codebook.learned == "loss":
            loss = loss + (vectors - z.detach()).square().sum((1, 2, 3)).mean()
        logs = {"rec_nats": rec_nats.detach(), "distance": distance.detach()}
        return loss, logs, _Quantised(z.detach(), codes)

    def _prior_nats(self, codes: Tensor, y: Tensor | None) -> Tensor:
        """Mean -log P(k) of codes uint8 (B, 1, h, w)."""
        logits = self.code_prior.logits(codes, y).float().flatten(0, 1)  # (B h w, codes)
        nats = F.cross_entropy(logits, codes.flatten().long(), reduction="sum")
        return nats / len(codes)


@dataclass(frozen=True, slots=True)
class _Quantised:
    """What the codebook's update needs of a step.

    Attributes:
        z: the encoder's outputs (B, size, h, w), without gradient.
        codes: what they were coded by, uint8 (B, 1, h, w).
    """

    z: Tensor
    codes: Tensor
