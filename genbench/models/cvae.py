"""Conditional variational autoencoder whose prior is a Gaussian that depends on the label."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from genbench.base import Conditioning, DataSpec
from genbench.families.latent import LOG_STD_RANGE, GaussianLatent

__all__ = ["CVAE"]


class CVAE(GaussianLatent):
    r"""Conditional variational autoencoder: a second network predicts the Gaussian prior
    :math:`p(z \mid y)` from the label.

    .. math::
        P(x \mid y) = \int P(x \mid z, y)\, \mathcal{N}(z; \mu(y), \sigma^2(y))\, dz, \qquad
        \log P(x \mid y) \ge \mathbb{E}_{q(z|x,y)}[\log P(x \mid z, y)]
            - \mathrm{KL}(q(z \mid x, y) \,\|\, p(z \mid y))

    The encoder is matched to that prior by the KL term, which moves both: the prior learns where
    the latents of a class lie. Scoring uses the importance-weighted bound; summed over the classes
    it bounds P(x).

    Symbols:
        :math:`\mu(y), \log \sigma(y)`: ``prior_of``, the two halves of what ``prior_net`` gives.
        :math:`q(z \mid x, y)`: ``posterior``, by ``encoder``, which adds its ``labels`` before the
            last layer.
        :math:`P(x \mid z, y)`: ``log_p_x_given_z``, by ``decoder``, which adds its ``labels`` after
            the first layer, and ``head``.

    References:
        Sohn, Lee, Yan, "Learning Structured Output Representation using Deep Conditional Generative
            Models", 2015,
            https://papers.nips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html.
        Kingma, Rezende, Mohamed, Welling, "Semi-Supervised Learning with Deep Generative Models",
            2014, https://arxiv.org/abs/1406.5298.
        Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", 2016,
            https://arxiv.org/abs/1509.00519.

    Differs: the condition is a label and the output an image, not the other way round; the networks
    are those of the VAE.

    Arguments:
        spec: the images; height and width divisible by ``2 ** len(widths)``.
        latent: dimensions of z.
        widths: channels at half, quarter, ... resolution.
        hidden: width of the dense layers between feature maps and z, and of the prior's network.
        blocks: residual blocks at the lowest resolution, in the encoder and in the decoder.
        head: distribution of a pixel: bernoulli, categorical or logistic_mixture; by default
            bernoulli for 2 levels, else logistic_mixture.
        mixtures: components of the logistic mixture.
        beta: weight of the KL term in training; 1 is the bound that is scored.
        free_bits: nats of KL per latent dimension, averaged over a batch, that cost nothing in
            training.
        kl_warmup: share of the training over which the weight of the KL term rises from 0 to
            ``beta``.

    Example:
        >>> import torch
        >>> model = CVAE(DataSpec(28, 28, 256, 10), latent=8)
        >>> y = torch.tensor([0, 1, 2])
        >>> model.sample(3, y, rng=torch.Generator().manual_seed(0)).shape
        torch.Size([3, 1, 28, 28])
    """

    conditioning: ClassVar[Conditioning] = Conditioning.REQUIRED
    tiny_specs: ClassVar = (
        (DataSpec(2, 4, 2), {"latent": 2, "widths": [8], "hidden": 16}),
        (DataSpec(2, 2, 4), {"latent": 2, "widths": [8], "hidden": 16, "mixtures": 2}),
    )

    prior_net: nn.Sequential

    def make_prior(self, hidden: int) -> nn.Module:
        """A vector per label, and a dense layer. The vectors don't start at zero, as those that are
        added to features do: a ReLU passes nothing of zeros, nor any gradient to them.
        """
        return nn.Sequential(
            nn.Embedding(self.spec.classes, hidden), nn.ReLU(), nn.Linear(hidden, 2 * self.latent)
        )

    def prior_of(self, y: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (n, latent) of p(z|y)."""
        mean, log_std = self.prior_net(y).float().chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD_RANGE)
