"""Langevin steps on relaxed pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

__all__ = ["langevin_step"]


def langevin_step(
    energy: Callable[[Tensor], Tensor], v: Tensor, step_size: float, *, rng: Generator
) -> Tensor:
    r"""One step at unit temperature, unadjusted and projected onto the box [-1, 1].

    .. math::
        v \leftarrow \mathrm{clip}\left(
        v - \tfrac{s^2}{2} \nabla E(v) + s\, \epsilon\right), \qquad
        \epsilon \sim \mathcal{N}(0, I)

    References:
        Welling, Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics", 2011,
            https://www.stats.ox.ac.uk/~teh/research/compstats/WelTeh2011a.pdf, eq. 2 with the
            gradient of all terms.

    Arguments:
        energy: E, of images (n, ...) to (n,).
        v: images in [-1, 1].
        step_size: s.
        rng: source of randomness.
    """
    with torch.enable_grad():
        v = v.detach().requires_grad_()
        gradient = torch.autograd.grad(energy(v).sum(), v)[0]
    eps = torch.randn(v.shape, generator=rng, device=v.device)
    return (v.detach() - 0.5 * step_size**2 * gradient + step_size * eps).clamp(-1, 1)
