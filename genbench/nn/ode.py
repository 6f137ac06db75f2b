r"""Ordinary differential equations :math:`\dot x = v(x, t)` whose velocity is a network: their
times, their solution, and the divergence of the velocity, by which log-densities fall along it.

References:
    Chen, Rubanova, Bettencourt, Duvenaud, "Neural Ordinary Differential Equations", 2018,
        https://arxiv.org/abs/1806.07366, section 4 (density).
    Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud, "FFJORD", 2019,
        https://arxiv.org/abs/1810.01367 (Hutchinson's estimator).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torchdiffeq import odeint

from genbench.errors import UserError, near

__all__ = [
    "SOLVERS",
    "Velocity",
    "check_solver",
    "integrate_divergence",
    "random_signs",
    "solve",
    "times_to_image",
    "unit_vectors",
    "velocity_and_divergence",
]

SOLVERS = ("euler", "midpoint", "rk4", "dopri5")
"""As torchdiffeq calls them; its ``rk4`` is Kutta's rule of three eighths. The last one chooses its
steps itself.
"""

Velocity = Callable[[Tensor, Tensor], Tensor]
"""``(x (n, 1, H, W), t (n,)) -> (n, 1, H, W)``."""


def check_solver(solver: str, tolerance: float) -> None:
    """UserError unless the solver is one of ``SOLVERS`` and the tolerance between 0 and 1."""
    if solver not in SOLVERS:
        raise UserError(f"solver: unknown {solver!r}{near(solver, SOLVERS)}")
    if not 0 < tolerance < 1:
        raise UserError(f"tolerance: must be between 0 and 1, got {tolerance}")


def times_to_image(steps: int, *, device: torch.device) -> Tensor:
    """Ends (steps + 1,) of ``steps`` steps from time 0 to 1: 1 - (1 - s)^3 of evenly spaced s.

    Steps shorten towards the images, where the velocity changes fastest, since there the noise left
    is as small as the pixels' dequantisation (docs/diffusion.md: equal steps miss the density of
    pixels as narrow as a level by hundreds of nats, these by less than two).
    """
    s = torch.linspace(0, 1, steps + 1, device=device)
    return 1 - (1 - s) ** 3


def solve(velocity: Velocity, x: Tensor, times: Tensor, solver: str, *, tolerance: float) -> Tensor:
    """States (len(times), n, 1, H, W) of the equation from ``x`` at ``times[0]`` on.

    Arguments:
        velocity: v.
        x: states (n, 1, H, W) at the first of ``times``.
        times: rising or falling; a solver of fixed steps steps from one to the next.
        solver: one of ``SOLVERS``.
        tolerance: of the error of ``dopri5``, absolute and relative.
    """

    def at_one_time(t: Tensor, state: Tensor) -> Tensor:
        return velocity(state, t.expand(len(state)))

    states: Tensor = odeint(at_one_time, x, times, method=solver, atol=tolerance, rtol=tolerance)
    return states


def integrate_divergence(
    velocity: Velocity, x: Tensor, times: Tensor, probes: Tensor, *, average: bool
) -> tuple[Tensor, Tensor]:
    """The equation solved by ``rk4``, and the integral of the velocity's divergence along it.

    Arguments:
        velocity: v.
        x: states (n, 1, H, W) at the first of ``times``.
        times: rising or falling; falling ones give minus the integral of rising ones.
        probes: as of :func:`velocity_and_divergence`.
        average: as of :func:`velocity_and_divergence`.

    Returns:
        States (n, 1, H, W) at the last of ``times``, and integrals (n,).
    """

    def both(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return velocity_and_divergence(velocity, state[0], t, probes, average=average)

    states, integrals = odeint(both, (x, x.new_zeros(len(x))), times, method="rk4")
    return states[-1], integrals[-1]


def velocity_and_divergence(
    velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor, *, average: bool
) -> tuple[Tensor, Tensor]:
    r"""Velocities (n, 1, H, W), and :math:`\sum_e e^T (\partial v / \partial x)\, e` (n,), e a
    probe.

    Arguments:
        velocity: v.
        x: states (n, 1, H, W).
        t: their time, a scalar.
        probes: vectors e (K, n, 1, H, W): those of :func:`random_signs`, whose mean estimates the
            divergence without bias, or of :func:`unit_vectors`, whose sum it is.
        average: the mean over the probes in place of the sum.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        v = velocity(x, t.expand(len(x)))
        total = x.new_zeros(len(x))
        for e in probes:
            e_jacobian = torch.autograd.grad(v, x, e, retain_graph=True)[0]
            total = total + (e_jacobian * e).flatten(1).sum(1)
    return v.detach(), total / len(probes) if average else total


def random_signs(count: int, x: Tensor, *, rng: Generator) -> Tensor:
    """Independent values -1 and 1, (count, *x.shape)."""
    shape = (count, *x.shape)
    return torch.randint(0, 2, shape, generator=rng, device=x.device).float() * 2 - 1


def unit_vectors(x: Tensor) -> Tensor:
    """The D unit vectors of images x (n, 1, H, W), the same for each: (D, n, 1, H, W)."""
    units = torch.eye(x[0].numel(), device=x.device)
    return units.view(-1, 1, *x.shape[1:]).expand(-1, *x.shape)
