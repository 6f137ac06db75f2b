"""Flows: invertible networks on dequantised pixels, whose density follows from the change of
variables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from genbench.base import DataSpec, Likelihood, Step
from genbench.errors import UserError, check_positive, near
from genbench.families.noise_latents import NoiseLatents, log_standard_normal
from genbench.nn.bijections import Bijection, Composition, Coupling, Squeeze

__all__ = ["Flow", "Multiscale", "check_squeezes"]

KINDS = ("uniform", "variational")
"""Of dequantisation."""
ALPHA = 1e-6
"""Pixels are mapped into [ALPHA, 1 - ALPHA] before the logit, whose ends lie at infinity."""
INIT_IMAGES = 256
"""Training images from which layers set themselves at first, as many as a large batch."""
DECODE_CHUNK = 250
"""Images decoded at once, to bound memory."""


class Multiscale(nn.Module):
    """Stages of bijections; after each but the last one half of the channels is done and leaves
    (Dinh et al., 2017, section 3.6).

    Arguments:
        stages: the bijections of each stage.
        shape: (C, H, W) of the input.
    """

    def __init__(self, stages: Sequence[Sequence[Bijection]], shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Composition(stage) for stage in stages)
        self.shapes: list[tuple[int, int, int]] = []  # of what leaves after each stage
        channels, height, width = shape
        for number, stage in enumerate(stages):
            for _ in (b for b in stage if isinstance(b, Squeeze)):
                channels, height, width = 4 * channels, height // 2, width // 2
            last = number == len(stages) - 1
            self.shapes.append((channels if last else channels - channels // 2, height, width))
            channels = channels // 2

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to latents (B, D), and the log-determinant (B,)."""
        done, log_det = [], x.new_zeros(len(x))
        for stage, shape in zip(self.stages, self.shapes, strict=True):
            x, stage_log_det = stage(x)
            log_det = log_det + stage_log_det
            done.append(x[:, : shape[0]].flatten(1))
            x = x[:, shape[0] :]
        return torch.cat(done, 1), log_det

    def inverse(self, z: Tensor) -> Tensor:
        """Latents (B, D) to (B, C, H, W)."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = [
            part.view(-1, *shape)
            for part, shape in zip(z.split(sizes, 1), self.shapes, strict=True)
        ]
        x = parts[-1][:, :0]
        for stage, part in zip(reversed(self.stages), reversed(parts), strict=True):
            x = stage.inverse(torch.cat([part, x], 1))  # type: ignore[operator]
        return x

    @torch.no_grad()
    def init_from_data(self, x: Tensor) -> None:
        """Let each bijection set itself from what reaches it of (B, C, H, W)."""
        for stage, shape in zip(self.stages, self.shapes, strict=True):
            stage.init_from_data(x)  # type: ignore[operator]
            x = stage(x)[0][:, shape[0] :]


class Dequantizer(nn.Module):
    """Noise u in [0, 1) for each pixel, drawn from q(u|x): a sigmoid of a small conditional flow
    (Ho, Chen, Srinivas, Duan, Abbeel, 2019).
    """

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(
            # of the four pixels of a squeezed cell those on one colour of a checkerboard, in turn
            Coupling(4, [0, 3] if i % 2 else [1, 2], width=width, blocks=1, context=4)
            for i in range(layers)
        )

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (B, 1, H, W) in [-1, 1] and standard normal noise, the same shape, to u, and log
        q(u|x) (B,).
        """
        squeeze = Squeeze()
        context, h = squeeze(x)[0], squeeze(noise)[0]
        log_q = log_standard_normal(noise)
        for coupling in self.couplings:
            h, log_det = coupling(h, context)
            log_q = log_q - log_det
        h = squeeze.inverse(h)
        log_slope = F.logsigmoid(h) + F.logsigmoid(-h)  # of the sigmoid
        return h.sigmoid(), log_q - log_slope.flatten(1).sum(1)


