"""Diffusion: its schedule, its posterior and its terms against closed forms, its estimate of the
bound, its samplers.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import Normal, kl_divergence

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.models.ddpm import DDPM
from genbench.nn.noise_schedule import linear_schedule
from genbench.nn.normal import discretised_normal, normal_kl

SPEC = DataSpec(4, 4, 8, 3)


def build(**arch: object) -> DDPM:
    torch.manual_seed(0)
    model = DDPM(SPEC, **{"steps": 8, "last": 0.6, "widths": (16,), "patch": 1, **arch}).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model


def images(n: int = 5) -> Tensor:
    return torch.randint(
        0, 8, (n, 1, 4, 4), dtype=torch.uint8, generator=Generator().manual_seed(3)
    )


def test_the_schedule_is_the_product_of_its_steps() -> None:
    schedule = linear_schedule(1000, 1e-4, 0.02)
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    torch.testing.assert_close(schedule.beta[1:], beta)
    torch.testing.assert_close(schedule.alpha_bar[1:].log(), (1 - beta).log().cumsum(0))
    assert schedule.alpha_bar[0] == 1
    assert schedule.posterior_var[1] == 0
    assert 0 < schedule.alpha_bar[-1] < 1e-4


def test_the_posterior_is_bayes_rule() -> None:
    """q(x_{t-1} | x_t, x_0) of one pixel, against the product of two normal densities on a grid."""
    model = build()
    x0, x_t, t = 0.3, -0.4, 5
    beta, before = float(model.get_buffer("beta")[t]), float(model.alpha_bar[t - 1])
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    log_p = Normal(math.sqrt(before) * x0, math.sqrt(1 - before)).log_prob(grid) + Normal(
        math.sqrt(1 - beta) * grid, math.sqrt(beta)
    ).log_prob(torch.tensor(x_t, dtype=torch.float64))
    p = (log_p - log_p.logsumexp(0)).exp()
    mean = float((p * grid).sum())
    found = model._posterior_mean(
        torch.full((1, 1, 1, 1), x0).double(),
        torch.full((1, 1, 1, 1), x_t).double(),
        torch.tensor([t]),
    )
    assert float(found) == pytest.approx(mean, abs=1e-5)
    assert float(model.get_buffer("posterior_var")[t]) == pytest.approx(
        float((p * (grid - mean).square()).sum()), abs=1e-5
    )


def test_the_mean_follows_from_the_noise() -> None:
    """With the true noise the reverse step's mean is the posterior's."""
    model = build()
    x0, noise = torch.randn(6, 1, 4, 4), torch.randn(6, 1, 4, 4)
    t = torch.tensor([1, 2, 3, 5, 7, 8])
    x_t = model._noised(x0, t, noise)
    torch.testing.assert_close(
        model._mean(x_t.double(), t, noise.double()),
        model._posterior_mean(x0.double(), x_t.double(), t),
        rtol=1e-4,
        atol=1e-5,
    )


def test_divergence_of_normals_is_the_librarys() -> None:
    torch.manual_seed(0)
    a, b, c, d = torch.randn(4, 10, dtype=torch.float64)
    expected = kl_divergence(Normal(a, (0.5 * b).exp()), Normal(c, (0.5 * d).exp()))
    torch.testing.assert_close(normal_kl(a, b, c, d), expected)


@pytest.mark.parametrize("log_std", [-6.0, -2.0, 0.5])
def test_the_levels_masses_sum_to_one_and_are_the_librarys(log_std: float) -> None:
    levels = torch.arange(256)
    mean = torch.tensor([-1.4, -0.999, 0.1, 1.3], dtype=torch.float64)[:, None]
    found = discretised_normal(
        levels.expand(4, -1), mean.expand(-1, 256), torch.full((4, 256), log_std), 256
    )
    torch.testing.assert_close(found.exp().sum(1), torch.ones(4, dtype=torch.float64))
    edges = (2 * torch.arange(1, 256, dtype=torch.float64) - 1) / 255 - 1
    cdf = Normal(mean, math.exp(log_std)).cdf(edges.expand(4, -1))
    mass = torch.cat([cdf[:, :1], cdf.diff(dim=1), 1 - cdf[:, -1:]], 1)
    likely = mass > 1e-6
    torch.testing.assert_close(found.exp()[likely], mass[likely], rtol=1e-6, atol=1e-9)
    assert bool(found.isfinite().all())  # also where the mass is below the smallest number


@pytest.mark.parametrize("variance", ["beta", "posterior", "learned"])
def test_the_bound_is_the_sum_of_its_terms(variance: str) -> None:
    """Against a direct sum, with the same noise."""
    model, x = build(variance=variance), images()
    found = model.log_likelihood(x, rng=Generator().manual_seed(0))
    rng = Generator().manual_seed(0)
    x0 = model.spec.signed(x)
    share = model.alpha_bar[-1]
    first = (
        kl_divergence(Normal(share.sqrt() * x0.double(), (1 - share).sqrt()), Normal(0.0, 1.0))
        .flatten(1)
        .sum(1)
    )
    total = -first
    with torch.no_grad():
        for step in range(1, 9):
            t = torch.randint(step, step + 1, (len(x),), generator=rng)
            noise = torch.randn(x0.shape, generator=rng)
            beta, share = model.get_buffer("beta")[step], model.alpha_bar[step]
            x_t = share.sqrt().float() * x0 + (1 - share).sqrt().float() * noise
            out = model.network(x_t, t / 8)
            guess = out[:, :1]
            mean = (x_t.double() - beta / (1 - share).sqrt() * guess.double()) / (1 - beta).sqrt()
            posterior = [
                beta * (1 - model.alpha_bar[s - 1]) / (1 - model.alpha_bar[s])
                for s, beta in enumerate(model.get_buffer("beta"))
                if s
            ]
            least = posterior[max(step, 2) - 1]  # at step 1 that of step 2
            spread = {"beta": beta.sqrt(), "posterior": least.sqrt()}.get(variance)
            if spread is None:
                upwards = (out[:, 1:].double() + 1) / 2
                spread = (beta**upwards * least ** (1 - upwards)).sqrt()
            if step == 1:
                edges = (2 * torch.arange(1, 8, dtype=torch.float64) - 1) / 7 - 1
                cdf = Normal(mean[..., None], spread.expand_as(mean)[..., None]).cdf(edges)
                mass = torch.cat([cdf[..., :1], cdf.diff(dim=-1), 1 - cdf[..., -1:]], -1)
                term = -mass.gather(-1, x.long()[..., None]).log()[..., 0]
            else:
                true = model._posterior_mean(x0.double(), x_t.double(), t)
                term = kl_divergence(Normal(true, posterior[step - 1].sqrt()), Normal(mean, spread))
            total -= term.flatten(1).sum(1)
    torch.testing.assert_close(found, total, rtol=1e-5, atol=1e-4)


def test_few_terms_estimate_the_bound_without_bias() -> None:
    model, x = build(steps=40), images(1).expand(4000, -1, -1, -1)
    whole = model.log_likelihood(x, rng=Generator().manual_seed(0))
    few = model.log_likelihood(x, rng=Generator().manual_seed(1), terms=5)
    error = math.hypot(float(whole.std()), float(few.std())) / math.sqrt(len(x))
    assert float(few.mean()) == pytest.approx(float(whole.mean()), abs=4.5 * error)
    assert few.std() > whole.std()


def test_the_terms_of_the_chart_add_up_to_the_bound() -> None:
    model, x = build(), images(1).expand(4000, -1, -1, -1)
    terms = model.bound_terms(x, rng=Generator().manual_seed(1))
    whole = -model.log_likelihood(x, rng=Generator().manual_seed(0))
    assert terms.shape == (9,)
    assert bool((terms > 0).all())
    assert float(terms.sum()) == pytest.approx(
        float(whole.mean()), abs=4.5 * float(whole.std()) * math.sqrt(2 / len(x))
    )


@pytest.mark.parametrize("terms", [1, 2, 5, 39, 40])
def test_strata_cover_each_step_once(terms: int) -> None:
    edges = build(steps=40)._strata(terms)
    assert edges[0] == 1
    assert edges[-1] == 41
    assert len(edges) == terms + 1
    assert all(b > a for a, b in itertools.pairwise(edges))


def test_the_deterministic_sampler_runs_backwards() -> None:
    model = build(steps=200, last=0.05)
    rng = Generator()
    z = model.prior(4, rng=Generator().manual_seed(0))
    state = z.view(4, 1, 4, 4)
    with torch.no_grad():
        there = model._follow(state, model._times(200), None)
        back = model._follow(there, model._times(200)[::-1], None)
    assert (back - state).abs().mean() < 0.15 * state.abs().mean()
    x = model.decode(z, rng=rng)
    assert torch.equal(x, model.decode(z, rng=Generator().manual_seed(9)))


def test_samplers_are_named() -> None:
    model = build()
    assert model.describe_sampler() == ("ancestral", True)
    assert model.describe_sampler(ddim_steps=5) == ("ddim-5", False)
    assert model.describe_sampler(clip=True)[1] is False


def test_guidance_pulls_towards_the_label() -> None:
    model = build(conditional=True, label_dropout=0.2)
    y, x, t = torch.tensor([0, 1]), torch.randn(2, 1, 4, 4), torch.tensor([4, 4])
    with torch.no_grad():
        plain, hidden = model._noise(x, t, y)[0], model._noise(x, t, torch.tensor([3, 3]))[0]
        guided = model._noise(x, t, y, guidance=2.0)[0]
    torch.testing.assert_close(guided, 3 * plain - 2 * hidden)


def test_errors_name_what_is_wrong() -> None:
    for match, arch in (
        ("steps: must be at least 2, got 1", {"steps": 1}),
        ("first, last: must be variances", {"first": 0.7}),
        ("variance: unknown 'beat'; did you mean 'beta'", {"variance": "beat"}),
        ("patch: must divide 4 x 4, got 3", {"patch": 3}),
        ("norm: unknown 'goup'; did you mean 'group'", {"norm": "goup"}),
    ):
        with pytest.raises(UserError, match=match):
            build(**arch)
    rng = Generator()
    with pytest.raises(UserError, match=r"ddim_steps: must be 0 \(none\) to 8, got 9"):
        build().sample(1, rng=rng, ddim_steps=9)
    with pytest.raises(UserError, match="label_dropout: there are no labels to hide"):
        build(label_dropout=0.1)
    with pytest.raises(UserError, match="guidance: must be a number of at least 0, got -1"):
        build(conditional=True, label_dropout=0.1).sample(
            1, torch.tensor([0]), rng=rng, guidance=-1
        )
    with pytest.raises(UserError, match="ddim_steps: must be 1 to 8, got 0"):
        build().decode(torch.zeros(1, 16), rng=rng, ddim_steps=0)
    with pytest.raises(UserError, match="ddim_steps: must be 1 to 8, got 9"):
        build().encode(images(1), rng=rng, ddim_steps=9)
    with pytest.raises(
        UserError,
        match=(
            r"steps, first, last: with these 100 steps 0\.36 of an image's variance is left at "
            r"the last one"
        ),
    ):
        DDPM(SPEC, steps=100, widths=(16,), patch=1)
    with pytest.raises(UserError, match="guidance: this entry is unconditional"):
        build().sample(1, rng=rng, guidance=1.0)
    with pytest.raises(UserError, match="guidance: this entry never saw hidden labels"):
        build(conditional=True).sample(1, torch.tensor([0]), rng=rng, guidance=1.0)
    with pytest.raises(UserError, match=r"terms: must be 0 \(all\) to 8, got 9"):
        build().log_likelihood(images(1), rng=rng, terms=9)
    with pytest.raises(UserError, match=r"terms: must be 0 \(all\) to 8, got -1"):
        build().likelihood_passes(terms=-1)


def test_the_last_step_draws_from_the_discretised_decoder() -> None:
    model = build(variance="beta", first=0.05)  # of a standard deviation near the levels' distance
    x_1, n = torch.linspace(-1.1, 1.1, 16).view(1, 1, 4, 4), 40_000
    t = torch.ones(1, dtype=torch.int64)
    with torch.no_grad():
        noise, log_var = model._noise(x_1, t, None)
        mean = model._mean(x_1.double(), t, noise.double())
    many = [value.expand(n, -1, -1, -1) for value in (x_1, noise, log_var)]
    drawn = model._levels(model._ancestral(*many, 1, False, Generator().manual_seed(0)))
    for level in range(8):
        p = discretised_normal(torch.full((1, 1, 4, 4), level), mean, 0.5 * log_var, 8).exp()
        found = (drawn == level).double().mean(0, keepdim=True)
        assert ((found - p).abs() <= 5 * (p * (1 - p) / n).sqrt() + 1e-4).all()


def test_each_variance_is_what_it_says() -> None:
    x_t, t = torch.randn(3, 1, 4, 4, generator=Generator().manual_seed(0)), torch.tensor([2, 5, 8])
    beta = torch.linspace(1e-4, 0.6, 8, dtype=torch.float64)
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])
    upper = beta[t - 1].log()
    lower = (beta[t - 1] * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])).log()
    for name, expected in (("beta", upper), ("posterior", lower)):
        with torch.no_grad():
            found = build(variance=name)._noise(x_t, t, None)[1]
        torch.testing.assert_close(found, expected[:, None, None, None].expand(3, 1, 4, 4))
    model = build(variance="learned")
    with torch.no_grad():
        share = (model.network(x_t, t / 8)[:, 1:].double() + 1) / 2
        found = model._noise(x_t, t, None)[1]
    torch.testing.assert_close(
        found, lower[:, None, None, None] + share * (upper - lower)[:, None, None, None]
    )


def test_the_learned_variance_adds_a_little_of_the_bound_to_the_loss() -> None:
    model, x = build(variance="learned"), images(6)
    rng = Generator().manual_seed(0)
    loss = model.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.0).loss
    x0 = model.spec.signed(x)
    t, noise, x_t, _ = model._drawn(x0, None, rng)
    guess, log_var = model._noise(x_t, t, None)
    simple = 0.5 * (noise - guess).square().flatten(1).sum(1).mean()
    bound = 8 * model._term(x, x0, x_t, t, guess, log_var).mean()
    torch.testing.assert_close(loss.double(), simple + 0.001 * bound)
    assert bound > 0


def test_the_bound_teaches_the_learned_variance_alone() -> None:
    """Its gradient stops at the noise: by the simple loss's that of the noise is the whole, by the
    bound's that of the variance.
    """
    model, x, kept = build(variance="learned"), images(6), []
    model.network.register_forward_hook(lambda _, __, out: (out.retain_grad(), kept.append(out))[0])
    model.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.0).loss.backward()
    noise = model._drawn(model.spec.signed(x), None, Generator().manual_seed(0))[1]
    torch.testing.assert_close(kept[0].grad[:, :1], (kept[0][:, :1] - noise).detach() / 6)
    assert kept[0].grad[:, 1:].abs().min() > 0


def test_hidden_labels_are_as_many_as_said_and_steps_are_spread() -> None:
    model = build(conditional=True, label_dropout=0.2)
    x0, y = torch.zeros(8000, 1, 4, 4), torch.arange(8000) % 3
    t, _, _, seen = model._drawn(x0, y, Generator().manual_seed(0))
    assert seen is not None
    assert float((seen == 3).double().mean()) == pytest.approx(0.2, abs=0.02)
    assert torch.equal(seen[seen < 3], y[seen < 3])
    assert torch.bincount(t, minlength=9).tolist() == [0, *([1000] * 8)]


def test_clipping_bounds_the_estimate_of_the_image() -> None:
    model = build()
    x, noise = 3 * torch.ones(1, 1, 4, 4), -torch.ones(1, 1, 4, 4)
    torch.testing.assert_close(model._ddim(x, noise, 4, 0, clip=True), torch.ones(1, 1, 4, 4))
    t = torch.tensor([4])
    clipped = model._mean(x.double(), t, noise.double(), clip=True)
    torch.testing.assert_close(
        clipped, model._posterior_mean(torch.ones(1, 1, 4, 4).double(), x.double(), t)
    )
