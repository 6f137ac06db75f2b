"""Flow matching: a velocity field that leads from noise to images along straight paths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from genbench.base import Conditioning, DataSpec, Likelihood, Step
from genbench.errors import UserError, check_positive, near
from genbench.families.noise_latents import NoiseLatents, log_standard_normal, spread
from genbench.hardware.precision import autocast, check_precision, resolved
from genbench.nn.ode import (
    Velocity,
    check_solver,
    integrate_divergence,
    random_signs,
    solve,
    times_to_image,
    unit_vectors,
)
from genbench.nn.unet import UNet

__all__ = ["FlowMatching"]

TIMES = ("uniform", "logit_normal")
TOLERANCE = 1e-4
"""Of dopri5, unless told otherwise: an eightieth of the distance of 256 levels in [-1, 1]."""
FRAMES = 25
"""States that ``frames`` shows of dopri5, as many as of the default 25 steps of rk4."""

_TINY: dict[str, Any] = {"widths": [16], "blocks": 1, "patch": 2, "ode_steps": 4}


class FlowMatching(NoiseLatents):
    r"""An ordinary differential equation leads from noise at time 0 to images at time 1. Training
    needs no simulation: on the straight path between a noise and an image the network learns the
    path's velocity.

    .. math::
        \min_\theta \mathbb{E} \lVert v_\theta(x_t, t) - (x_1 - x_0) \rVert^2, \qquad
        x_t = (1 - t) x_0 + t x_1, \qquad
        x_0 \sim \mathcal{N}(0, I)

    .. math::
        \dot x_t = v_\theta(x_t, t), \qquad
        \log p(x_1) = \log \mathcal{N}(x_0; 0, I) - \int_0^1 \nabla \cdot v_\theta(x_t, t)\, dt

    Pixels are dequantised by uniform noise, as for the flows; the divergence is estimated by
    :math:`e^T (\partial v / \partial x)\, e` with random signs e (Hutchinson), without bias, so
    that the score is on average at most log P(x), but for the solver's error: with 25 steps below 2
    nats in 784 pixels that are all as narrow as a level (tested), and 2.5 nats on average, in the
    score's favour, for the network of `quick` (``benchmarks/solver_error.py``).

    Symbols:
        :math:`v_\theta`: ``network``.
        :math:`x_0, x_1`: latents and dequantised pixels, of the same shape.

    References:
        Lipman, Chen, Ben-Hamu, Nickel, Le, "Flow Matching for Generative Modeling", 2023,
            https://arxiv.org/abs/2210.02747.
        Liu, Gong, Liu, "Flow Straight and Fast: Learning to Generate and Transfer Data with
            Rectified Flow", 2023, https://arxiv.org/abs/2209.03003.
        Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis",
            2024, https://arxiv.org/abs/2403.03206 (logit-normal times).
        Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud, "FFJORD", 2019,
            https://arxiv.org/abs/1810.01367 (density by Hutchinson's estimator).

    Differs: the U-Net reads patches; the times of a batch are spread evenly; scoring takes fixed
    steps, so that an image's score does not depend on the images beside it.

    Arguments:
        spec: the data set; height and width divisible by ``patch``.
        widths, blocks, patch, norm, heads: of the :class:`genbench.nn.unet.UNet`.
        times: how they are drawn in training: ``uniform``, or ``logit_normal``, more of them in the
            middle, where it is decided which digit becomes.
        ode_steps: steps of the solver that scores; the default of sampling too.
        conditional: read labels.

    Example:
        >>> model = FlowMatching(DataSpec(4, 4, 256), widths=(16,), patch=1).eval()
        >>> rng = Generator().manual_seed(0)
        >>> model.log_likelihood(model.sample(2, rng=rng), rng=rng).shape
        torch.Size([2])
    """

    likelihood: ClassVar[Likelihood] = Likelihood.LOWER_BOUND
    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    family: ClassVar[str] = "diffusion"
    # an estimate of log p, whose exponential is above p on average
    sums_classes: ClassVar[bool] = False
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (DataSpec(2, 4, 2), _TINY),
        (DataSpec(2, 2, 4), {**_TINY, "norm": "batch"}),
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        widths: Sequence[int] = (32, 64),
        blocks: int = 2,
        patch: int = 2,
        norm: str = "group",
        heads: int = 2,
        times: str = "uniform",
        ode_steps: int = 25,
        conditional: bool = False,
    ) -> None:
        super().__init__(spec, conditional=conditional)
        check_positive(ode_steps=ode_steps)
        if times not in TIMES:
            raise UserError(f"times: unknown {times!r}{near(times, TIMES)}")
        self.times, self.ode_steps = times, ode_steps
        self.network = UNet(
            spec,
            widths=widths,
            blocks=blocks,
            patch=patch,
            norm=norm,
            heads=heads,
            classes=spec.classes if self.conditional else 0,
        )

    def velocity(self, y: Tensor | None) -> Velocity:
        """v(x, t) for labels ``y``."""
        return lambda x, t: self.network(x, t, y)

    # ------------------------------------------------------------------ training

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Half the squared error of the velocity at a random time of each image."""
        self.check_images(x)
        self.check_labels(len(x), y)
        x_1 = self._dequantized(x, rng)
        x_0 = torch.randn(x_1.shape, generator=rng, device=x.device)
        t = self._draw_times(len(x), rng)
        share = t[:, None, None, None]
        v = self.network((1 - share) * x_0 + share * x_1, t, y)
        error = (v - (x_1 - x_0)).square().flatten(1).sum(1)
        return Step(0.5 * error.mean())

    def _draw_times(self, n: int, rng: Generator) -> Tensor:
        """Times (n,) in [0, 1), evenly spread over their distribution."""
        t = spread(n, rng=rng)
        if self.times == "uniform":
            return t
        normal = math.sqrt(2) * torch.erfinv(2 * t - 1)
        # Of t = 0 the logit is infinite; the bounds lie nine standard deviations out.
        return normal.sigmoid().clamp(1e-4, 1 - 1e-4)

    def _dequantized(self, x: Tensor, rng: Generator) -> Tensor:
        """Images with uniform noise, in [-1, 1]."""
        u = torch.rand(x.shape, generator=rng, device=x.device)
        return 2 * (x + u) / self.spec.levels - 1

    # ------------------------------------------------------------------ scoring

    @torch.no_grad()
    def log_likelihood(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, probes: int = 1
    ) -> Tensor:
        """Log p(x + u) for one draw of u, float64 (B,), by the solver of the model, ``rk4`` with
        ``ode_steps`` steps: another is another model.

        Arguments:
            x: images.
            y: labels.
            rng: source of randomness.
            probes: random signs behind the estimate of the divergence; 0 for the exact one (D times
                as much work).
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        self._check_probes(probes)
        times = times_to_image(self.ode_steps, device=x.device).flip(0)
        x_1 = self._dequantized(x, rng)
        vectors = random_signs(probes, x_1, rng=rng) if probes else unit_vectors(x_1)
        v = self.velocity(y)
        x_0, integral = integrate_divergence(v, x_1, times, vectors, average=probes > 0)
        # from time 1 to 0 the integral is minus that of the formula
        log_p = log_standard_normal(x_0.double()) + integral.double()
        return log_p + self.spec.dims * math.log(2 / self.spec.levels)

    def likelihood_passes(self, **options: Any) -> int:
        """A forward pass and, for each probe, a backward one, about twice as long, at each of the
        four evaluations of a step.
        """
        probes = int(options.get("probes", 1))
        self._check_probes(probes)
        return 4 * self.ode_steps * (1 + 2 * (probes or self.spec.dims))

    def _check_probes(self, probes: int) -> None:
        if probes < 0:
            raise UserError(f"probes: must be 0 (exact) or more, got {probes}")

    # ------------------------------------------------------------------ sampling and latents

    @torch.no_grad()
    def frames(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        rng: Generator,
        solver: str = "rk4",
        ode_steps: int | None = None,
        tolerance: float = TOLERANCE,
        precision: str = "float32",
    ) -> Iterator[Tensor]:
        """States of the equation between the steps, from noise to images."""
        check_precision(precision, where="precision")
        ode_steps = self.ode_steps if ode_steps is None else ode_steps
        check_solver(solver, tolerance)
        check_positive(ode_steps=ode_steps)
        parts = FRAMES if solver == "dopri5" else ode_steps
        times = times_to_image(parts, device=rng.device)
        x_0 = self.as_maps(self.prior(n, y, rng=rng))
        with autocast(precision, x_0.device):
            states = solve(self.velocity(y), x_0, times, solver, tolerance=tolerance)
        yield from map(self._levels, states[1:])

    @torch.no_grad()
    def sample(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        rng: Generator,
        solver: str = "rk4",
        ode_steps: int | None = None,
        tolerance: float = TOLERANCE,
        precision: str = "float32",
    ) -> Tensor:
        """Noise integrated to time 1, rounded down to levels.

        Arguments:
            n: images.
            y: labels.
            rng: source of randomness.
            solver: ``rk4``, ``midpoint`` or ``euler`` in a fixed number of steps, or ``dopri5``,
                which chooses them by the error of all images together.
            ode_steps: number of fixed steps; those of the score if None.
            tolerance: of the error of ``dopri5``, absolute and relative.
            precision: of the network: ``float32``, ``bfloat16``, which is cheaper and not quite the
                scored one, or ``auto``, bfloat16 where it is native.
        """
        *_, last = self.frames(
            n,
            y,
            rng=rng,
            solver=solver,
            ode_steps=ode_steps,
            tolerance=tolerance,
            precision=precision,
        )
        return last

    def describe_sampler(self, **options: object) -> tuple[str, bool]:
        """``rk4-25``, ``midpoint-10 (precision=bfloat16)``; the scored distribution's if it solves
        the equation as well as the score does.
        """
        given: dict[str, Any] = {
            "solver": "rk4",
            "tolerance": TOLERANCE,
            "precision": "float32",
            **resolved(options, self.device),
        }
        solver, precision = given["solver"], given["precision"]
        steps = given.get("ode_steps") or self.ode_steps
        if solver == "dopri5":
            name, exact = solver, given["tolerance"] <= TOLERANCE
        else:
            name, exact = f"{solver}-{steps}", solver == "rk4" and steps >= self.ode_steps
        if precision == "float32":
            return name, bool(exact)
        return f"{name} (precision={precision})", False

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Images uint8 (n, 1, H, W) of latents (n, D); deterministic."""
        self.check_latents(z, y)
        times = times_to_image(self.ode_steps, device=z.device)
        return self._levels(self._solve_as_scored(self.as_maps(z), y, times))

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Latents (B, D): dequantised images integrated back to time 0."""
        self.check_images(x)
        self.check_labels(len(x), y)
        times = times_to_image(self.ode_steps, device=x.device).flip(0)
        return self._solve_as_scored(self._dequantized(x, rng), y, times).flatten(1)

    def _solve_as_scored(self, x: Tensor, y: Tensor | None, times: Tensor) -> Tensor:
        """The state at the last of ``times``, by the solver of the score."""
        return solve(self.velocity(y), x, times, "rk4", tolerance=TOLERANCE)[-1]

    def _levels(self, x: Tensor) -> Tensor:
        """(n, 1, H, W) in [-1, 1] to the levels whose bins they lie in."""
        level = ((x + 1) / 2 * self.spec.levels).floor()
        return level.clamp(0, self.spec.levels - 1).to(torch.uint8)
