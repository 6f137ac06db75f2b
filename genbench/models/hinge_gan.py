"""Residual generative adversarial network with the hinge loss and weight normalisation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from genbench.base import Conditioning, DataSpec
from genbench.errors import check_positive
from genbench.families.adversarial import Adversarial
from genbench.nn.conv import check_stages, conv3x3
from genbench.nn.norm import ConditionalBatchNorm2d

__all__ = ["HingeGAN"]

_SLOPE = 0.2
"""Of the discriminator where a ReLU would be silent, as in DCGAN: the generator gets its gradient
through it.
"""


class _Up(nn.Module):
    """Residual block of the generator that doubles the resolution: a transposed convolution and a
    3x3 one beside a 1x1 one. None has a bias, which the next normalisation would take back.
    """

    def __init__(self, inputs: int, outputs: int, classes: int) -> None:
        super().__init__()
        self.norm_first = ConditionalBatchNorm2d(inputs, classes)
        self.norm_last = ConditionalBatchNorm2d(outputs, classes)
        self.first = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
        self.last = conv3x3(outputs, outputs, bias=False)
        self.around = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.first(F.relu(self.norm_first(x, y)))  # (B, outputs, 2H, 2W)
        return self.last(F.relu(self.norm_last(h, y))) + _doubled(self.around(x))


class Generator(nn.Module):
    """Latents (B, latent) and labels (B,) to images (B, 1, H, W) in [-1, 1]; every normalisation
    reads the label.
    """

    def __init__(
        self, spec: DataSpec, latent: int, widths: Sequence[int], hidden: int, classes: int
    ) -> None:
        super().__init__()
        self.size = (spec.height // 2 ** len(widths), spec.width // 2 ** len(widths))
        self.first = nn.Linear(latent, hidden, bias=False)
        self.norm_first = ConditionalBatchNorm2d(hidden, classes)
        self.dense = nn.Linear(hidden, widths[-1] * self.size[0] * self.size[1])
        self.blocks = nn.ModuleList(
            _Up(inputs, outputs, classes) for inputs, outputs in itertools.pairwise(widths[::-1])
        )
        self.norm_last = ConditionalBatchNorm2d(widths[0], classes)
        self.out = nn.ConvTranspose2d(widths[0], 1, 4, stride=2, padding=1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        one_place = self.first(z)[:, :, None, None]  # (B, hidden, 1, 1)
        h = self.dense(F.relu(self.norm_first(one_place, y)).flatten(1))
        h = h.view(len(z), *self.size, -1).permute(0, 3, 1, 2)  # channels last in memory
        for block in self.blocks:
            h = block(h, y)
        return self.out(F.relu(self.norm_last(h, y))).tanh()


class _Down(nn.Module):
    """Residual block of the discriminator that halves the resolution at once, its weights
    normalised.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = weight_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1))
        self.last = weight_norm(conv3x3(outputs, outputs))
        self.around: nn.Module = nn.Conv2d(inputs, outputs, 1)
        if inputs > 1:  # the direction of one weight is its sign, of which there is no gradient
            self.around = weight_norm(self.around)

    def forward(self, x: Tensor) -> Tensor:
        h = self.last(F.leaky_relu(self.first(x), _SLOPE))  # (B, outputs, H / 2, W / 2)
        return F.leaky_relu(h + self.around(F.avg_pool2d(x, 2)), _SLOPE)


class Discriminator(nn.Module):
    """Images (B, 1, H, W) in [-1, 1] and labels (B,) to logits (B,): a linear reading of features,
    plus their product with the label's vector.
    """

    def __init__(self, spec: DataSpec, widths: Sequence[int], hidden: int, classes: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(_Down(inputs, outputs) for inputs, outputs in itertools.pairwise([1, *widths]))
        )
        cells = spec.dims // 4 ** len(widths)
        # features of all cells, and their spread over the batch
        self.dense = weight_norm(nn.Linear(widths[-1] * (cells + 1), hidden))
        self.out = weight_norm(nn.Linear(hidden, 1))
        self.labels = nn.Embedding(classes, hidden) if classes else None
        if self.labels is not None:
            # products with features then start as large as a feature
            nn.init.normal_(self.labels.weight, std=hidden**-0.5)

    def features(self, x: Tensor) -> Tensor:
        """Features (B, hidden) of images, which also see how much the images of the batch
        differ.
        """
        h = self.blocks(x)  # (B, widths[-1], H', W')
        spread = h.float().std(0, correction=0).mean((1, 2))  # (widths[-1],)
        spread = spread.to(h.dtype).expand(len(h), -1)
        return F.leaky_relu(self.dense(torch.cat([h.flatten(1), spread], 1)), _SLOPE)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        phi = self.features(x)
        logit = self.out(phi)[:, 0].float()
        if self.labels is None:
            return logit
        return logit + (phi.float() * self.labels(y)).sum(1)


