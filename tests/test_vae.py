"""The VAE against numerical integration over its latent, and its terms against independent
formulas.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import Normal
from torch.distributions import kl_divergence as divergence

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.families import latent
from genbench.models.vae import VAE
from genbench.nn.autoencoder import to_cells
from genbench.nn.gaussian import normal_kl

SPECS = [
    (DataSpec(2, 4, 2), {}),
    (DataSpec(2, 2, 4), {"mixtures": 2}),
    (DataSpec(2, 2, 4), {"head": "categorical"}),
]
STEP = 0.005
GRID = STEP * torch.arange(-1800, 1801)


def build(spec: DataSpec, *, seed: int = 0, **arch: object) -> VAE:
    """A small VAE of one latent dimension whose pixels depend strongly on it."""
    torch.manual_seed(seed)
    model = VAE(spec, latent=1, widths=[8], hidden=16, **arch).eval()
    with torch.no_grad():
        for p in [*model.decoder.parameters(), *model.encoder.parameters()]:
            p.mul_(2.0)
    return model


def every_image(spec: DataSpec) -> Tensor:
    pixels = torch.tensor(
        list(itertools.product(range(spec.levels), repeat=spec.dims)), dtype=torch.uint8
    )
    return pixels.view(-1, 1, spec.height, spec.width)


@torch.no_grad()
def log_p_on_grid(model: VAE, x: Tensor) -> Tensor:
    """log P(x|z), float64 (B, G), for every z of the grid."""
    params = model.decoder(GRID[:, None], None)  # (G, H/2, W/2, 4, K)
    cells = torch.nn.functional.pixel_unshuffle(x, 2).permute(0, 2, 3, 1)
    rows = [
        model.head.log_prob(params, cell.expand(params.shape[:-1])).double().flatten(1).sum(1)
        for cell in cells
    ]
    return torch.stack(rows)


def log_p_by_quadrature(model: VAE, x: Tensor) -> Tensor:
    """log P(x), float64 (B,)."""
    return (log_p_on_grid(model, x) + Normal(0.0, 1.0).log_prob(GRID.double())).logsumexp(
        1
    ) + math.log(STEP)


@pytest.mark.parametrize(("spec", "arch"), SPECS)
def test_quadrature_sums_to_one(spec: DataSpec, arch: dict[str, object]) -> None:
    """The oracle itself: a decoder and prior that are a distribution over all images."""
    total = log_p_by_quadrature(build(spec, **arch), every_image(spec)).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("spec", "arch"), SPECS)
def test_many_draws_converge_to_log_p_from_below(spec: DataSpec, arch: dict[str, object]) -> None:
    model, x = build(spec, **arch), every_image(spec)[::5]
    truth = log_p_by_quadrature(model, x)
    with (
        torch.no_grad()
    ):  # a posterior as wide as the prior keeps the variance of the weights finite
        model.encoder.out.weight.zero_()
        model.encoder.out.bias.zero_()
    means = []
    for draws in (1, 8, 64):
        bound = torch.stack(
            [
                model.log_likelihood(x, rng=Generator().manual_seed(s), draws=draws)
                for s in range(20)
            ]
        )
        means.append(bound.mean().item())
        assert means[-1] < truth.mean().item()
    assert means == sorted(means)
    many = model.log_likelihood(x, rng=Generator().manual_seed(0), draws=4000)
    assert many.dtype == torch.float64
    torch.testing.assert_close(many, truth, atol=0.15, rtol=0)
    assert many.mean().item() == pytest.approx(truth.mean().item(), abs=0.02)


@pytest.mark.parametrize(("spec", "arch"), SPECS)
def test_elbo_falls_short_by_the_divergence_of_the_posterior(
    spec: DataSpec, arch: dict[str, object]
) -> None:
    """log P(x) - ELBO = KL(q(z|x) || p(z|x)), all three by integration; training_loss and
    log_likelihood average to the ELBO.
    """
    model, x = build(spec, **arch), every_image(spec)[::7]
    with torch.no_grad():
        mean, log_std = (t.double() for t in model.posterior(x))
    log_q = Normal(mean, log_std.exp()).log_prob(GRID.double())
    log_joint = log_p_on_grid(model, x) + Normal(0.0, 1.0).log_prob(GRID.double())
    log_posterior = log_joint - log_joint.logsumexp(1, keepdim=True) - math.log(STEP)
    gap = (log_q.exp() * (log_q - log_posterior)).sum(1) * STEP
    elbo = log_p_by_quadrature(model, x) - gap
    n = 150
    losses, scores = [], []
    with torch.no_grad():
        for seed in range(n):
            losses.append(
                model.training_loss(x, None, rng=Generator().manual_seed(seed), progress=0.0).loss
            )
            scores.append(
                model.log_likelihood(x, rng=Generator().manual_seed(10_000 + seed)).mean()
            )
    for values, expected in (
        (torch.stack(losses), -elbo.mean()),
        (torch.stack(scores), elbo.mean()),
    ):
        stderr = values.std().item() / math.sqrt(n)
        assert values.mean().item() == pytest.approx(expected.item(), abs=4.5 * stderr + 1e-4)


def test_kl_is_that_of_the_distributions_library() -> None:
    g = Generator().manual_seed(0)
    mean, log_std, prior_mean, prior_log_std = torch.randn(4, 6, 5, generator=g).unbind()
    expected = divergence(Normal(mean, log_std.exp()), Normal(prior_mean, prior_log_std.exp()))
    found = normal_kl(mean, 2 * log_std, prior_mean, 2 * prior_log_std)
    torch.testing.assert_close(found, expected)


def test_logs_add_up_to_the_loss() -> None:
    model = build(*SPECS[0][:1])
    step = model.training_loss(
        every_image(model.spec), None, rng=Generator().manual_seed(0), progress=0.0
    )
    torch.testing.assert_close(step.logs["rec_nats"] + step.logs["kl_nats"], step.loss.detach())
    assert not step.logs["kl_nats"].requires_grad


@pytest.mark.parametrize(("spec", "arch"), SPECS)
def test_sample_frequencies_are_the_integrated_probabilities(
    spec: DataSpec, arch: dict[str, object]
) -> None:
    model = build(spec, **arch)
    expected = log_p_by_quadrature(model, every_image(spec)).exp()
    n = 20_000
    x = model.sample(n, rng=Generator().manual_seed(1))
    index = x.flatten(1).long() @ spec.levels ** torch.arange(spec.dims - 1, -1, -1)
    frequency = index.bincount(minlength=len(expected)).double() / n
    distance = 0.5 * (frequency - expected).abs().sum().item()
    noise = (
        0.5 * (2 / math.pi * expected * (1 - expected) / n).sqrt().sum().item()
    )  # mean total variation of a right sampler
    assert distance < 1.3 * noise


def test_pixels_keep_their_places() -> None:
    """log_p_x_given_z and decode agree on which output is which pixel: a sure decoder scores its
    own samples with certainty.
    """
    torch.manual_seed(0)
    model = VAE(DataSpec(8, 8, 2), latent=2, widths=[4, 4], hidden=8).eval()
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.mul_(3)
        model.decoder.up.layers[-1].weight.mul_(1e6)
        model.decoder.up.layers[-1].bias.copy_(
            torch.tensor([50.0, -50.0, 50.0, -50.0])
        )  # sure even where no feature is active
        z = torch.randn(20, 2)
        x = model.decode(z, rng=Generator().manual_seed(0))
        assert 0.05 < x.float().mean() < 0.95
        assert (model.log_p_x_given_z(to_cells(x), z, None) > -0.01 * model.spec.dims).all()


def test_score_does_not_depend_on_the_decoding_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = build(DataSpec(2, 4, 2)), every_image(DataSpec(2, 4, 2))
    whole = model.log_likelihood(x, rng=Generator().manual_seed(3), draws=4)
    monkeypatch.setattr(latent, "DECODE_CHUNK", 7)
    torch.testing.assert_close(
        model.log_likelihood(x, rng=Generator().manual_seed(3), draws=4), whole, atol=1e-5, rtol=0
    )


def test_encode_draws_from_the_posterior() -> None:
    model = build(DataSpec(2, 4, 2))
    x = every_image(model.spec)[77:78].expand(20_000, -1, -1, -1)
    with torch.no_grad():
        mean, log_std = (t[0].item() for t in model.posterior(x[:1]))
    z = model.encode(x, rng=Generator().manual_seed(0))
    std = math.exp(log_std)
    assert z.mean().item() == pytest.approx(mean, abs=4.5 * std / math.sqrt(len(z)))
    assert z.std().item() == pytest.approx(std, rel=0.03)


def test_default_head_follows_the_levels() -> None:
    assert VAE(DataSpec(4, 4, 2), widths=[4]).head.channels == 1
    assert VAE(DataSpec(4, 4, 256), widths=[4], mixtures=4).head.channels == 12


def test_beta_free_bits_and_warm_up_change_the_price_of_the_code_alone() -> None:
    x = every_image(DataSpec(2, 4, 2))
    torch.manual_seed(0)
    plain = VAE(DataSpec(2, 4, 2), latent=3, widths=[8], hidden=16)
    step = plain.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.25)
    mean, log_std = plain.posterior(x)
    each = divergence(Normal(mean, log_std.exp()), Normal(0.0, 1.0)).mean(0)
    for options, expected in (
        ({"kl_warmup": 0.5}, 0.5 * each.sum()),
        ({"kl_warmup": 0.1}, each.sum()),
        ({"free_bits": 1.0}, each.clamp(min=1).sum()),
        ({"beta": 3.0}, 3 * each.sum()),
        ({"beta": 3.0, "kl_warmup": 0.5}, 1.5 * each.sum()),
    ):
        other = VAE(DataSpec(2, 4, 2), latent=3, widths=[8], hidden=16, **options)
        other.load_state_dict(plain.state_dict())
        changed = other.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.25)
        torch.testing.assert_close(changed.loss, step.logs["rec_nats"] + expected)
        assert torch.equal(
            changed.logs["kl_nats"], step.logs["kl_nats"]
        )  # what is logged stays the divergence


def test_active_units_are_those_whose_mean_moves() -> None:
    torch.manual_seed(0)
    model = VAE(DataSpec(2, 4, 2), latent=5, widths=[8], hidden=16).eval()
    with torch.no_grad():
        model.encoder.out.weight.mul_(20)
        model.encoder.out.weight[2:5] = 0  # three means that stay where their bias puts them
    x = every_image(model.spec)
    assert model.diagnostics(x, rng=Generator())["active_units"] == 2
    assert model.diagnostics(x[:1], rng=Generator())["active_units"] == 0


def test_rate_and_distortion_are_the_parts_of_the_bound() -> None:
    torch.manual_seed(0)
    model = VAE(DataSpec(2, 4, 2), latent=5, widths=[8], hidden=16).eval()
    x = every_image(model.spec)
    found = model.diagnostics(x, rng=Generator().manual_seed(0))
    with torch.no_grad():
        mean, log_std = model.posterior(x)
        rate = divergence(Normal(mean, log_std.exp()), Normal(0.0, 1.0)).sum(1).mean()
        loss = model.training_loss(x, None, rng=Generator().manual_seed(0), progress=1.0).loss
    assert found["rate_nats"] == pytest.approx(float(rate), rel=1e-5)
    assert found["rate_nats"] + found["distortion_nats"] == pytest.approx(float(loss), rel=1e-5)


def test_a_fresh_network_starts_near_uniform_pixels() -> None:
    """Its loss is below 1.2 times that of uniform levels, so that training does not begin with a
    collapse.
    """
    torch.manual_seed(0)
    model = VAE(DataSpec(28, 28, 256))
    x = torch.randint(
        0, 256, (16, 1, 28, 28), dtype=torch.uint8, generator=Generator().manual_seed(0)
    )
    loss = model.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.0).loss
    assert loss.item() < 1.2 * 784 * math.log(256)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(
        UserError,
        match=(
            "widths: 3 stages need height and width divisible by 8, got 28 x 28; at most 2 stages"
        ),
    ):
        VAE(DataSpec(28, 28, 256), widths=[8, 8, 8])
    with pytest.raises(UserError, match="widths: must be at least one positive"):
        VAE(DataSpec(28, 28, 256), widths=[])
    with pytest.raises(UserError, match="latent: must be at least 1, got 0"):
        VAE(DataSpec(28, 28, 256), latent=0)
    with pytest.raises(UserError, match=r"beta: must not be negative, got -0.5"):
        VAE(DataSpec(28, 28, 256), beta=-0.5)
    with pytest.raises(UserError, match=r"free_bits: must not be negative, got -1"):
        VAE(DataSpec(28, 28, 256), free_bits=-1.0)
    with pytest.raises(UserError, match=r"kl_warmup: must be a share in \[0, 1\], got 2"):
        VAE(DataSpec(28, 28, 256), kl_warmup=2.0)
    with pytest.raises(UserError, match="bernoulli is for 2 levels only"):
        VAE(DataSpec(28, 28, 256), head="bernoulli")
    model = build(DataSpec(2, 4, 2))
    x = every_image(model.spec)[:2]
    with pytest.raises(ValueError, match="draws: must be at least 1, got 0"):
        model.log_likelihood(x, rng=Generator(), draws=0)
    with pytest.raises(ValueError, match=r"z: shape must be \(n, 1\), got \(3, 5\)"):
        model.decode(torch.zeros(3, 5), rng=Generator())
    with pytest.raises(ValueError, match="takes no labels"):
        model.sample(2, torch.zeros(2, dtype=torch.int64), rng=Generator())
