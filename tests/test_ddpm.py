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
from genbench.nn.gaussian import discretised_normal, normal_kl
from genbench.nn.gaussian_diffusion import (
    ddim_step,
    posterior,
    posterior_log_var,
    posterior_mean,
    predict_x0,
    prior_kl,
    q_sample,
    reverse_mean,
    vlb_strata,
    vlb_term,
)
from genbench.nn.noise_schedule import linear_schedule

SPEC = DataSpec(4, 4, 8, 3)


def build(**arch: object) -> DDPM:
    torch.manual_seed(0)
    model = DDPM(
        SPEC, **{"timesteps": 8, "beta_end": 0.6, "widths": (16,), "patch": 1, **arch}
    ).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model


def images(n: int = 5) -> Tensor:
    return torch.randint(
        0, 8, (n, 1, 4, 4), dtype=torch.uint8, generator=Generator().manual_seed(3)
    )


def noise_of(n: int, seed: int) -> Tensor:
    return torch.randn(n, generator=Generator().manual_seed(seed))


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
    schedule = linear_schedule(8, 1e-4, 0.6)
    x0, x_t, t = 0.3, -0.4, 5
    beta, before = float(schedule.beta[t]), float(schedule.alpha_bar[t - 1])
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    log_p = Normal(math.sqrt(before) * x0, math.sqrt(1 - before)).log_prob(grid) + Normal(
        math.sqrt(1 - beta) * grid, math.sqrt(beta)
    ).log_prob(torch.tensor(x_t, dtype=torch.float64))
    p = (log_p - log_p.logsumexp(0)).exp()
    mean = float((p * grid).sum())
    found, log_var = posterior(
        schedule,
        torch.full((1, 1, 1, 1), x0).double(),
        torch.full((1, 1, 1, 1), x_t).double(),
        torch.tensor([t]),
    )
    variance = float((p * (grid - mean).square()).sum())
    assert float(found) == pytest.approx(mean, abs=1e-5)
    assert float(log_var.exp()) == pytest.approx(variance, abs=1e-5)
    assert float(schedule.posterior_var[t]) == pytest.approx(variance, abs=1e-5)


def test_the_posterior_of_the_first_step_has_the_variance_of_the_second() -> None:
    schedule = linear_schedule(8, 1e-4, 0.6)
    first, second = posterior_log_var(schedule, torch.tensor([1, 2])).exp().flatten().tolist()
    assert first == second == pytest.approx(float(schedule.posterior_var[2]))


def test_the_mean_follows_from_the_noise() -> None:
    """With the true noise the reverse step's mean is the posterior's."""
    schedule = linear_schedule(8, 1e-4, 0.6)
    x_0, eps = torch.randn(6, 1, 4, 4), torch.randn(6, 1, 4, 4)
    t = torch.tensor([1, 2, 3, 5, 7, 8])
    x_t = q_sample(schedule, x_0, t, eps)
    torch.testing.assert_close(
        reverse_mean(schedule, x_t.double(), t, eps.double()),
        posterior_mean(schedule, x_0.double(), x_t.double(), t),
        rtol=1e-4,
        atol=1e-5,
    )
    torch.testing.assert_close(
        predict_x0(schedule, x_t.double(), t, eps.double()), x_0.double(), rtol=1e-4, atol=1e-5
    )


def test_states_have_the_moments_of_the_noising_process() -> None:
    """Step by step from the image, x_t = sqrt(1 - beta) x_{t-1} + sqrt(beta) noise, against the
    draw at once.
    """
    schedule, n, x_0 = linear_schedule(8, 1e-4, 0.6), 200_000, 0.7
    rng = Generator().manual_seed(0)
    state = torch.full((n, 1, 1, 1), x_0)
    for t in range(1, 9):
        beta = float(torch.linspace(1e-4, 0.6, 8, dtype=torch.float64)[t - 1])
        noise = torch.randn(state.shape, generator=rng)
        state = math.sqrt(1 - beta) * state + math.sqrt(beta) * noise
        eps = torch.randn(state.shape, generator=rng)
        x_t = q_sample(schedule, torch.full_like(state, x_0), torch.full((n,), t), eps)
        assert float(x_t.mean()) == pytest.approx(float(state.mean()), abs=0.012)
        assert float(x_t.std()) == pytest.approx(float(state.std()), rel=0.012)


