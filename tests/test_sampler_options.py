"""Options of the samplers against loops written out: ancestral and deterministic diffusion,
guidance, clipping, and the solvers of flow matching.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from genbench.base import DataSpec
from genbench.families.diffusion import GaussianDiffusion
from genbench.models.ddpm import DDPM
from genbench.models.ddpm_vlb import DDPMVLB
from genbench.models.flow_matching import FlowMatching
from tests.contract import rng

SPEC, STEPS = DataSpec(4, 4, 256, 3), 8
N = 60


def ddpm() -> DDPM:
    return DDPM(
        SPEC,
        timesteps=STEPS,
        beta_start=0.05,
        beta_end=0.6,
        widths=(16,),
        blocks=1,
        patch=1,
        label_dropout=0.3,
        conditional=True,
    )


def ddpm_vlb() -> DDPMVLB:
    return DDPMVLB(
        SPEC,
        timesteps=STEPS,
        log_snr_max=5.0,
        log_snr_min=-4.0,
        widths=(16,),
        blocks=1,
        patch=1,
        label_dropout=0.3,
        conditional=True,
    )


def estimate(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """In place of the network's estimate of the noise: it bends with place, time and label, of
    which 3 stands for none.
    """
    return 0.9 * (1.3 * x_t).sin() + (0.3 * t + 0.15 * (y - 1))[:, None, None, None]


def build(make: Callable[[], GaussianDiffusion]) -> GaussianDiffusion:
    model = make().eval()
    model.model_output = estimate  # type: ignore[method-assign]
    return model


def left_of(make: Callable[[], GaussianDiffusion]) -> Tensor:
    """Share (T + 1,) of the image's variance that is left after each step."""
    if make is ddpm:
        shares = (1 - torch.linspace(0.05, 0.6, STEPS, dtype=torch.float64)).cumprod(0)
    else:
        shares = torch.linspace(5.0, -4.0, STEPS, dtype=torch.float64).sigmoid()
    return torch.cat([torch.ones(1, dtype=torch.float64), shares])


@torch.no_grad()
def by_hand(
    make: Callable[[], GaussianDiffusion],
    y: Tensor,
    g: Generator,
    ddim_steps: int = 0,
    guidance: float = 0.0,
    clip: bool = False,
) -> Tensor:
    """Samples by the papers' formulas in float64."""
    left = left_of(make)
    x = torch.randn(len(y), SPEC.dims, generator=g).view(-1, 1, 4, 4).double()
    count = ddim_steps or STEPS
    for now, then in itertools.pairwise(round(STEPS * i / count) for i in range(count, -1, -1)):
        t = torch.full((len(y),), now / STEPS, dtype=torch.float64)
        noise = estimate(x, t, y)
        if guidance:
            unlabelled = estimate(x, t, torch.full_like(y, 3))
            noise = (1 + guidance) * noise - guidance * unlabelled
        image = (x - (1 - left[now]).sqrt() * noise) / left[now].sqrt()
        image = image.clamp(-1, 1) if clip else image
        if ddim_steps:
            x = left[then].sqrt() * image + (1 - left[then]).sqrt() * noise
            continue
        beta = 1 - left[now] / left[then]
        mean = (left[then].sqrt() * beta * image + (1 - beta).sqrt() * (1 - left[then]) * x) / (
            1 - left[now]
        )
        late = max(now, 2)  # the posterior has no variance at step 1
        posterior = (1 - left[late] / left[late - 1]) * (1 - left[late - 1]) / (1 - left[late])
        variance = beta if make is ddpm else posterior
        x = mean + variance.sqrt() * torch.randn(x.shape, generator=g)
    return ((x + 1) * 127.5).round().clamp(0, 255)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"guidance": 1.5},
    {"clip": True},
    {"guidance": 3.0, "clip": True},
    {"ddim_steps": 3},
    {"ddim_steps": STEPS},
    {"ddim_steps": 3, "guidance": 1.5},
    {"ddim_steps": 3, "clip": True},
]


@pytest.mark.parametrize("make", [ddpm, ddpm_vlb])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_sample_is_the_loop_written_out(
    make: Callable[[], GaussianDiffusion], options: dict[str, Any]
) -> None:
    model, y = build(make), torch.arange(N) % 3
    found = model.sample(N, y, rng=rng(5), **options).double()
    expected = by_hand(make, y, rng(5), **options)
    assert (found - expected).abs().max() <= 1  # a float at the edge of a level
    assert (found != expected).double().mean() < 0.01
    assert (
        (found > 0) & (found < 255)
    ).double().mean() > 0.1  # or levels at the ends would hide differences
    *_, last = model.frames(N, y, rng=rng(5), **options)
    assert torch.equal(last.double(), found)


@pytest.mark.parametrize("make", [ddpm, ddpm_vlb])
def test_each_option_makes_samples_of_its_own(make: Callable[[], GaussianDiffusion]) -> None:
    """Or the loop written out could agree with a sampler that ignores it."""
    y = torch.arange(N) % 3
    made = [by_hand(make, y, rng(5), **options) for options in OPTIONS]
    for a, b in itertools.combinations(made, 2):
        assert ((a - b).abs() > 1).double().mean() > 0.05


