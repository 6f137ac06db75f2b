"""Proposals on the grid of levels against their formula, level by level."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Generator, Tensor

from genbench.mcmc.level_proposal import LevelProposal

VALUES = torch.tensor([-1.0, 0.2, 1.0])


def case() -> tuple[Tensor, Tensor, Tensor]:
    """Levels, gains and slopes of one image of two pixels."""
    rng = Generator().manual_seed(0)
    return torch.tensor([[0, 2]]), torch.randn(1, 2, 3, generator=rng), torch.tensor([[1.3, -0.8]])


def by_hand(x: Tensor, gain: Tensor, slope: Tensor, reach: float) -> dict[tuple[int, ...], float]:
    """Log-probability of each of the nine outcomes."""
    found = {}
    for outcome in itertools.product(range(3), repeat=2):
        found[outcome] = 0.0
        for i, level in enumerate(outcome):
            moves = [float(value - VALUES[x[0, i]]) for value in VALUES]
            tilts = [float(slope[0, i]) * d for d in moves]
            if reach:
                tilts = [
                    tilt / 2 - d**2 / (2 * reach) for tilt, d in zip(tilts, moves, strict=True)
                ]
            weights = [float(gain[0, i, k]) + tilt for k, tilt in enumerate(tilts)]
            found[outcome] += weights[level] - math.log(sum(math.exp(w) for w in weights))
    return found


@pytest.mark.parametrize("reach", [0.7, 0.0])
def test_masses_are_those_of_the_formula(reach: float) -> None:
    x, gain, slope = case()
    proposal = LevelProposal(x, gain, slope, VALUES, reach)
    for outcome, expected in by_hand(x, gain, slope, reach).items():
        assert abs(proposal.log_mass(torch.tensor([outcome])).item() - expected) < 1e-5


@pytest.mark.parametrize("reach", [0.7, 0.0])
def test_draws_have_these_masses(reach: float) -> None:
    x, gain, slope = case()
    n = 40_000
    proposal = LevelProposal(
        x.expand(n, -1), gain.expand(n, -1, -1), slope.expand(n, -1), VALUES, reach
    )
    drawn = proposal.draw(Generator().manual_seed(0))
    for outcome, log_p in by_hand(x, gain, slope, reach).items():
        share = (drawn == torch.tensor(outcome)).all(1).float().mean().item()
        assert abs(share - math.exp(log_p)) < 5 * math.sqrt(0.25 / n)
