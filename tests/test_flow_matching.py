"""Flow matching against equations that are solved by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.distributions import Normal

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.models import flow_matching
from genbench.models.flow_matching import FlowMatching
from genbench.nn.ode import random_signs, solve

SPEC = DataSpec(2, 2, 16, 3)


class Linear(nn.Module):
    """v(x, t) = rate x + shift: x_1 = e^rate x_0 + shift (e^rate - 1) / rate."""

    def __init__(self, rate: float, shift: float) -> None:
        super().__init__()
        self.rate, self.shift = rate, shift

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        assert t.shape == (len(x),)
        return self.rate * x + self.shift


def build(rate: float = -0.7, shift: float = 0.1, **arch: object) -> FlowMatching:
    torch.manual_seed(0)
    model = FlowMatching(SPEC, widths=(16,), patch=1, **arch).eval()
    model.network = Linear(rate, shift)  # type: ignore[assignment]
    return model


def carried(model: FlowMatching, z: Tensor) -> Tensor:
    rate, shift = model.network.rate, model.network.shift
    return math.exp(rate) * z + shift * (math.exp(rate) - 1) / rate


@pytest.mark.parametrize("probes", [0, 1, 3])
def test_the_density_is_that_of_the_carried_noise(probes: int) -> None:
    """x_1 is normal with standard deviation e^rate; for a linear field each probe is exact."""
    model = build()
    x = torch.randint(0, 16, (50, 1, 2, 2), dtype=torch.uint8, generator=Generator().manual_seed(1))
    found = model.log_likelihood(x, rng=Generator().manual_seed(0), probes=probes)
    v = 2 * (x + torch.rand(x.shape, generator=Generator().manual_seed(0))) / 16 - 1
    mean = carried(model, torch.zeros(1))
    density = Normal(mean.double(), math.exp(-0.7)).log_prob(v.double()).flatten(1).sum(
        1
    ) + 4 * math.log(2 / 16)
    torch.testing.assert_close(found, density, rtol=1e-4, atol=1e-4)


def one_sign(count: int, x: Tensor, *, rng: Generator) -> Tensor:
    """Broken: one sign for all pixels of an image, so that they are not independent."""
    signs = random_signs(count, x, rng=rng)
    return signs[..., :1, :1].expand_as(signs)


@pytest.mark.parametrize(("signs", "right"), [(random_signs, True), (one_sign, False)])
def test_random_signs_estimate_the_divergence_without_bias(
    signs: Callable[..., Tensor], right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a network in which each pixel's velocity depends on the others, where one probe is not
    exact.
    """
    monkeypatch.setattr(flow_matching, "random_signs", signs)
    torch.manual_seed(0)
    model = FlowMatching(SPEC, widths=(16,), patch=1, ode_steps=4).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    x = torch.randint(
        0, 16, (1, 1, 2, 2), dtype=torch.uint8, generator=Generator().manual_seed(1)
    ).expand(4000, -1, -1, -1)
    # Of the same dequantisation.
    exact, found = (
        model.log_likelihood(x, rng=Generator().manual_seed(0), probes=probes) for probes in (0, 1)
    )
    off, error = float((found - exact).mean()), float((found - exact).std()) / math.sqrt(len(x))
    assert error > 1e-3  # one probe is not exact here
    assert (abs(off) < 4.5 * error) is right


@pytest.mark.parametrize(
    ("solver", "steps", "tolerance"),
    [("rk4", 25, 1e-5), ("dopri5", 1, 1e-3), ("midpoint", 40, 1e-3), ("euler", 400, 3e-3)],
)
def test_solvers_follow_the_equation(solver: str, steps: int, tolerance: float) -> None:
    model = build()
    z = model.prior(300, rng=Generator().manual_seed(0))
    x_0, times = z.view(-1, 1, 2, 2), torch.linspace(0, 1, steps + 1)
    found = solve(model.velocity(None), x_0, times, solver, tolerance=1e-4)[-1]
    torch.testing.assert_close(found.flatten(1), carried(model, z), rtol=0, atol=tolerance)


def test_pixels_are_the_bins_that_noise_is_carried_to() -> None:
    model = build()
    rng = Generator().manual_seed(0)
    found = model.sample(300, rng=rng)
    z = model.prior(300, rng=Generator().manual_seed(0))
    expected = ((carried(model, z) + 1) / 2 * 16).floor().clamp(0, 15).view(-1, 1, 2, 2)
    assert (
        found.float() != expected
    ).float().mean() < 0.002  # but for the solver's error at the edges of bins
    *_, last = model.frames(300, rng=Generator().manual_seed(0))
    assert (last != found).float().mean() < 0.002


def test_encoding_inverts_decoding() -> None:
    model = build()
    x = torch.randint(4, 12, (40, 1, 2, 2), dtype=torch.uint8, generator=Generator().manual_seed(1))
    z = model.encode(x, rng=Generator().manual_seed(0))
    assert (model.decode(z, rng=Generator()) != x).float().mean() < 0.02
    # As the score sees them.
    v = 2 * (x + torch.rand(x.shape, generator=Generator().manual_seed(0))) / 16 - 1
    torch.testing.assert_close(carried(model, z), v.flatten(1), rtol=1e-4, atol=1e-4)