def test_a_deterministic_step_with_the_true_noise_stays_on_its_path() -> None:
    """From any time to any other, x_s is the image with the same noise in it."""
    schedule = linear_schedule(8, 1e-4, 0.6)
    x_0, eps = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)

    def state(t: int) -> Tensor:
        left = float(schedule.alpha_bar[t])
        return math.sqrt(left) * x_0 + math.sqrt(1 - left) * eps

    for t, s in ((8, 3), (3, 0), (2, 7), (0, 5)):
        torch.testing.assert_close(ddim_step(schedule, state(t), t, s, eps), state(s))
    far = ddim_step(schedule, 9 * torch.ones_like(x_0), 4, 0, eps, clip=True)
    torch.testing.assert_close(far, torch.ones_like(x_0))


def test_a_deterministic_step_is_computed_in_double_precision() -> None:
    """Against Python's floats, to the last bit but one of float32."""
    schedule = linear_schedule(8, 1e-4, 0.6)
    x_t, eps = noise_of(64, 1), noise_of(64, 2)
    found = ddim_step(schedule, x_t.view(4, 1, 4, 4), 6, 2, eps.view(4, 1, 4, 4)).flatten()
    left_t, left_s = float(schedule.alpha_bar[6]), float(schedule.alpha_bar[2])
    for x, e, value in zip(x_t.tolist(), eps.tolist(), found.tolist(), strict=True):
        x_0 = (x - math.sqrt(1 - left_t) * e) / math.sqrt(left_t)
        expected = math.sqrt(left_s) * x_0 + math.sqrt(1 - left_s) * e
        assert value == pytest.approx(expected, rel=6e-8)


def test_the_prior_divergence_is_the_librarys() -> None:
    schedule, x_0 = linear_schedule(8, 1e-4, 0.6), torch.randn(5, 1, 4, 4)
    left = float(schedule.alpha_bar[-1])
    last = Normal(math.sqrt(left) * x_0.double(), math.sqrt(1 - left))
    expected = kl_divergence(last, Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(prior_kl(schedule, x_0), expected)


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
    betas, alpha_bar = model.schedule.beta, model.schedule.alpha_bar
    share = alpha_bar[-1]
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
            beta, share = betas[step], alpha_bar[step]
            x_t = share.sqrt().float() * x0 + (1 - share).sqrt().float() * noise
            out = model.network(x_t, t / 8)
            guess = out[:, :1]
            mean = (x_t.double() - beta / (1 - share).sqrt() * guess.double()) / (1 - beta).sqrt()
            posterior = [
                betas[s] * (1 - alpha_bar[s - 1]) / (1 - alpha_bar[s]) for s in range(1, 9)
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
                true = posterior_mean(model.schedule, x0.double(), x_t.double(), t)
                term = kl_divergence(Normal(true, posterior[step - 1].sqrt()), Normal(mean, spread))
            total -= term.flatten(1).sum(1)
    torch.testing.assert_close(found, total, rtol=1e-5, atol=1e-4)


def test_few_terms_estimate_the_bound_without_bias() -> None:
    model, x = build(timesteps=40), images(1).expand(4000, -1, -1, -1)
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
    edges = vlb_strata(40, terms)
    assert edges[0] == 1
    assert edges[-1] == 41
    assert len(edges) == terms + 1
    assert all(b > a for a, b in itertools.pairwise(edges))


def test_the_deterministic_sampler_runs_backwards() -> None:
    model = build(timesteps=200, beta_end=0.05)
    rng = Generator()
    z = model.prior(4, rng=Generator().manual_seed(0))
    state = z.view(4, 1, 4, 4)
    with torch.no_grad():
        there = model.ddim(state, range(200, -1, -1), None)
        back = model.ddim(there, range(201), None)
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
        plain, hidden = model.predict_eps(x, t, y), model.predict_eps(x, t, torch.tensor([3, 3]))
        guided = model.predict_eps(x, t, y, guidance=2.0)
        beside, _ = model.predict_reverse(x, t, y, guidance=2.0)
    torch.testing.assert_close(guided, 3 * plain - 2 * hidden)
    assert torch.equal(beside, guided)


def test_errors_name_what_is_wrong() -> None:
    for match, arch in (
        ("timesteps: must be at least 2, got 1", {"timesteps": 1}),
        ("beta_start, beta_end: must be variances", {"beta_start": 0.7}),
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
            r"timesteps, beta_end: with these 100 timesteps 0\.36 of an image's variance is left "
            r"at the last one"
        ),
    ):
        DDPM(SPEC, timesteps=100, widths=(16,), patch=1)
    with pytest.raises(UserError, match="guidance: this entry is unconditional"):
        build().sample(1, rng=rng, guidance=1.0)
    with pytest.raises(UserError, match="guidance: this entry never saw hidden labels"):
        build(conditional=True).sample(1, torch.tensor([0]), rng=rng, guidance=1.0)
    with pytest.raises(UserError, match=r"terms: must be 0 \(all\) to 8, got 9"):
        build().log_likelihood(images(1), rng=rng, terms=9)
    with pytest.raises(UserError, match=r"terms: must be 0 \(all\) to 8, got -1"):
        build().likelihood_passes(terms=-1)


def test_the_last_step_draws_from_the_discretised_decoder() -> None:
    # Of a standard deviation near the levels' distance.
    model = build(variance="beta", beta_start=0.05)
    x_1, n = torch.linspace(-1.1, 1.1, 16).view(1, 1, 4, 4), 40_000
    t = torch.ones(1, dtype=torch.int64)
    with torch.no_grad():
        eps, log_var = model.predict_reverse(x_1, t, None)
        mean = reverse_mean(model.schedule, x_1.double(), t, eps.double())
    x, estimate, spread = (value.expand(n, -1, -1, -1) for value in (x_1, eps, log_var))
    rng = Generator().manual_seed(0)
    drawn = SPEC.from_signed(model.ancestral_step(x, t.expand(n), estimate, spread, rng=rng))
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
            found = build(variance=name).predict_reverse(x_t, t, None)[1]
        torch.testing.assert_close(found, expected[:, None, None, None].expand(3, 1, 4, 4))
    model = build(variance="learned")
    with torch.no_grad():
        share = (model.network(x_t, t / 8)[:, 1:].double() + 1) / 2
        found = model.predict_reverse(x_t, t, None)[1]
    torch.testing.assert_close(
        found, lower[:, None, None, None] + share * (upper - lower)[:, None, None, None]
    )


def test_the_learned_variance_adds_a_little_of_the_bound_to_the_loss() -> None:
    model, x = build(variance="learned"), images(6)
    rng = Generator().manual_seed(0)
    loss = model.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.0).loss
    batch = model.noisy_batch(model.spec.signed(x), None, rng=rng)
    eps, log_var = model.predict_reverse(batch.x_t, batch.t, None)
    simple = 0.5 * (batch.eps - eps).square().flatten(1).sum(1).mean()
    bound = 8 * vlb_term(model.schedule, x, batch.x_t, batch.t, eps, log_var, spec=SPEC).mean()
    torch.testing.assert_close(loss.double(), simple + 0.001 * bound)
    assert bound > 0


