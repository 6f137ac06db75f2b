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

# of the bound beside the simple loss where the variance is learned; the paper has this weight
# beside twice this loss
_BOUND_WEIGHT = 0.001


class DDPM(GaussianDiffusion):
    r"""Diffusion whose network predicts the noise, with the same weight for every step.

    .. math:: \min_\theta \mathbb{E} \lVert \epsilon - \epsilon_\theta(\sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, t) \rVert^2,
        \qquad \beta_t \text{ linear in } t

    The process, the bound and the samplers are those of
    :class:`genbench.families.diffusion.GaussianDiffusion`.

    References:
        Denoising Diffusion Probabilistic Models, Ho, Jain, Abbeel, 2020,
        https://arxiv.org/abs/2006.11239 Improved Denoising Diffusion Probabilistic Models, Nichol,
        Dhariwal, 2021, https://arxiv.org/abs/2102.09672 (learned variance) Denoising Diffusion
        Implicit Models, Song, Meng, Ermon, 2021, https://arxiv.org/abs/2010.02502 (DDIM)
        Classifier-Free Diffusion Guidance, Ho, Salimans, 2022, https://arxiv.org/abs/2207.12598
        (guidance)

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
        >>> model = DDPM(DataSpec(8, 8, 256), timesteps=10, beta_end=0.7, widths=(16,), patch=1).eval()
        >>> rng = Generator().manual_seed(0)
        >>> model.log_likelihood(model.sample(2, rng=rng), rng=rng).shape
        torch.Size([2])
    """

    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (
            DataSpec(2, 4, 2),
            {
                "timesteps": 6,
                "beta_start": 0.1,
                "beta_end": 0.7,
                "widths": [16],
                "blocks": 1,
                "patch": 1,
            },
        ),
        (
            DataSpec(2, 2, 4),
            {
                "timesteps": 6,
                "beta_start": 0.05,
                "beta_end": 0.7,
                "widths": [16, 16],
                "blocks": 1,
                "patch": 1,
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
        schedule = linear_schedule(timesteps, beta_start, beta_end)
        super().__init__(
            spec,
            schedule=schedule,
            variance=variance,
            label_dropout=label_dropout,
            conditional=conditional,
        )
        outputs, classes = (
            2 if variance == "learned" else 1,
            spec.classes if self.conditional else 0,
        )
        self.network = UNet(
            spec,
            outputs=outputs,
            widths=widths,
            blocks=blocks,
            patch=patch,
            norm=norm,
            heads=heads,
            classes=classes,
        )

    def denoise(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
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
        x0 = self.spec.signed(x)
        t, noise, x_t, y = self._drawn(x0, y, rng)
        guess, log_var = self._noise(x_t, t, y)
        loss = 0.5 * (noise - guess).square().flatten(1).sum(1).mean()
        if self.variance == "learned":
            loss = (
                loss
                + _BOUND_WEIGHT
                * self.steps
                * self._term(x, x0, x_t, t, guess.detach(), log_var).mean()
            )
        return Step(loss)