def test_the_loss_is_least_at_the_mean_velocity() -> None:
    """One image: the path's velocity at time t from x_t is (x_1 - x_t) / (1 - t), of which the loss
    is 0 but for the dequantisation.
    """

    class Best(nn.Module):
        def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
            centre = 2 * (3 + 0.5) / 16 - 1
            return (centre - x) / (1 - t).clamp(min=0.05)[:, None, None, None]

    model, x = build(), torch.full((4000, 1, 2, 2), 3, dtype=torch.uint8)
    losses = {}
    for name, network in (
        ("best", Best()),
        ("zero", Linear(0.0, 0.0)),
        ("linear", Linear(-0.7, 0.1)),
    ):
        model.network = network  # type: ignore[assignment]
        losses[name] = float(
            model.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.0).loss
        )
    assert losses["best"] < 0.2 < 1 < min(losses["zero"], losses["linear"])
    assert losses["best"] < losses["linear"]


def test_cheaper_solvers_are_named_and_marked() -> None:
    model = build()
    for options, expected in (
        ({}, ("rk4-25", True)),
        ({"ode_steps": 100}, ("rk4-100", True)),
        ({"solver": "dopri5"}, ("dopri5", True)),
        ({"solver": "dopri5", "tolerance": 0.1}, ("dopri5", False)),
        ({"solver": "midpoint", "ode_steps": 10}, ("midpoint-10", False)),
        (
            {"solver": "midpoint", "ode_steps": 10, "precision": "bfloat16"},
            ("midpoint-10 (precision=bfloat16)", False),
        ),
        ({"ode_steps": 5}, ("rk4-5", False)),
    ):
        assert model.describe_sampler(**options) == expected


def test_errors_name_what_is_wrong() -> None:
    model, x = build(), torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(UserError, match="solver: unknown 'euller'; did you mean 'euler'"):
        model.sample(1, rng=Generator(), solver="euller")
    with pytest.raises(UserError, match="ode_steps: must be at least 1, got 0"):
        model.sample(1, rng=Generator(), solver="euler", ode_steps=0)
    with pytest.raises(UserError, match=r"probes: must be 0 \(exact\) or more, got -1"):
        model.log_likelihood(x, rng=Generator(), probes=-1)
    with pytest.raises(UserError, match=r"probes: must be 0 \(exact\) or more, got -1"):
        model.likelihood_passes(probes=-1)
    with pytest.raises(UserError, match="tolerance: must be between 0 and 1, got 0"):
        model.sample(1, rng=Generator(), solver="dopri5", tolerance=0)
    with pytest.raises(UserError, match="times: unknown 'uniforn'; did you mean 'uniform'"):
        FlowMatching(SPEC, widths=(16,), patch=1, times="uniforn")
    with pytest.raises(UserError, match="patch: must divide 2 x 2, got 4"):
        FlowMatching(SPEC, patch=4)


class Narrow(nn.Module):
    """The velocity whose end is normal with the standard deviation of a level's width: E[x_1 - x_0
    | x_t], the stiffest field that pixels call for.
    """

    centre, std = -0.996, 0.0023

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        t = t[:, None, None, None].to(x.dtype)
        variance = (1 - t) ** 2 + (t * self.std) ** 2
        return self.centre + (t * self.std**2 - (1 - t)) / variance * (x - t * self.centre)


def test_the_solvers_error_is_small_where_pixels_are_narrow() -> None:
    model = FlowMatching(DataSpec(28, 28, 256), widths=(16,)).eval()
    model.network = Narrow()  # type: ignore[assignment]
    x = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    found = model.log_likelihood(x, rng=Generator().manual_seed(0))
    v = 2 * torch.rand(x.shape, generator=Generator().manual_seed(0)) / 256 - 1
    density = Normal(Narrow.centre, Narrow.std).log_prob(v.double()).flatten(1).sum(
        1
    ) + 784 * math.log(2 / 256)
    assert (found - density).abs().max() < 2.0  # of thousands of nats; float32 has its share


def test_passes_count_the_evaluations() -> None:
    model, calls = build(), []
    network = model.network

    class Counting(nn.Module):
        def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
            calls.append(len(x))
            return network(x, t, y)

    model.network = Counting()  # type: ignore[assignment]
    model.log_likelihood(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), rng=Generator().manual_seed(0))
    assert model.likelihood_passes() == 3 * len(calls)  # each with a backward pass twice as long
    assert model.likelihood_passes(probes=2) == 5 * len(calls)
    assert model.likelihood_passes(probes=0) == (1 + 2 * 4) * len(calls)


def test_times_in_the_middle() -> None:
    """Logit-normal times: their logits are standard normal."""
    seen: list[Tensor] = []
    model = build(times="logit_normal")
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    model.training_loss(
        torch.zeros(4000, 1, 2, 2, dtype=torch.uint8),
        None,
        rng=Generator().manual_seed(0),
        progress=0.0,
    )
    logits = seen[0].logit()
    assert float(logits.mean()) == pytest.approx(0, abs=0.02)
    assert float(logits.std()) == pytest.approx(1, abs=0.02)