class Flow(NoiseLatents):
    r"""Base of the flows: a bijection g to a standard normal z, on pixels to which noise u in [0,
    1) is added.

    .. math::
        \log p(v) = \log \mathcal{N}(g(v); 0, I)
        + \log \left| \det \frac{\partial g}{\partial v} \right|, \qquad
        P(x) = \int_{[0,1)^D} p(x + u)\, du
        \ge \exp \mathbb{E}_{u_k \sim q(u|x)}
        \left[ \log \frac1K \sum_k \frac{p(x + u_k)}{q(u_k \mid x)} \right]

    with q uniform, or learned (*variational dequantisation*). A drawn v outside of the pixels'
    range counts to the level at the end of the range, which the bound leaves out.

    Symbols:
        :math:`g`: the logit of pixels (``log_density``), then ``flow``.
        :math:`q`: ``dequantizer``, None for the uniform one.
        :math:`K`: the keyword ``draws``.

    Arguments:
        spec: the data set.
        flow: the bijection of logits of pixels (B, 1, H, W).
        dequantize: ``uniform`` or ``variational``.
        dequantize_width, dequantize_layers: of the variational one's networks, small ones, since
            they only place values within a level.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.LOWER_BOUND
    family: ClassVar[str] = "flows"

    def __init__(
        self,
        spec: DataSpec,
        *,
        flow: Multiscale,
        dequantize: str,
        dequantize_width: int = 32,
        dequantize_layers: int = 4,
    ) -> None:
        super().__init__(spec)
        if dequantize not in KINDS:
            raise UserError(f"dequantize: unknown {dequantize!r}{near(dequantize, KINDS)}")
        self.flow = flow
        self.dequantizer = None
        if dequantize == "variational":
            self.dequantizer = Dequantizer(dequantize_layers, dequantize_width)

    # ---------------------------------------------------------------- density of real-valued images

    def log_density(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, D), and log p(v) in nats (B,), of real-valued images v = x + u (B, 1, H, W)
        in [0, levels).
        """
        unit = self._unit(v)
        logit = unit.logit()
        slope_of_unit = (1 - 2 * ALPHA) / self.spec.levels
        log_slope = math.log(slope_of_unit) - unit.log() - (1 - unit).log()  # of logits by v
        z, log_det = self.flow(logit)
        return z, log_standard_normal(z) + log_det + log_slope.flatten(1).sum(1)

    def _unit(self, v: Tensor) -> Tensor:
        """Values in [0, levels) to [ALPHA, 1 - ALPHA)."""
        return ALPHA + (1 - 2 * ALPHA) * v / self.spec.levels

    def _dequantized(self, x: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        """Pixels with noise v = x + u (B, 1, H, W), and log q(u|x) (B,)."""
        if self.dequantizer is None:
            u = torch.rand(x.shape, generator=rng, device=x.device)
            return x + u, torch.zeros(len(x), device=x.device)
        noise = torch.randn(x.shape, generator=rng, device=x.device)
        u, log_q = self.dequantizer(self.spec.signed(x), noise)
        return x + u, log_q

    # ------------------------------------------------------------------ training and scoring

    @torch.no_grad()
    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        """Scales and shifts from some training images."""
        chosen = x[torch.randint(0, len(x), (INIT_IMAGES,), generator=rng, device=x.device)]
        v = chosen + torch.rand(chosen.shape, generator=rng, device=x.device)
        self.flow.init_from_data(self._unit(v).logit())

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """The bound of one draw."""
        self.check_images(x)
        v, log_q = self._dequantized(x, rng)
        _, log_p = self.log_density(v)
        return Step((log_q - log_p).mean(), {"dequantization_nats": log_q.detach().mean()})

    @torch.no_grad()
    def log_likelihood(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, draws: int = 1
    ) -> Tensor:
        """Bound of log P(x) with ``draws`` draws of the noise, float64 (B,)."""
        self.check_images(x)
        self.check_labels(len(x), y)
        check_positive(draws=draws)
        total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
        for _ in range(draws):
            v, log_q = self._dequantized(x, rng)
            _, log_p = self.log_density(v)
            total = torch.logaddexp(total, log_p.double() - log_q.double())
        return total - math.log(draws)

    # ------------------------------------------------------------------ sampling and latents

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """The inverse of standard normal latents, rounded down to levels."""
        return self.decode(self.prior(n, y, rng=rng), y, rng=rng)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Images uint8 (n, 1, H, W) of latents (n, D); deterministic."""
        self.check_latents(z, y)
        logits = torch.cat([self.flow.inverse(part) for part in z.split(DECODE_CHUNK)])
        unit = logits.sigmoid()
        v = (unit - ALPHA) / (1 - 2 * ALPHA) * self.spec.levels
        return v.floor().clamp(0, self.spec.levels - 1).to(torch.uint8)

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Latents (B, D) of images with noise added."""
        self.check_images(x)
        return self.log_density(self._dequantized(x, rng)[0])[0]


def check_squeezes(spec: DataSpec, scales: int) -> None:
    """UserError unless the image can be halved so often."""
    step = 2**scales
    if spec.height % step or spec.width % step:
        raise UserError(
            f"scales: {scales} need height and width divisible by {step}, got {spec.height} x "
            f"{spec.width}"
        )
