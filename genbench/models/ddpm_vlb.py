"""Diffusion trained on its variational bound, with evenly spaced log signal-to-noise ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from genbench.base import DataSpec, Step
from genbench.errors import UserError, check_positive, near
from genbench.families.diffusion import GaussianDiffusion
from genbench.nn.level_denoiser import beliefs, posterior_mean
from genbench.nn.noise_schedule import log_snr_schedule
from genbench.nn.roots import square_root
from genbench.nn.unet import UNet

__all__ = ["DDPMVLB"]

DENOISERS = ("noise", "levels")
PERIODS = (1, 2)
"""Of the sines and cosines of a pixel that the network reads, in levels; n = 8 and 7 in the paper,
appendix C, whose images have 256 levels.
"""

_TINY: dict[str, Any] = {"timesteps": 6, "widths": [16], "blocks": 1}


class DDPMVLB(GaussianDiffusion):
    r"""Diffusion whose loss is the bound that is scored: each step weighs what its term weighs.

    .. math::
        \min_\theta \mathbb{E}_{x_0, t, \epsilon} \, T L_{t-1}(x_0, x_t), \qquad
        \log \frac{\bar\alpha_t}{1 - \bar\alpha_t} \text{ linear in } t

    with the terms :math:`L_{t-1}` of the bound of
    :class:`genbench.families.diffusion.GaussianDiffusion`.

    The logarithm of the signal-to-noise ratio falls linearly from 15 to -5: the first step settles
    each pixel's level, and no step loses much of what is known of it. Steps that are evenly spaced
    otherwise cost more where the levels of grey pixels are told apart: with the cosine schedule,
    two nats for each of them, however good the network is. For the network to see differences
    smaller than a level, it reads sines and cosines of the pixels with periods of one and two
    levels beside them.

    Symbols:
        :math:`L_{t-1}`: ``vlb_term``.
        :math:`T, \bar\alpha`: ``timesteps``, ``schedule.alpha_bar``.

    References:
        Kingma, Salimans, Poole, Ho, "Variational Diffusion Models", 2021,
            https://arxiv.org/abs/2107.00630 (bound, Fourier features, schedule).

    Differs: T discrete steps, whose variance is the posterior's; the schedule is fixed; the network
    may say how probable the levels of a pixel are, in place of the noise in it.

    Arguments:
        spec: the data set; height and width divisible by ``patch``.
        timesteps: T.
        log_snr_max, log_snr_min: log signal-to-noise ratios of the first and of the last step.
        denoiser: what the network says: ``noise``; or ``levels``, its beliefs of each pixel's
            level, from which and from the noisy pixel the image follows by Bayes' rule
            (:mod:`genbench.nn.level_denoiser`).
        mixtures: Gaussians of these beliefs, beside black and white.
        widths, blocks, patch, norm, heads: of the :class:`genbench.nn.unet.UNet`.
        label_dropout: share of the images whose label is hidden in training; guidance needs some.
        conditional: read labels.

    Example:
        >>> model = DDPMVLB(DataSpec(8, 8, 256), timesteps=10, widths=(16,), patch=1).eval()
        >>> rng = Generator().manual_seed(0)
        >>> model.log_likelihood(model.sample(2, rng=rng), rng=rng).shape
        torch.Size([2])
    """

    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (DataSpec(2, 4, 2), {**_TINY, "log_snr_max": 3.0, "patch": 1}),
        (DataSpec(2, 2, 4), {**_TINY, "log_snr_max": 4.0, "patch": 2}),
        (DataSpec(2, 2, 4), {**_TINY, "log_snr_max": 4.0, "patch": 2, "denoiser": "levels"}),
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        timesteps: int = 1000,
        log_snr_max: float = 15.0,
        log_snr_min: float = -5.0,
        denoiser: str = "noise",
        mixtures: int = 3,
        widths: Sequence[int] = (32, 64),
        blocks: int = 2,
        patch: int = 2,
        norm: str = "group",
        heads: int = 2,
        label_dropout: float = 0.0,
        conditional: bool = False,
    ) -> None:
        super().__init__(
            spec,
            schedule=log_snr_schedule(timesteps, log_snr_max, log_snr_min),
            variance="posterior",
            label_dropout=label_dropout,
            conditional=conditional,
        )
        if denoiser not in DENOISERS:
            raise UserError(f"denoiser: unknown {denoiser!r}{near(denoiser, DENOISERS)}")
        check_positive(mixtures=mixtures)
        self.denoiser = denoiser
        self.network = UNet(
            spec,
            inputs=1 + 2 * len(PERIODS),
            outputs=1 if denoiser == "noise" else beliefs(mixtures),
            widths=widths,
            blocks=blocks,
            patch=patch,
            norm=norm,
            heads=heads,
            classes=self.label_rows,
        )

    def model_output(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        """What the network says of the pixels and their sines and cosines, as noise."""
        # levels lie 2 / (levels - 1) apart: this angle grows by 2 pi from one to the next
        angle = math.pi * (self.spec.levels - 1) * x_t
        features = [x_t]
        for period in PERIODS:
            features += [(angle / period).sin(), (angle / period).cos()]
        output = self.network(torch.cat(features, 1), t, y)
        return output if self.denoiser == "noise" else self._noise_of(output.float(), x_t, t)

    def _noise_of(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise in x_t if the image is what it and the network's beliefs say together."""
        step = (t * self.timesteps).round().long()
        signal, noise = (
            square_root(share[step]).float()[:, None, None, None]
            for share in (self.schedule.alpha_bar, self.schedule.one_minus_alpha_bar)
        )
        x_0 = posterior_mean(x_t / signal, noise / signal, output, levels=self.spec.levels)
        return (x_t - signal * x_0) / noise

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """An unbiased estimate of the bound from one step of each image."""
        self.check_images(x)
        self.check_labels(len(x), y)
        x_0 = self.spec.signed(x)
        batch = self.noisy_batch(x_0, y, rng=rng)
        estimate = self.predict_reverse(batch.x_t, batch.t, batch.y)
        terms = self.vlb_term(x, batch.x_t, batch.t, *estimate)
        return Step((self.timesteps * terms + self.prior_kl(x_0)).mean().float())
