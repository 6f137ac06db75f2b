"""Denoising diffusion with a linear schedule of variances, trained on the error of the noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Generator, Tensor

from genbench.base import DataSpec, Step
from genbench.families.diffusion import GaussianDiffusion
from genbench.nn.noise_schedule import linear_schedule
from genbench.nn.unet import UNet

__all__ = ["DDPM"]

_VLB_WEIGHT = 0.001
"""Lambda of Nichol and Dhariwal, 2021, section 3.1, where it weighs the bound beside twice the
simple loss that is taken here.
"""

_TINY: dict[str, Any] = {
    "timesteps": 6,
    "beta_end": 0.7,
    "widths": [16],
    "blocks": 1,
    "patch": 1,
}


class DDPM(GaussianDiffusion):
    r"""Diffusion whose network predicts the noise, with the same weight for every step.

    .. math::
        \min_\theta \mathbb{E}
        \lVert \epsilon - \epsilon_\theta(x_t, t) \rVert^2, \qquad
        x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \qquad
        \bar\alpha_t = \prod_{s=1}^{t} (1 - \beta_s), \qquad
        \beta_t \text{ linear in } t

    The process, the bound and the samplers are those of
    :class:`genbench.families.diffusion.GaussianDiffusion`.

    Symbols:
        :math:`\epsilon_\theta`: the first channel of ``network``; a second is a learned variance.
        :math:`\beta, \bar\alpha`: ``schedule.beta``, ``schedule.alpha_bar``.

    References:
        Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020,
            https://arxiv.org/abs/2006.11239.
        Nichol, Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021,
            https://arxiv.org/abs/2102.09672 (learned variance).
        Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2021,
            https://arxiv.org/abs/2010.02502 (DDIM).
        Ho, Salimans, "Classifier-Free Diffusion Guidance", 2022,
            https://arxiv.org/abs/2207.12598 (guidance).

    Differs: a smaller U-Net over patches; the steps of a batch are spread evenly; the estimate of
    the image is clipped neither in scoring nor in the default sampler.

    Arguments:
        spec: the data set; height and width divisible by ``patch``.
        timesteps: T.
        beta_start, beta_end: variances of the first and of the last step.
        widths, blocks, patch, norm, heads: of the :class:`genbench.nn.unet.UNet`.
        variance: of the reverse steps: ``beta``, ``posterior`` or ``learned``.
        label_dropout: share of the images whose label is hidden in training; guidance needs some.
        conditional: read labels.

    Example:
        >>> spec = DataSpec(8, 8, 256)
        >>> model = DDPM(spec, timesteps=10, beta_end=0.7, widths=(16,), patch=1).eval()
        >>> rng = Generator().manual_seed(0)
        >>> model.log_likelihood(model.sample(2, rng=rng), rng=rng).shape
        torch.Size([2])
    """

    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (DataSpec(2, 4, 2), {**_TINY, "beta_start": 0.1}),
        (
            DataSpec(2, 2, 4),
            {
                **_TINY,
                "beta_start": 0.05,
                "widths": [16, 16],
                "norm": "batch",
                "variance": "learned",
            },
        ),
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        timesteps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        widths: Sequence[int] = (32, 64),
        blocks: int = 2,
        patch: int = 2,
        norm: str = "group",
        heads: int = 2,
        variance: str = "beta",
        label_dropout: float = 0.0,
        conditional: bool = False,
    ) -> None:
        super().__init__(
            spec,
            schedule=linear_schedule(timesteps, beta_start, beta_end),
            variance=variance,
            label_dropout=label_dropout,
            conditional=conditional,
        )
        self.network = UNet(
            spec,
            outputs=2 if variance == "learned" else 1,
            widths=widths,
            blocks=blocks,
            patch=patch,
            norm=norm,
            heads=heads,
            classes=self.label_rows,
        )

    def model_output(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        """The network as it is."""
        return self.network(x_t, t, y)

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Half the squared error of the noise at a random step of each image, plus a little of the
        bound where the variance is learned.
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        batch = self.noisy_batch(self.spec.signed(x), y, rng=rng)
        if self.variance != "learned":
            eps = self.predict_eps(batch.x_t, batch.t, batch.y)
            return Step(_simple_loss(batch.eps, eps))
        eps, log_var = self.predict_reverse(batch.x_t, batch.t, batch.y)
        # The bound teaches the variance alone: its gradient stops at eps.
        terms = self.vlb_term(x, batch.x_t, batch.t, eps.detach(), log_var)
        vlb = self.timesteps * terms.mean()
        return Step(_simple_loss(batch.eps, eps) + _VLB_WEIGHT * vlb)


def _simple_loss(eps: Tensor, estimate: Tensor) -> Tensor:
    """Half the squared error of noise (B, 1, H, W), summed over pixels, the mean over images."""
    return 0.5 * (eps - estimate).square().flatten(1).sum(1).mean()
