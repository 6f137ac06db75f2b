"""Diffusion models as a whole: whole paths of noise, weighed by the textbook's densities, say what
P(x) is for every image.

The weight p(x_T) prod p(x_{t-1} | x_t) / prod q(x_t | x_{t-1}) of a path drawn forwards has the
mean P(x), and its logarithm's mean is the bound. So the bound is held against P itself, and samples
against P on both sides, where the contract can only say that a bound is not above frequencies.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from genbench.base import DataSpec
from genbench.families.diffusion import GaussianDiffusion
from genbench.models.ddpm import DDPM
from genbench.models.ddpm_vlb import DDPMVLB
from tests import contract
from tests.contract import Case

SMALL = {"timesteps": 8, "widths": [16], "blocks": 1, "patch": 1}
PATHS = 5000
"""Of each image."""

CASES = [
    Case("ddpm", DDPM, DataSpec(1, 3, 2), {**SMALL, "beta_start": 0.1, "beta_end": 0.4}),
    Case(
        "ddpm",
        DDPM,
        DataSpec(1, 2, 4, 3),
        {
            **SMALL,
            "beta_start": 0.1,
            "beta_end": 0.4,
            "norm": "batch",
            "variance": "learned",
            "conditional": True,
        },
    ),
    Case(
        "ddpm_vlb", DDPMVLB, DataSpec(2, 2, 2), {**SMALL, "log_snr_max": 2.0, "log_snr_min": -3.0}
    ),
]


@functools.cache
def trained(index: int, cls: type[GaussianDiffusion] | None = None) -> GaussianDiffusion:
    case = CASES[index] if cls is None else replace(CASES[index], cls=cls)
    model = contract.train(contract.start(case.build()))
    assert isinstance(model, GaussianDiffusion)
    return model


def last_label(model: GaussianDiffusion) -> Tensor | None:
    return contract.each_label(model, len(contract.every_image(model.spec)))[-1]


@dataclass(frozen=True)
class Paths:
    """What the paths say of all S images.

    Attributes:
        p: P(x), float64 (S,), and its standard errors.
        bound: mean log-weight (S,), and its standard errors.
    """

    p: np.ndarray
    p_stderr: np.ndarray
    bound: np.ndarray
    bound_stderr: np.ndarray


@functools.cache
@torch.no_grad()
def paths(model: GaussianDiffusion) -> Paths:
    """Of every image, for the last label of a conditional model."""
    images, y = contract.every_image(model.spec), last_label(model)
    log_w = log_weights(
        model,
        images.repeat(PATHS, 1, 1, 1),
        None if y is None else y.repeat(PATHS),
        contract.rng(21),
    )
    log_w = log_w.view(PATHS, len(images)).numpy()
    w = np.exp(log_w)
    root = math.sqrt(PATHS)
    return Paths(w.mean(0), w.std(0, ddof=1) / root, log_w.mean(0), log_w.std(0, ddof=1) / root)


def log_weights(model: GaussianDiffusion, x: Tensor, y: Tensor | None, rng: Generator) -> Tensor:
    """Log-weight float64 (B,) of one path for each image. Of the model only the network and the
    variances of the steps are used.
    """
    beta, steps, levels = model.schedule.beta.tolist(), model.timesteps, model.spec.levels
    left = np.cumprod([1 - b for b in beta])  # share of the image's variance that is left
    state = 2 * x.double() / (levels - 1) - 1
    total = torch.zeros(len(x), dtype=torch.float64)
    for t in range(1, steps + 1):
        forward = Normal(math.sqrt(1 - beta[t]) * state, math.sqrt(beta[t]))
        following = forward.mean + forward.stddev * torch.randn(
            state.shape, generator=rng, dtype=torch.float64
        )
        out = model.model_output(following.float(), torch.full((len(x),), t / steps), y).double()
        mean = (following - beta[t] / math.sqrt(1 - left[t]) * out[:, :1]) / math.sqrt(1 - beta[t])
        lowest = max(t, 2)
        posterior = beta[lowest] * (1 - left[lowest - 1]) / (1 - left[lowest])
        upwards = {"beta": torch.ones(()), "posterior": torch.zeros(())}.get(
            model.variance, (out[:, 1:] + 1) / 2
        )
        variance = beta[t] ** upwards.double() * posterior ** (1 - upwards.double())
        backward = Normal(mean, variance.sqrt())
        if t > 1:
            total += backward.log_prob(state).flatten(1).sum(1)
        else:
            bins = torch.tensor(
                [
                    -math.inf,
                    *((2 * level - 1) / (levels - 1) - 1 for level in range(1, levels)),
                    math.inf,
                ]
            ).double()
            mass = backward.cdf(bins[x.long() + 1].clamp(max=50)) - backward.cdf(
                bins[x.long()].clamp(min=-50)
            )
            total += mass.clamp(min=1e-300).log().flatten(1).sum(1)
        total -= forward.log_prob(following).flatten(1).sum(1)
        state = following
    return total + Normal(0.0, 1.0).log_prob(state).flatten(1).sum(1)


def check_mass(model: GaussianDiffusion) -> None:
    """The weights are those of a distribution: their means sum to 1."""
    found = paths(model)
    error = math.sqrt((found.p_stderr**2).sum())
    assert error < 0.05, f"too uncertain to test: {error:.3f}"
    assert abs(found.p.sum() - 1) < 5 * error, f"P sums to {found.p.sum():.3f} +- {error:.3f}"


def check_bound(model: GaussianDiffusion) -> None:
    """The score is the mean log-weight, of each image and of all."""
    x, y, repeats = contract.every_image(model.spec), last_label(model), 1000
    with torch.no_grad():
        labels = None if y is None else y.repeat(repeats)
        scores = (
            model.log_likelihood(x.repeat(repeats, 1, 1, 1), labels, rng=contract.rng(22))
            .view(repeats, -1)
            .numpy()
        )
    found = paths(model)
    difference, error = (
        scores.mean(0) - found.bound,
        np.hypot(scores.std(0, ddof=1) / math.sqrt(repeats), found.bound_stderr),
    )
    worst, whole = float(np.abs(difference / error).max()), math.sqrt((error**2).mean() / len(x))
    assert whole < 0.1, f"too uncertain to test: {whole:.3f} nats"
    assert abs(difference.mean()) < 5 * whole, (
        f"the score is {difference.mean():.3f} +- {whole:.3f} nats above the mean log-weight"
    )
    assert worst < 6, (
        f"the score of an image is {worst:.1f} standard errors from its mean log-weight"
    )


def check_samples(model: GaussianDiffusion) -> None:
    """Samples follow P, on both sides."""
    found = paths(model)
    y = last_label(model)
    drawn = model.sample(
        contract.DRAWS, None if y is None else y[:1].expand(contract.DRAWS), rng=contract.rng(23)
    )
    distance = 0.5 * np.abs(found.p / found.p.sum() - contract.frequencies(drawn, model.spec)).sum()
    limit = contract.sampling_noise(found.p, contract.DRAWS) + 0.5 * found.p_stderr.sum()
    assert limit < 0.2, f"too uncertain to test: {limit:.3f}"
    assert distance < limit, f"samples are {distance:.3f} from P, more than {limit:.3f}"


CHECKS = (check_mass, check_bound, check_samples)


@pytest.mark.parametrize("index", range(len(CASES)), ids=[str(case) for case in CASES])
@pytest.mark.parametrize("check", CHECKS)
def test_chain_is_one_distribution(index: int, check: Callable[[GaussianDiffusion], None]) -> None:
    check(trained(index))


# ---------------------------------------------------------------------- broken on purpose


class NoDecoder(DDPM):
    """Leaves out the term of the levels themselves."""

    def vlb_term(self, x: Tensor, x_t: Tensor, t: Tensor, eps: Tensor, log_var: Tensor) -> Tensor:
        return super().vlb_term(x, x_t, t, eps, log_var).masked_fill(t == 1, 0.0)


class NoPrior(DDPM):
    """Leaves out what is left of the image at the last step."""

    def prior_kl(self, x_0: Tensor) -> Tensor:
        return torch.zeros(len(x_0), dtype=torch.float64)


class NarrowSteps(DDPM):
    """Samples with four fifths of the noise."""

    def ancestral_step(
        self, x_t: Tensor, t: Tensor, eps: Tensor, log_var: Tensor, **options: Any
    ) -> Tensor:
        return super().ancestral_step(x_t, t, eps, log_var + 2 * math.log(0.8), **options)


class NoLastDraw(DDPM):
    """Rounds the last mean in place of drawing."""

    def ancestral_step(
        self, x_t: Tensor, t: Tensor, eps: Tensor, log_var: Tensor, **options: Any
    ) -> Tensor:
        certain = 100.0 * (t == 1)[:, None, None, None]
        return super().ancestral_step(x_t, t, eps, log_var - certain, **options)


@pytest.mark.parametrize(
    ("cls", "check", "message"),
    [
        (NoDecoder, check_bound, "the mean log-weight"),
        (NoPrior, check_bound, "the mean log-weight"),
        (NarrowSteps, check_samples, "from P"),
        (NoLastDraw, check_samples, "from P"),
    ],
)
def test_broken_chains_fail(
    cls: type[DDPM], check: Callable[[GaussianDiffusion], None], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check(trained(1, cls))
