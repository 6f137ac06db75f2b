"""Metropolis-Hastings steps on the grid of pixel levels, in random blocks of pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from genbench.mcmc.level_proposal import LevelProposal

__all__ = ["LevelState", "metropolis_step", "random_block"]


class LevelState(NamedTuple):
    """Of n chains: levels, and, so that no step computes them twice, a network's energies of them
    with their gradients.

    Attributes:
        levels: int64 (n, D).
        energy: (n,).
        gradient: of the energies by the pixels, (n, D).
    """

    levels: Tensor
    energy: Tensor
    gradient: Tensor


def random_block(n: int, dims: int, size: int, *, rng: Generator) -> Tensor:
    """For each of n chains ``size`` different pixels out of ``dims``, int64 (n, size); all of them
    in their order, without a draw, if that is their number.
    """
    if size == dims:
        return torch.arange(dims, device=rng.device).expand(n, -1)
    scores = torch.rand(n, dims, generator=rng, device=rng.device)
    return scores.topk(size, 1).indices


def metropolis_step(
    state: LevelState,
    block: Tensor,
    *,
    propose: Callable[[LevelState, Tensor], LevelProposal],
    evaluate: Callable[[Tensor], LevelState],
    log_density: Callable[[LevelState], Tensor],
    rng: Generator,
) -> LevelState:
    r"""Propose new levels for a block of pixels of each chain, and accept them with the probability
    that leaves the density f invariant.

    .. math:: \min\left(1, \frac{f(x')\, q(x \mid x')}{f(x)\, q(x' \mid x)}\right)

    Arguments:
        state: x, of n chains.
        block: which pixels may change, int64 (n, K).
        propose: q, of the levels of these pixels, from a state and the block.
        evaluate: levels (n, D) to states.
        log_density: log f of states, float64 (n,).
        rng: source of randomness.
    """
    forward = propose(state, block)
    proposed = evaluate(state.levels.scatter(1, block, forward.draw(rng)))
    backward = propose(proposed, block)
    log_q_forward = forward.log_mass(proposed.levels.gather(1, block))
    log_q_backward = backward.log_mass(state.levels.gather(1, block))
    gain = log_density(proposed) - log_density(state)
    log_ratio = gain + (log_q_backward - log_q_forward)
    uniform = torch.rand(len(block), generator=rng, device=rng.device, dtype=torch.float64)
    accepted = uniform.log() < log_ratio  # (n,)
    return LevelState(
        torch.where(accepted[:, None], proposed.levels, state.levels),
        torch.where(accepted, proposed.energy, state.energy),
        torch.where(accepted[:, None], proposed.gradient, state.gradient),
    )
