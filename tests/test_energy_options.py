"""Options of the energy models' sampling and scoring: how many moves of which kind from where, and
annealed importance sampling written out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from genbench.base import DataSpec
from genbench.families import persistent_chains
from genbench.families.energy import EnergyBased
from genbench.models.ebm import EBM
from genbench.models.rbm import RBM
from tests.contract import every_image, rng

SPEC = DataSpec(2, 2, 3)
STEP = 0.07


def ebm(**options: object) -> EBM:
    torch.manual_seed(0)
    model = EBM(
        SPEC,
        **{
            "widths": [8],
            "hidden": 8,
            "buffer_size": 16,
            "reach": 1.0,
            "step_size": STEP,
            "burn_in": 6,
            **options,
        },
    ).eval()  # type: ignore[arg-type]
    model.init_from_data(
        torch.randint(0, 3, (50, 1, 2, 2), dtype=torch.uint8, generator=rng(1)), None, rng=rng(2)
    )
    with torch.no_grad():
        model.scale.fill_(20.0)
    return model


def rbm() -> RBM:
    torch.manual_seed(0)
    model = RBM(DataSpec(3, 3, 2), hidden=5, persistent_chains=16, burn_in=6).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.7 * torch.randn_like(p))
        model.start_bias.copy_(torch.randn_like(model.start_bias))
    return model


MODELS: dict[str, Callable[[], EnergyBased[Any]]] = {
    "ebm": ebm,
    "reference": lambda: ebm(sampler="grid", reference=True),
    "rbm": rbm,
}


def moves_of(model: EnergyBased[Any]) -> list[float]:
    """The inverse temperatures of all moves to come."""
    told: list[float] = []
    move = type(model).move

    def spy(state: Any, beta: float = 1.0, *, rng: Generator) -> Any:
        told.append(beta)
        return move(model, state, beta, rng=rng)

    model.move = spy  # type: ignore[method-assign]
    return told


# ---------------------------------------------------------------------- sampling


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("burn_in", [None, 8, 1])
def test_a_sample_is_annealed_over_half_of_its_moves(name: str, burn_in: int | None) -> None:
    model = MODELS[name]()
    told = moves_of(model)
    model.sample(5, rng=rng(0), burn_in=burn_in)
    count = burn_in or 6  # that of the constructor
    assert told == [min(1.0, 2 * k / count) for k in range(1, count + 1)]
    expected = {1: [1.0], 6: [1 / 3, 2 / 3, 1, 1, 1, 1], 8: [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]}[count]
    assert told == pytest.approx(expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_is_the_state_after_the_last_move(name: str) -> None:
    model, g = MODELS[name](), rng(4)
    with torch.no_grad():
        state = model.initial_states(30, rng=g)
        for beta in (1 / 3, 2 / 3, 1.0, 1.0, 1.0, 1.0):
            state = model.move(state, beta, rng=g)
    assert torch.equal(model.sample(30, rng=rng(4)), model.to_images(state))


@pytest.mark.parametrize("sampler", ["grid", "langevin"])
@pytest.mark.parametrize("start", ["noise", "buffer"])
def test_chains_move_by_the_sampler_from_the_start_that_was_asked_for(
    sampler: str, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, langevin = ebm(), persistent_chains.langevin_step
    # Noise is black, the chains of training are white.
    model.histogram.copy_(torch.tensor([1.0, 1e-9, 1e-9]).log().expand(2, 2, 3))
    model.chain.fill_(1.0)
    grid, begun, steps = moves_of(model), [], []

    def spy(
        energy: Callable[[Tensor], Tensor], v: Tensor, step_size: float, *, rng: Generator
    ) -> Tensor:
        steps.append(step_size)
        begun.append(v.clone())
        return langevin(energy, v, step_size, rng=rng)

    states = model.states

    def states_spy(x: Tensor) -> Any:
        begun.append(x.clone())
        return states(x)

    monkeypatch.setattr(persistent_chains, "langevin_step", spy)
    model.states = states_spy  # type: ignore[method-assign]
    frames = list(model.frames(5, rng=rng(0), burn_in=4, sampler=sampler, start=start))
    assert len(frames) == 4
    if sampler == "langevin":
        assert (steps, grid) == ([STEP] * 4, [])
        white = 1.0
    else:
        assert steps == []
        assert grid == ([0.5, 1.0, 1.0, 1.0] if start == "noise" else [1.0] * 4)
        white = 2.0
    black = -1.0 if sampler == "langevin" else 0.0
    assert set(begun[0].double().unique().tolist()) == {white if start == "buffer" else black}
    assert torch.equal(
        frames[-1], model.sample(5, rng=rng(0), burn_in=4, sampler=sampler, start=start)
    )


def test_langevin_samples_are_the_nearest_levels() -> None:
    model = ebm()
    model.chain.copy_(torch.linspace(-0.99, 0.99, 64).view(16, 1, 2, 2))
    model.step_size = 1e-6
    x = model.sample(16, rng=rng(0), sampler="langevin", start="buffer", burn_in=1)
    order = torch.randperm(16, generator=rng(0))
    expected = (torch.linspace(-0.99, 0.99, 64).view(16, 4)[order].numpy() + 1).round()
    assert np.array_equal(x.flatten(1).numpy(), expected)


# --------------------------------------------------------------------- annealed importance sampling

PIECES = {"ebm": (12, 16, 12), "reference": (12, 16, 12), "rbm": (4, 12, 24)}
"""Of 40 temperatures, how many lead to 0.5, from there to 0.9, and from there to 1."""


def temperatures_of(name: str, count: int) -> list[float]:
    """With fewer than ten for each piece the path has even steps."""
    if count < 30:
        return [float(beta) for beta in np.linspace(0, 1, count + 1)]
    first, second, third = PIECES[name]
    parts = [
        np.linspace(0, 0.5, first + 1),
        np.linspace(0.5, 0.9, second + 1)[1:],
        np.linspace(0.9, 1, third + 1)[1:],
    ]
    return [float(beta) for beta in np.concatenate(parts)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("chains", "count"), [(20, 12), (35, 12), (20, 40)])
@torch.no_grad()
def test_log_z_is_that_of_the_loop_written_out(name: str, chains: int, count: int) -> None:
    model, betas, g = MODELS[name](), temperatures_of(name, count), rng(3)
    state = model.initial_states(chains, rng=g)
    log_w = torch.zeros(chains, dtype=torch.float64)
    for number, (before, after) in enumerate(itertools.pairwise(betas)):
        log_w += model.log_f(state, after) - model.log_f(state, before)
        if number < count - 1:
            state = model.move(state, after, rng=g)
    log_z = float(model.initial_log_z() + log_w.logsumexp(0)) - math.log(chains)
    told = moves_of(model)
    info = model.prepare_likelihood(rng=rng(3), chains=chains, temperatures=count, ess_floor=11.0)
    assert told == pytest.approx(betas[1:-1])
    w = (log_w - log_w.max()).exp()
    ess = float(w.sum() ** 2 / w.square().sum())
    stderr = float(w.std() / w.mean()) / math.sqrt(chains)
    assert info == pytest.approx(
        {"log_z": log_z, "log_z_stderr": stderr, "ess": ess, "ess_floor": 11.0}, rel=1e-9
    )
    x = every_image(model.spec)
    expected = model.log_f(model.from_images(x)) - log_z
    torch.testing.assert_close(model.log_likelihood(x, rng=rng()), expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_log_z_has_its_defaults(name: str) -> None:
    model, counts = MODELS[name](), []
    start, told = type(model).initial_states, moves_of(model)
    model.initial_states = lambda n, *, rng: counts.append(n) or start(model, n, rng=rng)  # type: ignore[method-assign]
    info = model.prepare_likelihood(rng=rng(0))
    assert (counts, len(told), info["ess_floor"]) == ([500], 299, 10.0)