def test_the_bound_teaches_the_learned_variance_alone() -> None:
    """Its gradient stops at the noise: by the simple loss's that of the noise is the whole, by the
    bound's that of the variance.
    """
    model, x, kept = build(variance="learned"), images(6), []
    model.network.register_forward_hook(lambda _, __, out: (out.retain_grad(), kept.append(out))[0])
    model.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.0).loss.backward()
    eps = model.noisy_batch(model.spec.signed(x), None, rng=Generator().manual_seed(0)).eps
    torch.testing.assert_close(kept[0].grad[:, :1], (kept[0][:, :1] - eps).detach() / 6)
    assert kept[0].grad[:, 1:].abs().min() > 0


def test_hidden_labels_are_as_many_as_said_and_steps_are_spread() -> None:
    model = build(conditional=True, label_dropout=0.2)
    x0, y = torch.zeros(8000, 1, 4, 4), torch.arange(8000) % 3
    batch = model.noisy_batch(x0, y, rng=Generator().manual_seed(0))
    t, seen = batch.t, batch.y
    assert seen is not None
    assert float((seen == 3).double().mean()) == pytest.approx(0.2, abs=0.02)
    assert torch.equal(seen[seen < 3], y[seen < 3])
    assert torch.bincount(t, minlength=9).tolist() == [0, *([1000] * 8)]


def test_clipping_bounds_the_estimate_of_the_image() -> None:
    model, t = build(), torch.tensor([4])
    x, eps = 3 * torch.ones(1, 1, 4, 4), -torch.ones(1, 1, 4, 4)
    certain = torch.full((1, 1, 4, 4), -math.inf).double()
    found = model.ancestral_step(x, t, eps, certain, clip=True, rng=Generator())
    white = torch.ones(1, 1, 4, 4).double()
    expected = posterior_mean(model.schedule, white, x.double(), t).float()
    torch.testing.assert_close(found, expected)
    assert (model.ancestral_step(x, t, eps, certain, rng=Generator()) - expected).abs().min() > 0.1
