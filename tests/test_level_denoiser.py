"""The mean of a pixel's level given a noisy value and beliefs, against sums over all levels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from genbench.base import DataSpec
from genbench.models.ddpm_vlb import DDPMVLB
from genbench.nn.level_denoiser import beliefs, posterior_mean

MIXTURES = 3


def believed(pixels: int, levels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """What a network says of so many pixels, Gaussians well inside of [-1, 1], and the
    probabilities of the levels that follow, float64 (pixels, levels).
    """
    rng = Generator().manual_seed(seed)
    params = torch.randn(1, beliefs(MIXTURES), 1, pixels, generator=rng)
    params[:, 2 + MIXTURES :] *= 0.1
    params[:, 2 + 2 * MIXTURES :] -= 1.5
    of_pixel = params.double()[0, :, 0].T
    weights = of_pixel[:, : 2 + MIXTURES].softmax(1)
    grid = torch.linspace(-1, 1, levels, dtype=torch.float64)
    prior = torch.zeros(pixels, levels, dtype=torch.float64)
    prior[:, 0] += weights[:, 0]
    prior[:, -1] += weights[:, 1]
    for k in range(MIXTURES):
        mean = -1 + 2 * (k + 1) / (MIXTURES + 1) + of_pixel[:, 2 + MIXTURES + k]
        deviation = 2 / (MIXTURES + 1) * of_pixel[:, 2 + 2 * MIXTURES + k].exp()
        distance = (grid - mean[:, None]) / deviation[:, None]
        density = (-0.5 * distance.square()).exp() / (deviation[:, None] * math.sqrt(2 * math.pi))
        prior += weights[:, 2 + k, None] * density * 2 / (levels - 1)
    return params, prior


def enumerated(prior: Tensor, z: Tensor, noise: float) -> Tensor:
    grid = torch.linspace(-1, 1, prior.shape[1], dtype=torch.float64)
    evidence = -0.5 * ((z.double().flatten()[:, None] - grid) / noise).square()
    return ((prior.log() + evidence).softmax(1) * grid).sum(1)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.5, 3.0, 100.0])
def test_it_is_the_mean_over_all_levels(noise: float) -> None:
    """Where the noise is not finer than the levels, evidence on the grid is that on the line."""
    params, prior = believed(300, 256)
    rng = Generator().manual_seed(1)
    x = torch.multinomial(prior, 1, generator=rng)[:, 0] * 2 / 255 - 1
    z = x[None, None, None] + noise * torch.randn(1, 1, 1, 300, generator=rng)
    found = posterior_mean(z, torch.full((1, 1, 1, 1), noise), params, levels=256)
    expected = enumerated(prior, z, noise)
    error = (found.double().flatten() - expected).abs()
    # But for pixels whose Gaussian, given the noisy value, reaches beyond black.
    assert error.quantile(0.98) < 3e-3
    assert error.max() < 0.02
    # The beliefs matter where there is noise, and the pixel does where there is little.
    assert expected.std() > 0.1


@pytest.mark.parametrize("noise", [0.0005, 0.001])
def test_with_little_noise_it_is_the_level_itself(noise: float) -> None:
    params, prior = believed(300, 256)
    rng = Generator().manual_seed(1)
    x = torch.randint(0, 256, (1, 1, 1, 300), generator=rng) * 2 / 255 - 1
    z = x + noise * torch.randn(x.shape, generator=rng)
    found = posterior_mean(z, torch.full((1, 1, 1, 1), noise), params, levels=256)
    assert (found - x).abs().max() < 1e-4
    assert (found.double().flatten() - enumerated(prior, z, noise)).abs().max() < 1e-4


def test_beliefs_are_learned_through_it() -> None:
    """Gradients against finite differences, in each kind of channel."""
    params, _ = believed(5, 16)
    params = params.double().requires_grad_()
    z = torch.linspace(-1.1, 1.1, 5, dtype=torch.float64)[None, None, None]

    def mean(given: Tensor, noise: float) -> Tensor:
        spread = torch.full((1, 1, 1, 1), noise, dtype=torch.float64)
        return posterior_mean(z, spread, given, levels=16)

    for noise in (0.05, 0.4):
        assert torch.autograd.gradcheck(lambda p, noise=noise: mean(p, noise), params)
    (slope,) = torch.autograd.grad(mean(params, 0.4).square().sum(), params)
    assert (slope.abs().amax((0, 2, 3)) > 0).all()


def test_of_two_levels_black_and_white_are_all_there_is() -> None:
    model = DDPMVLB(DataSpec(4, 4, 2), timesteps=10, widths=(16,), patch=1, denoiser="levels")
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.1)
    x = torch.randint(0, 2, (8, 1, 4, 4), dtype=torch.uint8)
    assert bool(model.log_likelihood(x, rng=Generator().manual_seed(0)).isfinite().all())


def test_a_network_that_says_nothing_scores_better_than_one_that_predicts_no_noise() -> None:
    """Both say zeros at first; what is known of levels is worth a lot already."""
    scores = {}
    x = torch.zeros(16, 1, 4, 4, dtype=torch.uint8)
    x[:, :, 1:3, 1:3] = 255
    for denoiser in ("noise", "levels"):
        torch.manual_seed(0)
        model = DDPMVLB(
            DataSpec(4, 4, 256), timesteps=200, widths=(16,), patch=1, denoiser=denoiser
        )
        scores[denoiser] = -model.log_likelihood(x, rng=Generator().manual_seed(0)).mean()
    assert scores["levels"] < 0.5 * scores["noise"]


def test_an_unknown_denoiser_is_named() -> None:
    with pytest.raises(ValueError, match=r"^denoiser: unknown 'level'; did you mean 'levels'"):
        DDPMVLB(DataSpec(4, 4, 2), timesteps=10, denoiser="level")
