"""What a schedule of noise costs by itself: against the bound of a model whose network is the best
denoiser, by simulation, and against the closed form for a pixel that is known.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Generator

from benchmarks.schedules import PIXELS, BestDenoiser, cosine
from genbench.nn.noise_schedule import Schedule, linear_schedule, log_snr_schedule
from genbench.nn.schedule_floor import GREY, bound_floor, excess_nats

SIMULATED = json.loads(
    (Path(__file__).parents[1] / "benchmarks" / "results" / "schedules.json").read_text("utf-8")
)["results"]
LINEAR, LOG_SNR = linear_schedule(1000, 1e-4, 0.02), log_snr_schedule(1000, 15.0, -5.0)
SCHEDULES = {
    "linear, beta": (LINEAR, "beta"),
    "linear, posterior": (LINEAR, "posterior"),
    "log-SNR 15 to -5": (LOG_SNR, "posterior"),
    "cosine 13.3 to -5": (cosine(1000, 13.3, -5.0), "posterior"),
}


@pytest.mark.parametrize(
    ("name", "bits", "digits"),
    [("linear, beta", 0.90, 2), ("linear, posterior", 0.54, 2), ("log-SNR 15 to -5", 0.015, 3)],
)
def test_the_floors_of_the_schedules_in_use(name: str, bits: float, digits: int) -> None:
    found = bound_floor(*SCHEDULES[name])
    assert found is not None
    assert round(found, digits) == bits


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_pixel_costs_what_20000_simulated_ones_did(name: str) -> None:
    """Of the model with the best denoiser, by its own code (benchmarks/schedules.py); for the grey
    one up to some four errors of that mean.
    """
    assert range(108, 148) == PIXELS["grey"] == GREY
    for pixel, levels in PIXELS.items():
        found = excess_nats(*SCHEDULES[name], levels)
        simulated = SIMULATED[name][f"{pixel}, nats above entropy"]
        error = 0.045 + 0.03 * simulated if pixel == "grey" else 1e-6
        assert found == pytest.approx(simulated, abs=error)


@pytest.mark.parametrize("variance", ["beta", "posterior"])
@pytest.mark.parametrize("levels", [range(1), range(40, 44), range(250, 256)])
def test_few_coarse_steps_cost_what_they_do_in_a_simulation(variance: str, levels: range) -> None:
    schedule = linear_schedule(12, 2e-5, 0.7)
    x = torch.tensor(levels, dtype=torch.uint8).repeat(3000 // len(levels))[:, None, None, None]
    model = BestDenoiser(schedule, variance, levels).eval()
    bounds = -model.log_likelihood(x, rng=Generator().manual_seed(0)).numpy()
    error = bounds.std(ddof=1) / math.sqrt(len(bounds))
    found = excess_nats(schedule, variance, levels)
    assert found == pytest.approx(bounds.mean() - math.log(len(levels)), abs=4 * error + 1e-3)


@pytest.mark.parametrize("variance", ["beta", "posterior"])
def test_a_black_pixel_costs_its_closed_form(variance: str) -> None:
    """Variances that are not the posterior's, the mass outside the bin, and what noise leaves."""
    beta = np.linspace(1e-4, 0.02, 1000)
    left = 1 - np.cumprod(1 - beta)
    ratio = left[:-1] / left[1:] if variance == "beta" else np.ones(999)
    steps = 0.5 * (ratio - 1 - np.log(ratio)).sum()
    first = beta[0] if variance == "beta" else beta[1] * left[0] / left[1]
    last = -norm.logcdf(1 / 255 / math.sqrt(first))
    at_noise = 0.5 * (left[-1] + (1 - left[-1]) - 1 - math.log(left[-1]))
    assert excess_nats(LINEAR, variance, range(1)) == pytest.approx(
        steps + last + at_noise, rel=1e-9
    )


def test_more_steps_cost_less_and_a_chosen_variance_has_no_floor() -> None:
    def floor(schedule: Schedule) -> float:
        found = bound_floor(schedule, "posterior")
        assert found is not None
        return found

    floors = [floor(log_snr_schedule(steps, 15.0, -5.0)) for steps in (30, 100, 300, 1000)]
    assert floors == sorted(floors, reverse=True)
    assert floors[0] > 10 * floors[-1] > 0
    assert bound_floor(LINEAR, "learned") is None
