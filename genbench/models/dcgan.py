"""Deep convolutional generative adversarial network with the non-saturating loss."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from genbench.base import DataSpec
from genbench.errors import check_positive
from genbench.families.adversarial import Adversarial
from genbench.nn.conv import check_stages

__all__ = ["DCGAN"]


_SLOPE = 0.2
"""Of the discriminator where a ReLU would be silent; this and the next as in Radford et al., 2016,
section 3.
"""
_INIT_STD = 0.02
"""Of the first weights."""


class Generator(nn.Module):
    """Latents (B, latent) to images (B, 1, H, W) in [-1, 1], doubling the resolution by transposed
    convolutions.
    """

    def __init__(self, spec: DataSpec, latent: int, widths: Sequence[int], hidden: int) -> None:
        super().__init__()
        size = (spec.height // 2 ** len(widths), spec.width // 2 ** len(widths))
        top = widths[-1]
        layers: list[nn.Module] = [
            nn.Linear(latent, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, top * size[0] * size[1], bias=False),
            nn.Unflatten(1, (top, *size)),
        ]
        for inputs, outputs in itertools.pairwise(widths[::-1]):
            layers += [
                nn.BatchNorm2d(inputs),
                nn.ReLU(),
                nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
            ]
        layers += [
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
            nn.ConvTranspose2d(widths[0], 1, 4, stride=2, padding=1),
            nn.Tanh(),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layers(z)


class Discriminator(nn.Module):
    """Images (B, 1, H, W) in [-1, 1] to the logit (B,) of being real, halving the resolution by
    strided convolutions.
    """

    def __init__(self, spec: DataSpec, widths: Sequence[int], hidden: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, widths[0], 4, stride=2, padding=1),
            nn.LeakyReLU(_SLOPE),
        ]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(_SLOPE),
            ]
        cells = spec.dims // 4 ** len(widths)
        layers += [
            nn.Flatten(),
            nn.Linear(widths[-1] * cells, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(hidden, 1),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layers(x)[:, 0].float()


class DCGAN(Adversarial):
    r"""Generative adversarial network: a generator G(z) learns against a discriminator with logit
    D(x).

    .. math::
        \min_D \; \mathbb{E}_x[\mathrm{softplus}(-D(x))]
        + \mathbb{E}_z[\mathrm{softplus}(D(G(z)))], \qquad
        \min_G \; \mathbb{E}_z[\mathrm{softplus}(-D(G(z)))], \qquad
        z \sim \mathcal{N}(0, I)

    The second is the non-saturating loss: where the discriminator is sure, the generator still gets
    a gradient. The images have no likelihood: G maps onto a thin set, on which a probability of a
    given test image is not defined.

    Symbols:
        :math:`G, D`: ``generator``, ``discriminator``.

    References:
        Goodfellow et al., "Generative Adversarial Nets", 2014, https://arxiv.org/abs/1406.2661.
        Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional
            Generative Adversarial Networks", 2016, https://arxiv.org/abs/1511.06434.

    Differs: two stages do for 28 x 28 images; one dense hidden layer in each network stands for the
    stages left out, since without it the discriminator sees no more than 10 x 10 pixels at once and
    judges strokes, not digits. Gaussian instead of uniform latents.

    Arguments:
        spec: the data set; height and width divisible by ``2 ** len(widths)``.
        latent: dimensions of z.
        widths: channels at half, quarter, ... resolution, of both networks.
        hidden: width of the dense hidden layer of both networks.

    Example:
        >>> from torch import Generator as Rng
        >>> model = DCGAN(DataSpec(28, 28, 256), widths=(8, 16)).eval()
        >>> model.sample(3, rng=Rng().manual_seed(0)).shape
        torch.Size([3, 1, 28, 28])
    """

    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (DataSpec(2, 4, 2), {"latent": 4, "widths": [8], "hidden": 16}),
        (DataSpec(2, 2, 4), {"latent": 4, "widths": [8], "hidden": 16}),
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent: int = 64,
        widths: Sequence[int] = (32, 64),
        hidden: int = 256,
    ) -> None:
        check_stages(spec, widths)
        check_positive(latent=latent, hidden=hidden)
        super().__init__(
            spec,
            latent=latent,
            generator=Generator(spec, latent, widths, hidden),
            discriminator=Discriminator(spec, widths, hidden),
        )
        self.apply(init_weights)

    def disc_objective(self, real_logit: Tensor, fake_logit: Tensor) -> Tensor:
        """Cross-entropy of telling real from generated images."""
        return F.softplus(-real_logit).mean() + F.softplus(fake_logit).mean()

    def gen_objective(self, fake_logit: Tensor) -> Tensor:
        """The non-saturating loss."""
        return F.softplus(-fake_logit).mean()


def init_weights(module: nn.Module) -> None:
    """Initialisation of the paper: weights N(0, 0.02^2), batch-norm gains N(1, 0.02^2), biases
    0.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, _INIT_STD)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, _INIT_STD)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
