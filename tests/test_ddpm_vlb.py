"""Diffusion trained on its bound: its schedule in closed form, its loss against the score, what the
network reads.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from benchmarks.schedules import PIXELS, BestDenoiser
from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.models.ddpm_vlb import DDPMVLB
from genbench.nn.gaussian_diffusion import posterior_log_var, q_sample
from genbench.nn.noise_schedule import Schedule, linear_schedule, log_snr_schedule


def build(**arch: Any) -> DDPMVLB:
    torch.manual_seed(0)
    model = DDPMVLB(
        DataSpec(4, 4, 8, 3),
        **{
            "timesteps": 12,
            "log_snr_max": 5.0,
            "log_snr_min": -4.0,
            "widths": (16,),
            "patch": 1,
            **arch,
        },
    ).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model


def images(n: int) -> Tensor:
    return torch.randint(
        0, 8, (n, 1, 4, 4), dtype=torch.uint8, generator=Generator().manual_seed(3)
    )


def test_the_schedule_is_a_line_between_its_limits() -> None:
    schedule = log_snr_schedule(1000, 15.0, -5.0)
    ratio = (schedule.alpha_bar / schedule.one_minus_alpha_bar)[1:].log()
    torch.testing.assert_close(
        ratio, 15 - 20 * torch.arange(1000, dtype=torch.float64) / 999, rtol=0, atol=1e-6
    )


def test_a_schedule_is_a_chain_of_its_steps() -> None:
    schedule = log_snr_schedule(50, 9.0, -6.0)
    torch.testing.assert_close((1 - schedule.beta).cumprod(0), schedule.alpha_bar)
    torch.testing.assert_close(schedule.one_minus_alpha_bar, 1 - schedule.alpha_bar)
    # Precision adds: that of x_{t-1} given x_t and x_0 is that of the step forward and that of the
    # marginal.
    precision = (1 - schedule.beta[2:]) / schedule.beta[2:] + 1 / schedule.one_minus_alpha_bar[1:-1]
    torch.testing.assert_close(1 / schedule.posterior_var[2:], precision)


def test_the_loss_estimates_the_bound_without_bias() -> None:
    model, x = build(), images(1).expand(6000, -1, -1, -1)
    bound = -model.log_likelihood(x[:2000], rng=Generator().manual_seed(0))
    losses = torch.stack(
        [
            model.training_loss(
                x[:500], None, rng=Generator().manual_seed(s), progress=0.0
            ).loss.detach()
            for s in range(24)
        ]
    )
    error = math.hypot(float(bound.std()) / math.sqrt(2000), float(losses.std()) / math.sqrt(24))
    assert float(losses.mean()) == pytest.approx(float(bound.mean()), abs=4.5 * error)
    assert error < 0.05 * float(bound.mean())


def test_the_network_sees_less_than_a_level() -> None:
    """Pixels that differ by half a level give other features, by two levels the same sines and
    cosines.
    """
    seen: list[Tensor] = []
    model = build()
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    level = 2 / 7
    for shift in (0.0, 0.5 * level, 2 * level):
        model.model_output(torch.full((1, 1, 4, 4), -0.3 + shift), torch.ones(1), None)
    plain, half, double = (x[:, 1:] for x in seen)
    assert plain.shape[1] == 4
    assert (plain - half).abs().max() > 0.5
    torch.testing.assert_close(plain, double, rtol=0, atol=1e-5)


def test_the_last_term_is_small_where_little_noise_is_left() -> None:
    """With the true noise, a pixel's level is all but settled at step 1; with the linear schedule
    of a DDPM it costs over a bit.
    """
    model = DDPMVLB(DataSpec(4, 4, 256), timesteps=1000, widths=(16,), patch=1).eval()
    x = torch.randint(
        0, 256, (50, 1, 4, 4), dtype=torch.uint8, generator=Generator().manual_seed(0)
    )
    eps = torch.randn(50, 1, 4, 4, generator=Generator().manual_seed(1))
    t = torch.ones(50, dtype=torch.int64)
    x_t = q_sample(model.schedule, model.spec.signed(x), t, eps)
    term = model.vlb_term(x, x_t, t, eps, posterior_log_var(model.schedule, t))
    assert float(term.mean()) / 16 < 0.02


def test_the_steps_cost_nothing_of_themselves() -> None:
    """With the best denoiser the bound is the entropy, so a network's bound is loose by its own
    errors alone; a DDPM's schedule is not so.
    """
    model, levels = DDPMVLB(DataSpec(1, 1, 256), widths=(16,), patch=1), PIXELS["grey"]
    x = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].repeat(20, 1, 1, 1)

    def excess(schedule: Schedule) -> float:
        best = BestDenoiser(schedule, model.variance, levels).eval()
        return -float(best.log_likelihood(x, rng=Generator().manual_seed(0)).mean()) - math.log(
            len(levels)
        )

    assert excess(model.schedule) == pytest.approx(0.0, abs=0.06)
    assert excess(linear_schedule(1000, 1e-4, 0.02)) > 0.3


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(
        UserError,
        match=(
            r"log_snr_max, log_snr_min: log signal-to-noise ratios must fall, got -4\.0 and 5\.0"
        ),
    ):
        build(log_snr_max=-4.0, log_snr_min=5.0)
    with pytest.raises(UserError, match="timesteps: must be at least 2, got 1"):
        build(timesteps=1)
