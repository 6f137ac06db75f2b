"""Flow matching: a velocity field that carries noise to images along straight paths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor
from torchdiffeq import odeint

from genbench.base import Conditioning, DataSpec, Likelihood, Step
from genbench.errors import UserError, check_positive, near
from genbench.families.noise_latents import NoiseLatents, log_standard_normal, spread
from genbench.hardware.precision import autocast, check_precision, resolved
from genbench.nn.unet import UNet

__all__ = ["FlowMatching"]

FRAMES = 25
TIMES = ("uniform", "logit_normal")
TOLERANCE = 1e-4
SOLVERS = ("euler", "midpoint", "rk4", "dopri5")  # as torchdiffeq calls them


class FlowMatching(NoiseLatents):
    r"""An ordinary differential equation from noise :math:`x_0 \sim \mathcal{N}(0, I)` at time 0 to
    images at time 1, :math:`\dot x_t = v_\theta(x_t, t)`.

    Training needs no simulation: on the straight path between a noise and an image the network
    learns the path's velocity,

    .. math:: \min_\theta \mathbb{E} \lVert v_\theta((1 - t) x_0 + t x_1, t) - (x_1 - x_0) \rVert^2, \qquad
        \log p(x_1) = \log \mathcal{N}(x_0; 0, I) - \int_0^1 \nabla \cdot v_\theta(x_t, t)\, dt

    Pixels are dequantised by uniform noise, as for the flows; the divergence is estimated by
    :math:`e^T (\partial v / \partial x)\, e` with random signs e (Hutchinson), without bias, so
    that the score is on average at most log P(x), but for the solver's error: with 25 steps below 2
    nats in 784 pixels that are all as narrow as a level (tested), and 2.5 nats on average, in the
    score's favour, for the network of `quick` (``benchmarks/solver_error.py``).

    References:
        Flow Matching for Generative Modeling, Lipman, Chen, Ben-Hamu, Nickel, Le, 2023,
        https://arxiv.org/abs/2210.02747 Flow Straight and Fast: Learning to Generate and Transfer
        Data with Rectified Flow, Liu, Gong, Liu, 2023, https://arxiv.org/abs/2209.03003 Scaling
        Rectified Flow Transformers for High-Resolution Image Synthesis, Esser et al., 2024,
        https://arxiv.org/abs/2403.03206 (logit-normal times) FFJORD, Grathwohl, Chen, Bettencourt,
        Sutskever, Duvenaud, 2019, https://arxiv.org/abs/1810.01367 (density by Hutchinson's
        estimator)

    Arguments:
        spec: the data set; height and width divisible by ``patch``.
        widths, blocks, patch, norm, heads: of the :class:`genbench.nn.unet.UNet`.
        times: how they are drawn in training: ``uniform``, or ``logit_normal``, more of them in the
            middle, where it is decided which digit becomes.
        ode_steps: steps of the solver that scores and, unless it is told otherwise, samples.
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
    sums_classes: ClassVar[bool] = (
        False  # an estimate of log p, whose exponential is above p on average
    )
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (DataSpec(2, 4, 2), {"widths": [16], "blocks": 1, "patch": 2, "ode_steps": 4}),
        (
            DataSpec(2, 2, 4),
            {"widths": [16], "blocks": 1, "patch": 2, "ode_steps": 4, "norm": "batch"},
        ),
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
        classes = spec.classes if self.conditional else 0
        self.network = UNet(
            spec, widths=widths, blocks=blocks, patch=patch, norm=norm, classes=classes, heads=heads
        )

    # ------------------------------------------------------------------ training

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Half the squared error of the velocity at a random time of each image."""
        self.check_images(x)
        self.check_labels(len(x), y)
        place = x.device
        data = self._dequantized(x, rng)
        noise = torch.randn(data.shape, generator=rng, device=place)
        t = spread(len(x), rng=rng)
        if self.times == "logit_normal":
            t = (math.sqrt(2) * torch.erfinv(2 * t - 1)).sigmoid().clamp(1e-4, 1 - 1e-4)
        share = t[:, None, None, None]
        velocity = self.network((1 - share) * noise + share * data, t, y)
        return Step(0.5 * (velocity - (data - noise)).square().flatten(1).sum(1).mean())

    def _dequantized(self, x: Tensor, rng: Generator) -> Tensor:
        """Images with uniform noise, in [-1, 1]."""
        return 2 * (x + torch.rand(x.shape, generator=rng, device=x.device)) / self.spec.levels - 1

    # ------------------------------------------------------------------ the equation

    def _solve(
        self, x: Tensor, y: Tensor | None, times: Tensor, solver: str, tolerance: float = TOLERANCE
    ) -> Tensor:
        """States (len(times), n, 1, H, W) of the equation from ``x`` at ``times[0]``; a solver of
        fixed steps steps from one time to the next.
        """

        def velocity(t: Tensor, state: Tensor) -> Tensor:
            return self.network(state, t.expand(len(state)), y)

        states: Tensor = odeint(velocity, x, times, method=solver, atol=tolerance, rtol=tolerance)
        return states

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
        times = self._times("rk4", None, x.device).flip(0)
        data = self._dequantized(x, rng)
        signs = (
            torch.randint(0, 2, (probes, *data.shape), generator=rng, device=x.device).float() * 2
            - 1
        )

        def both(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return self._velocity_and_divergence(state[0], t, y, signs)

        states = odeint(both, (data, data.new_zeros(len(x))), times, method="rk4")
        z, change = (state[-1].double() for state in states)
        return log_standard_normal(z) + change + self.spec.dims * math.log(2 / self.spec.levels)

    def _velocity_and_divergence(
        self, x: Tensor, t: Tensor, y: Tensor | None, signs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The velocity, and its divergence (B,), whose integral from time 1 to 0 is minus that from
        0 to 1.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            velocity = self.network(x, t.expand(len(x)), y)
            probes = (
                signs
                if len(signs)
                else torch.eye(self.spec.dims, device=x.device)
                .view(-1, 1, *x.shape[1:])
                .expand(-1, *x.shape)
            )
            total = x.new_zeros(len(x))
            for probe in probes:
                gradient = torch.autograd.grad(velocity, x, probe, retain_graph=True)[0]
                total = total + (gradient * probe).flatten(1).sum(1)
        return velocity.detach(), total / max(1, len(signs))

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
        times = self._times(solver, ode_steps, rng.device, tolerance, adaptive=FRAMES)
        z = self.as_maps(self.prior(n, y, rng=rng))
        with autocast(precision, z.device):
            states = self._solve(z, y, times, solver, tolerance)
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
        """Noise carried to time 1, rounded down to levels.

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
        steps = given.get("ode_steps") or self.ode_steps
        exact = (given["solver"] == "rk4" and steps >= self.ode_steps) or (
            given["solver"] == "dopri5" and given["tolerance"] <= TOLERANCE
        )
        name = "dopri5" if given["solver"] == "dopri5" else f"{given['solver']}-{steps}"
        full = given["precision"] == "float32"
        return name if full else f"{name} (precision={given['precision']})", bool(exact and full)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Images uint8 (n, 1, H, W) of latents (n, D); deterministic."""
        self.check_latents(z, y)
        return self._levels(
            self._solve(self.as_maps(z), y, self._times("rk4", None, z.device), "rk4")[-1]
        )

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Latents (B, D): images with noise added, carried back to time 0."""
        self.check_images(x)
        self.check_labels(len(x), y)
        times = self._times("rk4", None, x.device).flip(0)
        return self._solve(self._dequantized(x, rng), y, times, "rk4")[-1].flatten(1)

    def _levels(self, x: Tensor) -> Tensor:
        """(n, 1, H, W) in [-1, 1] to the levels whose bins they lie in."""
        return (
            ((x + 1) / 2 * self.spec.levels).floor().clamp(0, self.spec.levels - 1).to(torch.uint8)
        )

    def _times(
        self,
        solver: str,
        ode_steps: int | None,
        device: torch.device,
        tolerance: float = TOLERANCE,
        *,
        adaptive: int = 1,
    ) -> Tensor:
        """Times from 0 to 1 for a solver: the ends of its steps, or of ``adaptive`` parts where it
        chooses them itself.

        Steps shorten towards the images, where the velocity changes fastest: there the noise left
        is as small as the pixels' own.
        """
        if solver not in SOLVERS:
            raise UserError(f"solver: unknown {solver!r}{near(solver, SOLVERS)}")
        if not 0 < tolerance < 1:
            raise UserError(f"tolerance: must be between 0 and 1, got {tolerance}")
        steps = self.ode_steps if ode_steps is None else ode_steps
        check_positive(ode_steps=steps)
        ends = torch.linspace(0, 1, (adaptive if solver == "dopri5" else steps) + 1, device=device)
        return 1 - (1 - ends) ** 3
