"""The pixel heads against naive formulas, enumeration and autograd."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Generator, Tensor, nn

from genbench.errors import UserError
from genbench.nn.heads import Head, init_output, make_head

CASES = [("bernoulli", 2), ("categorical", 2), ("categorical", 5), ("categorical", 256)]
CASES += [("logistic_mixture", levels) for levels in (2, 4, 256)]


def draw(head: Head, *shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    rng = Generator().manual_seed(seed)
    return spread * torch.randn(*shape, head.channels, generator=rng, dtype=torch.float64)


def all_levels(head: Head, params: Tensor) -> Tensor:
    """Log probabilities (..., levels)."""
    x = torch.arange(head.levels).expand(*params.shape[:-1], -1)
    return head.log_prob(params[..., None, :].expand(*params.shape[:-1], head.levels, -1), x)


def naive_mixture(params: Tensor, x: Tensor, levels: int) -> Tensor:
    """The definition, by differences of the distribution function; right only where nothing
    cancels.
    """
    weight, mean, log_scale = params.chunk(3, -1)
    centre, half = (2 * x.double() / (levels - 1) - 1)[..., None], 1 / (levels - 1)
    upper = torch.sigmoid((centre + half - mean) / log_scale.exp())
    lower = torch.sigmoid((centre - half - mean) / log_scale.exp())
    upper = torch.where(x[..., None] == levels - 1, torch.ones_like(upper), upper)
    lower = torch.where(x[..., None] == 0, torch.zeros_like(lower), lower)
    return (weight.softmax(-1) * (upper - lower)).sum(-1).log()


@pytest.mark.parametrize(("name", "levels"), CASES)
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 1e4])
def test_probabilities_sum_to_one(name: str, levels: int, spread: float) -> None:
    head = make_head(name, levels)
    log_p = all_levels(head, draw(head, 50, spread=spread))
    assert log_p.dtype == torch.float64
    torch.testing.assert_close(
        log_p.exp().sum(-1), torch.ones(50, dtype=torch.float64), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("levels", [2, 4, 256])
def test_mixture_and_its_gradient_equal_the_definition(levels: int) -> None:
    head = make_head("logistic_mixture", levels, mixtures=3)
    params = draw(head, 40, seed=1, spread=0.5).requires_grad_()
    x = torch.arange(40) % levels
    ours, naive = head.log_prob(params, x), naive_mixture(params, x, levels)
    torch.testing.assert_close(ours, naive, atol=1e-10, rtol=0)
    weights = torch.linspace(-1, 2, 40, dtype=torch.float64)
    (got,) = torch.autograd.grad((weights * ours).sum(), params)
    (expected,) = torch.autograd.grad((weights * naive).sum(), params)
    torch.testing.assert_close(got, expected, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(("name", "levels"), CASES)
def test_gradcheck(name: str, levels: int) -> None:
    head = make_head(name, levels, mixtures=2)
    params = draw(head, 2, 3, seed=2, spread=2.0).requires_grad_()
    x = torch.tensor([[0, 1, levels - 1], [levels // 2, 0, levels - 1]])
    assert torch.autograd.gradcheck(lambda p: head.log_prob(p, x), [params])


@pytest.mark.parametrize("levels", [2, 256])
def test_far_tails_follow_the_asymptote(levels: int) -> None:
    """Far from the mean, log P falls linearly: log σ(a) -> a, so one more unit of distance costs
    1/scale nats.
    """
    head = make_head("logistic_mixture", levels, mixtures=1)
    mean, log_scale = torch.tensor([200.0, 201.0]), torch.full((2,), -1.0)
    params = torch.stack([torch.zeros(2), mean, log_scale], -1)
    log_p = head.log_prob(params, torch.zeros(2, dtype=torch.uint8))
    assert (log_p[0] - log_p[1]).item() == pytest.approx(math.e, rel=1e-4)


@pytest.mark.parametrize(("name", "levels"), CASES)
def test_extreme_parameters_keep_everything_finite(name: str, levels: int) -> None:
    head = make_head(name, levels, mixtures=2)
    corners = torch.tensor([-1e6, -50.0, 0.0, 50.0, 1e6])
    size = min(head.channels, 6)
    params = torch.stack(
        [
            torch.tensor(c)
            for c in itertools.islice(itertools.product(corners.tolist(), repeat=size), 0, None, 7)
        ]
    )
    params = torch.nn.functional.pad(params, (0, head.channels - size)).requires_grad_()
    for level in sorted({0, 1, levels // 2, levels - 1}):
        log_p = head.log_prob(params, torch.full(params.shape[:-1], level))
        (grad,) = torch.autograd.grad(log_p.sum(), params)
        assert log_p.dtype == torch.float32
        assert log_p.isfinite().all()
        assert (log_p <= 1e-6).all()
        assert grad.isfinite().all()


@pytest.mark.parametrize(("name", "levels"), CASES)
def test_float32_agrees_with_float64(name: str, levels: int) -> None:
    head = make_head(name, levels)
    params = draw(head, 200, seed=3, spread=3.0).requires_grad_()
    x = torch.arange(200) % levels
    exact = head.log_prob(params, x)
    single = head.log_prob(params.float(), x)
    torch.testing.assert_close(single.double(), exact, atol=2e-5, rtol=2e-5)
    (expected,) = torch.autograd.grad(exact.sum(), params, retain_graph=True)
    (got,) = torch.autograd.grad(single.sum(), params)
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-3)
    assert head.log_prob(params.bfloat16(), x).dtype == torch.float32


@pytest.mark.parametrize(("name", "levels"), [case for case in CASES if case[1] <= 5])
def test_samples_follow_the_probabilities(name: str, levels: int) -> None:
    head = make_head(name, levels)
    params = draw(head, seed=4)
    n = 40_000
    x = head.sample(params.float().expand(n, -1), rng=Generator().manual_seed(5))
    frequency = x.long().bincount(minlength=levels) / n
    expected = all_levels(head, params).exp()
    sigma = (expected * (1 - expected) / n).sqrt()
    assert ((frequency - expected).abs() <= 4.5 * sigma + 1e-9).all()


def test_mixture_samples_at_256_levels_follow_the_probabilities() -> None:
    head = make_head("logistic_mixture", 256)
    params = head.initial_bias().double()
    n = 100_000
    x = head.sample(params.float().expand(n, -1), rng=Generator().manual_seed(6))
    expected = all_levels(head, params).exp()
    chi_square = (
        ((x.long().bincount(minlength=256) - n * expected).square() / (n * expected)).sum().item()
    )
    assert chi_square < 255 + 5 * math.sqrt(2 * 255)


@pytest.mark.parametrize(("name", "levels"), CASES)
def test_same_rng_same_levels_in_any_shape(name: str, levels: int) -> None:
    head = make_head(name, levels)
    params = draw(head, 3, 4).float()
    first = head.sample(params, rng=Generator().manual_seed(7))
    assert first.dtype == torch.uint8
    assert first.shape == (3, 4)
    assert int(first.max()) < levels
    assert torch.equal(first, head.sample(params, rng=Generator().manual_seed(7)))
    assert torch.equal(
        first.flatten(), head.sample(params.view(12, -1), rng=Generator().manual_seed(7))
    )


@pytest.mark.parametrize(("name", "levels"), CASES)
@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_mean_of_is_the_mean_of_the_probabilities(name: str, levels: int, spread: float) -> None:
    head = make_head(name, levels)
    params = draw(head, 4, 3, seed=8, spread=spread)
    mixed = head.mean_of(params)
    assert mixed.shape[0] == 3
    torch.testing.assert_close(
        all_levels(head, mixed).exp(), all_levels(head, params).exp().mean(0), atol=1e-12, rtol=1e-9
    )
    assert head.sample(mixed.float(), rng=Generator().manual_seed(0)).shape == (3,)


@pytest.mark.parametrize(("name", "levels"), CASES)
def test_strided_parameters_score_alike(name: str, levels: int) -> None:
    """Networks hand over channels-first tensors as permuted views."""
    head = make_head(name, levels)
    params = draw(head, 2, 3, 3)
    x = torch.arange(18).view(2, 3, 3) % levels
    strided = params.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    torch.testing.assert_close(
        head.log_prob(strided, x.to(torch.uint8)), head.log_prob(params, x), atol=1e-14, rtol=0
    )


@pytest.mark.parametrize(("name", "levels"), CASES)
def test_an_output_layer_starts_close_to_its_heads_own_start(name: str, levels: int) -> None:
    """Whatever comes in, of variance 1: 0.1 times torch's U(-1, 1) / sqrt(3 fan-in) ... leaves
    0.06 of it.
    """
    torch.manual_seed(0)
    head = make_head(name, levels)
    for layer in (nn.Linear(64, head.channels), nn.Conv2d(64, head.channels, 1)):
        init_output(layer, head)
        assert torch.equal(layer.bias.detach(), head.initial_bias())
        flat = layer.weight.detach().flatten(1)
        out = torch.randn(1000, 64, generator=Generator().manual_seed(1)) @ flat.T
        assert out.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.25)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(UserError, match="bernoulli is for 2 levels only, got levels = 256"):
        make_head("bernoulli", 256)
    with pytest.raises(UserError, match="did you mean 'categorical'"):
        make_head("catgorical", 2)
    with pytest.raises(UserError, match="mixtures: must be at least 1, got 0"):
        make_head("logistic_mixture", 2, mixtures=0)
    with pytest.raises(ValueError, match="last axis must be 3 times"):
        make_head("logistic_mixture", 4).log_prob(torch.zeros(2, 4), torch.zeros(2))
    with pytest.raises(ValueError, match=r"last axis must be 4 .* got shape \(2, 5\)"):
        make_head("categorical", 4).log_prob(torch.zeros(2, 5), torch.zeros(2))