@pytest.mark.parametrize("make", [ddpm, ddpm_vlb])
@pytest.mark.parametrize("ddim_steps", [1, 3, STEPS])
def test_the_deterministic_sampler_decodes_its_own_latents(
    make: Callable[[], GaussianDiffusion], ddim_steps: int
) -> None:
    model, y = build(make), torch.arange(N) % 3
    z = model.prior(N, y, rng=rng(5))
    decoded = model.decode(z, y, rng=rng(6), ddim_steps=ddim_steps)
    assert torch.equal(model.sample(N, y, rng=rng(5), ddim_steps=ddim_steps), decoded)
    if ddim_steps == STEPS:  # there are fewer than 50, so this is what is taken unless told
        assert torch.equal(model.decode(z, y, rng=rng(6)), decoded)


@pytest.mark.parametrize("make", [ddpm, ddpm_vlb])
def test_unlabelled_estimates_are_asked_for_only_where_they_guide(
    make: Callable[[], GaussianDiffusion],
) -> None:
    model, seen = build(make), []
    y = torch.arange(6) % 3
    model.model_output = lambda x_t, t, labels: seen.append(labels) or estimate(x_t, t, labels)  # type: ignore[method-assign]
    model.sample(6, y, rng=rng(0))
    assert len(seen) == STEPS
    assert all(torch.equal(labels, y) for labels in seen)
    seen.clear()
    model.sample(6, y, rng=rng(0), guidance=0.5)
    assert len(seen) == 2 * STEPS
    assert sum(torch.equal(labels, torch.full((6,), 3)) for labels in seen) == STEPS


# ---------------------------------------------------------------------- flow matching


class Field(nn.Module):
    """A velocity that bends with time, place and label; it counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        assert y is not None
        self.calls += 1
        share = t[:, None, None, None]
        return (4 * share).cos() * x + 0.5 * (3 * x).sin() + 0.3 * y[:, None, None, None] * share


def matching(ode_steps: int = 5) -> FlowMatching:
    model = FlowMatching(
        SPEC, widths=(16,), blocks=1, patch=1, ode_steps=ode_steps, conditional=True
    ).eval()
    model.network = Field()  # type: ignore[assignment]
    model._levels = lambda x: x  # type: ignore[method-assign]  # the states themselves
    return model


def _slope(x: Tensor, t: float, y: Tensor) -> Tensor:
    return Field()(x, torch.full((len(x),), t, dtype=x.dtype), y)


def _euler(x: Tensor, t: float, h: float, y: Tensor) -> Tensor:
    return x + h * _slope(x, t, y)


def _midpoint(x: Tensor, t: float, h: float, y: Tensor) -> Tensor:
    return x + h * _slope(x + 0.5 * h * _slope(x, t, y), t + 0.5 * h, y)


def _rk4(x: Tensor, t: float, h: float, y: Tensor) -> Tensor:
    """Kutta's rule of three eighths, which torchdiffeq calls rk4."""
    a = _slope(x, t, y)
    b = _slope(x + h * a / 3, t + h / 3, y)
    c = _slope(x + h * (b - a / 3), t + 2 * h / 3, y)
    d = _slope(x + h * (a - b + c), t + h, y)
    return x + h * (a + 3 * b + 3 * c + d) / 8


def solved(z: Tensor, y: Tensor, rule: Callable[..., Tensor], steps: int) -> Tensor:
    """In float64, by steps that shorten towards the images."""
    x, times = z.view(-1, 1, 4, 4).double(), [1 - (1 - k / steps) ** 3 for k in range(steps + 1)]
    for t, following in itertools.pairwise(times):
        x = rule(x, t, following - t, y)
    return x


RULES = {"euler": _euler, "midpoint": _midpoint, "rk4": _rk4}


@pytest.mark.parametrize("steps", [None, 2, 7])
@pytest.mark.parametrize("solver", RULES)
def test_a_solver_takes_its_steps(solver: str, steps: int | None) -> None:
    model, y = matching(), torch.arange(N) % 3
    z = model.prior(N, y, rng=rng(5))
    found = model.sample(N, y, rng=rng(5), solver=solver, ode_steps=steps)
    taken = 5 if steps is None else steps  # those of the score
    torch.testing.assert_close(
        found.double(), solved(z, y, RULES[solver], taken), rtol=0, atol=2e-5
    )
    for other in [rule for name, rule in RULES.items() if name != solver]:
        assert (found - solved(z, y, other, taken)).abs().max() > 1e-3
    assert (found - solved(z, y, RULES[solver], taken + 1)).abs().max() > 1e-4
    assert model.network.calls == taken * {"euler": 1, "midpoint": 2, "rk4": 4}[solver]


def test_the_default_solver_is_the_scores() -> None:
    model, y = matching(), torch.arange(N) % 3
    plain = model.sample(N, y, rng=rng(5))
    assert torch.equal(plain, model.sample(N, y, rng=rng(5), solver="rk4", ode_steps=5))
    assert torch.equal(plain, model.decode(model.prior(N, y, rng=rng(5)), y, rng=rng(6)))


def test_a_tolerance_bounds_the_error_and_costs_evaluations() -> None:
    y, errors, calls = torch.arange(N) % 3, [], []
    for tolerance in (0.1, 1e-3, 1e-6):
        model = matching()
        z = model.prior(N, y, rng=rng(5))
        found = model.sample(N, y, rng=rng(5), solver="dopri5", tolerance=tolerance)
        errors.append(float((found - solved(z, y, _rk4, 200)).abs().max()))
        calls.append(model.network.calls)
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-4
    assert calls[0] < calls[1] < calls[2]
    assert not math.isclose(errors[0], errors[2])
