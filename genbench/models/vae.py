"""Variational autoencoder with a convolutional encoder and decoder."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from genbench.base import DataSpec
from genbench.families.latent import GaussianLatent

__all__ = ["VAE"]


class VAE(GaussianLatent):
    r"""Variational autoencoder: a decoder turns Gaussian noise z into an image, an encoder guesses
    which z an image has come from. Pixels are independent given z.

    Training maximises the evidence lower bound with one sample, scoring uses the tighter
    importance-weighted bound with K draws:

    .. math::
        P(x) = \int P(x \mid z)\, \mathcal{N}(z; 0, I)\, dz, \qquad
        \mathbb{E}_{q(z|x)}[\log P(x \mid z)] - \mathrm{KL}(q(z \mid x) \,\|\, p(z)) \le
        \mathbb{E}_{z_k \sim q(z|x)}\left[
            \log \frac1K \sum_{k=1}^K \frac{P(x \mid z_k)\, p(z_k)}{q(z_k \mid x)}
        \right] \le \log P(x)

    where :math:`q(z \mid x)` is a diagonal Gaussian whose mean and log standard deviation the
    encoder outputs.

    Symbols:
        :math:`q(z \mid x)`: ``posterior``, from the two halves of what ``encoder.out`` gives.
        :math:`P(x \mid z)`: ``log_p_x_given_z``, by ``decoder`` and ``head``.
        :math:`p(z)`: ``prior_of``.

    References:
        Kingma, Welling, "Auto-Encoding Variational Bayes", 2014, https://arxiv.org/abs/1312.6114.
        Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", 2016,
            https://arxiv.org/abs/1509.00519.
        Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling, "Improved Variational Inference with
            Inverse Autoregressive Flow", 2016, https://arxiv.org/abs/1606.04934 (free bits).
        Sønderby, Raiko, Maaløe, Sønderby, Winther, "Ladder Variational Autoencoders", 2016,
            https://arxiv.org/abs/1602.02282 (KL warm-up).

    Differs: convolutional networks, a discretised logistic mixture for 8-bit pixels, the log
    standard deviation kept in [-7, 2].

    Arguments:
        spec: the images; height and width divisible by ``2 ** len(widths)``.
        latent: dimensions of z.
        widths: channels at half, quarter, ... resolution.
        hidden: width of the dense layers between feature maps and z.
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
        >>> from torch import Generator
        >>> model = VAE(DataSpec(28, 28, 256), latent=8)
        >>> rng = Generator().manual_seed(0)
        >>> model.log_likelihood(model.sample(3, rng=rng), rng=rng, draws=16).shape
        torch.Size([3])
    """

    tiny_specs: ClassVar = (
        (DataSpec(2, 4, 2), {"latent": 2, "widths": [8], "hidden": 16}),
        (DataSpec(2, 2, 4, 3), {"latent": 2, "widths": [8], "hidden": 16, "mixtures": 2}),
        (
            DataSpec(2, 2, 4),
            {
                "latent": 2,
                "widths": [8],
                "hidden": 16,
                "head": "categorical",
                "free_bits": 0.1,
                "kl_warmup": 0.5,
            },
        ),
    )

    def prior_of(self, y: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
        """The standard normal distribution."""
        zeros = next(self.parameters()).new_zeros(n, self.latent)
        return zeros, zeros