class HingeGAN(Adversarial):
    r"""Generative adversarial network with the hinge loss; the discriminator is kept tame by weight
    normalisation.

    .. math::
        \min_D \; \mathbb{E}_x[\max(0, 1 - D(x, y))]
        + \mathbb{E}_z[\max(0, 1 + D(G(z, y), y))], \qquad
        \min_G \; -\mathbb{E}_z[D(G(z, y), y)], \qquad
        w = g \frac{v}{\lVert v \rVert}

    With labels the generator reads them by conditional batch normalisation,
    :math:`\gamma_y \hat{h} + \beta_y`, and the discriminator by projection,
    :math:`D(x, y) = a^T \phi(x) + v_y^T \phi(x)`.

    Symbols:
        :math:`G, D`: ``generator``, ``discriminator``.
        :math:`\gamma_y, \beta_y`: halves of a row of ``labels`` in each normalisation of G.
        :math:`\phi, a, v_y`: ``features``, the weight of ``out`` and a row of ``labels`` of D.
        :math:`g, v`: of each layer of D, as its parametrisation holds them.

    References:
        Lim, Ye, "Geometric GAN", 2017, https://arxiv.org/abs/1705.02894 (hinge loss).
        Salimans, Kingma, "Weight Normalization: A Simple Reparameterization to Accelerate Training
            of Deep Neural Networks", 2016, https://arxiv.org/abs/1602.07868.
        Miyato, Koyama, "cGANs with Projection Discriminator", 2018,
            https://arxiv.org/abs/1802.05637.
        Dumoulin, Shlens, Kudlur, "A Learned Representation for Artistic Style", 2017,
            https://arxiv.org/abs/1610.07629 (conditional batch norm).
        Karras, Aila, Laine, Lehtinen, "Progressive Growing of GANs for Improved Quality, Stability,
            and Variation", 2018, https://arxiv.org/abs/1710.10196, section 3 (standard deviation
            over the batch).

    Differs: one dense hidden layer stands at the end of the discriminator in place of a sum over
    places, since two stages see strokes only. It also reads the standard deviation of each feature
    over the batch: without it the generator without labels makes one image only. Weights are not
    scaled to the data before training.

    Arguments:
        spec: the data set; height and width divisible by ``2 ** len(widths)``.
        latent: dimensions of z.
        widths: channels at half, quarter, ... resolution, of both networks.
        hidden: width of the dense layer of both networks.
        disc_steps: steps of the discriminator for one of the generator.
        conditional: generate and judge images of a label.

    Example:
        >>> from torch import Generator as Rng
        >>> model = HingeGAN(DataSpec(28, 28, 256, 10), widths=(8, 16), conditional=True).eval()
        >>> model.sample(3, torch.tensor([1, 2, 3]), rng=Rng().manual_seed(0)).shape
        torch.Size([3, 1, 28, 28])
    """

    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (DataSpec(2, 4, 2), {"latent": 4, "widths": [8], "hidden": 16}),
        (DataSpec(2, 2, 4), {"latent": 4, "widths": [8], "hidden": 16, "disc_steps": 2}),
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent: int = 64,
        widths: Sequence[int] = (32, 64),
        hidden: int = 256,
        disc_steps: int = 1,
        conditional: bool = False,
    ) -> None:
        check_stages(spec, widths)
        check_positive(latent=latent, hidden=hidden)
        classes = spec.classes if conditional else 0
        super().__init__(
            spec,
            latent=latent,
            generator=Generator(spec, latent, widths, hidden, classes),
            discriminator=Discriminator(spec, widths, hidden, classes),
            conditional=conditional,
            disc_steps=disc_steps,
        )

    def disc_objective(self, real_logit: Tensor, fake_logit: Tensor) -> Tensor:
        """The hinge loss: logits beyond 1 and -1 cost nothing."""
        return F.relu(1 - real_logit).mean() + F.relu(1 + fake_logit).mean()

    def gen_objective(self, fake_logit: Tensor) -> Tensor:
        """The mean logit, to be raised."""
        return -fake_logit.mean()


def _doubled(x: Tensor) -> Tensor:
    """Each pixel four times, by views alone: the library's gradient of doubling is not
    deterministic on CUDA.
    """
    b, c, h, w = x.shape
    doubled = x[:, :, :, None, :, None].expand(b, c, h, 2, w, 2)
    return doubled.reshape(b, c, 2 * h, 2 * w)
