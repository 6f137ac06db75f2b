"""What a diffusion's schedule costs by itself: the bound of one pixel with the best denoiser
possible, above the pixel's entropy.

A grey pixel may have any of 40 levels, equally likely; a black one is surely black. The best
denoiser is the conditional mean, so what is left is lost to the steps, their variances and the
discretised decoder, whatever the network. Writes benchmarks/results/schedules.json.

    python -m benchmarks.schedules [--images 20000]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from benchmarks.common import publish
from genbench.base import DataSpec
from genbench.families.diffusion import GaussianDiffusion
from genbench.nn.noise_schedule import Schedule, linear_schedule, log_snr_schedule, schedule_of

SPEC = DataSpec(1, 1, 256)
PIXELS = {"grey": range(108, 148), "black": range(1)}


class BestDenoiser(GaussianDiffusion):
    """The conditional mean of the noise in a pixel with one of some levels."""

    def __init__(self, schedule: Schedule, variance: str, levels: range) -> None:
        super().__init__(SPEC, schedule=schedule, variance=variance)
        self.candidates = self.spec.signed(torch.tensor(levels, dtype=torch.uint8)).double()

    def model_output(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        """In closed form, by Bayes' rule."""
        step, schedule = (t * self.timesteps).round().long(), self.schedule
        alpha, sigma = (
            variances[step][:, None, None, None].sqrt()
            for variances in (schedule.alpha_bar, schedule.one_minus_alpha_bar)
        )
        odds = (-((x_t - alpha * self.candidates) ** 2) / (2 * sigma**2)).softmax(3)
        return ((x_t - alpha * (odds * self.candidates).sum(3, keepdim=True)) / sigma).float()


def cosine(steps: int, first: float, last: float) -> Schedule:
    """Log signal-to-noise ratios -2 log tan of evenly spaced angles (Nichol, Dhariwal, 2021, in the
    form of Kingma, Gao, 2023).
    """
    begin, end = (math.atan(math.exp(-ratio / 2)) for ratio in (first, last))
    angles = torch.linspace(begin, end, steps, dtype=torch.float64)
    log_snr = -2 * angles.tan().log()
    return schedule_of(torch.nn.functional.logsigmoid(log_snr), last="last")


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20000)
    options = parser.parse_args(arguments)
    schedules = {
        "log-SNR 15 to -5": (log_snr_schedule(1000, 15.0, -5.0), "posterior"),
        "cosine 13.3 to -5": (cosine(1000, 13.3, -5.0), "posterior"),
        "linear, beta": (linear_schedule(1000, 1e-4, 0.02), "beta"),
        "linear, posterior": (linear_schedule(1000, 1e-4, 0.02), "posterior"),
    }
    results: dict[str, dict[str, float]] = {}
    for name, (schedule, variance) in schedules.items():
        results[name] = {}
        for pixel, levels in PIXELS.items():
            model = BestDenoiser(schedule, variance, levels).eval()
            x = torch.tensor(levels, dtype=torch.uint8)[torch.arange(options.images) % len(levels)][
                :, None, None, None
            ]
            bound = -model.log_likelihood(x, rng=Generator().manual_seed(0))
            results[name][f"{pixel}, nats above entropy"] = float(bound.mean()) - math.log(
                len(levels)
            )
        print(name, results[name], flush=True)
    rows = [[name, *values.values()] for name, values in results.items()]
    publish(
        "schedules",
        ["schedule", *next(iter(results.values()))],
        rows,
        {"steps": 1000, "images": options.images, "results": results},
    )


if __name__ == "__main__":
    main()
