"""The conditional VAE against numerical integration, class by class."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import Normal
from torch.distributions import kl_divergence as divergence

from genbench.base import DataSpec
from genbench.models.cvae import CVAE
from genbench.nn.autoencoder import to_cells

SPEC = DataSpec(2, 4, 2, 3)
STEP = 0.01
GRID = STEP * torch.arange(-1500, 1501)


def build() -> CVAE:
    """A small model whose pixels depend strongly on its one latent dimension, and whose classes lie
    apart.
    """
    torch.manual_seed(0)
    model = CVAE(SPEC, latent=1, widths=[8], hidden=16).eval()
    with torch.no_grad():
        for p in [
            *model.decoder.parameters(),
            *model.encoder.parameters(),
            *model.prior_net.parameters(),
        ]:
            p.mul_(2.0)
    return model


def every_image() -> Tensor:
    pixels = torch.tensor(
        list(itertools.product(range(SPEC.levels), repeat=SPEC.dims)), dtype=torch.uint8
    )
    return pixels.view(-1, 1, SPEC.height, SPEC.width)


@torch.no_grad()
def log_p_by_quadrature(model: CVAE, x: Tensor, label: int) -> Tensor:
    """log P(x|y), float64 (B,), by summing over a fine grid of latents."""
    y = torch.full((len(GRID),), label)
    mean, log_std = (t[0, 0].double() for t in model.prior_of(y[:1], 1))
    params = model.decoder(GRID[:, None], y)
    rows = [
        model.head.log_prob(params, cells.expand(params.shape[:-1])).double().flatten(1).sum(1)
        for cells in to_cells(x)
    ]
    return (torch.stack(rows) + Normal(mean, log_std.exp()).log_prob(GRID.double())).logsumexp(
        1
    ) + math.log(STEP)


@pytest.mark.parametrize("label", range(3))
def test_each_class_is_a_distribution_that_many_draws_find(label: int) -> None:
    model, x = build(), every_image()
    truth = log_p_by_quadrature(model, x, label)
    assert truth.exp().sum().item() == pytest.approx(1, abs=1e-4)
    with torch.no_grad():  # a wide posterior keeps the variance of the weights finite
        model.encoder.out.weight.zero_()
        model.encoder.out.bias.copy_(
            torch.tensor([float(model.prior_of(torch.tensor([label]), 1)[0]), 1.0])
        )
    y = torch.full((len(x),), label)
    elbo = torch.stack(
        [model.log_likelihood(x, y, rng=Generator().manual_seed(s)) for s in range(20)]
    ).mean(0)
    assert elbo.mean() < truth.mean() - 0.1
    many = model.log_likelihood(x, y, rng=Generator().manual_seed(0), draws=4000)
    torch.testing.assert_close(many, truth, atol=0.15, rtol=0)


@torch.no_grad()
def test_labels_start_without_effect_but_on_the_prior() -> None:
    """Random differences between classes would have to be unlearned first."""
    torch.manual_seed(0)
    model, x, z = CVAE(SPEC, latent=1, widths=[8], hidden=16), every_image(), torch.randn(256, 1)
    first, last = (torch.full((256,), label) for label in (0, 2))
    assert torch.equal(model.posterior(x, first)[0], model.posterior(x, last)[0])
    assert torch.equal(model.decoder(z, first), model.decoder(z, last))
    assert not torch.equal(model.prior_of(first, 256)[0], model.prior_of(last, 256)[0])
    model.encoder.labels.weight.normal_()
    model.decoder.labels.weight.normal_()
    assert not torch.equal(model.posterior(x, first)[0], model.posterior(x, last)[0])
    assert not torch.equal(model.decoder(z, first), model.decoder(z, last))


def test_the_prior_is_drawn_from_its_own_gaussian() -> None:
    model = build()
    y = torch.arange(30_000) % 3
    z = model.prior(len(y), y, rng=Generator().manual_seed(0))[:, 0]
    mean, log_std = (t[:, 0] for t in model.prior_of(torch.arange(3), 3))
    for label in range(3):
        std = float(log_std[label].exp())
        assert z[y == label].mean().item() == pytest.approx(float(mean[label]), abs=4.5 * std / 100)
        assert z[y == label].std().item() == pytest.approx(std, rel=0.03)


def test_the_kl_term_moves_the_prior_towards_the_posterior() -> None:
    model, x = build().train(), every_image()
    y = torch.zeros(len(x), dtype=torch.int64)
    before = model.training_loss(x, y, rng=Generator().manual_seed(0), progress=0.0)
    before.loss.backward()
    with torch.no_grad():
        for p in model.prior_net.parameters():
            p -= 0.001 * p.grad
    after = model.training_loss(x, y, rng=Generator().manual_seed(0), progress=0.0)
    assert after.logs["kl_nats"] < before.logs["kl_nats"]
    assert torch.equal(after.logs["rec_nats"], before.logs["rec_nats"])


def test_a_posterior_that_follows_the_prior_is_not_active() -> None:
    """The prior's own differences between classes are no use of the latents."""
    model, x = build(), every_image()
    y = torch.arange(len(x)) % 3
    mean, log_std = model.prior_of(y, len(x))
    assert mean.var() > 0.1  # the classes lie apart
    model.posterior = lambda *_: (mean + 0.5 * log_std.exp(), log_std + 0.3)  # type: ignore[method-assign]
    assert model.diagnostics(x, y, rng=Generator())["active_units"] == 0


@torch.no_grad()
def test_diagnostics_do_not_depend_on_the_scale_of_the_latents() -> None:
    """Latents ten times smaller everywhere are the same model."""
    torch.manual_seed(0)
    model, x = CVAE(SPEC, latent=1, widths=[8], hidden=16).eval(), every_image()
    y = torch.arange(len(x)) % 3
    model.encoder.out.weight[0] *= 5
    before = model.diagnostics(x, y, rng=Generator().manual_seed(0))
    for layer in (model.encoder.out, model.prior_net[-1]):
        layer.weight[0] /= 10
        layer.bias[0] /= 10
        layer.bias[1] -= math.log(10)
    model.decoder.first.weight *= 10
    after = model.diagnostics(x, y, rng=Generator().manual_seed(0))
    assert before["active_units"] == after["active_units"] == 1
    assert after == pytest.approx(before, rel=1e-4)


def test_rate_and_distortion_are_the_parts_of_the_bound_given_the_label() -> None:
    model, x = build(), every_image()
    y = torch.arange(len(x)) % 3
    found = model.diagnostics(x, y, rng=Generator().manual_seed(0))
    with torch.no_grad():
        posterior, prior = (
            Normal(mean, log_std.exp())
            for mean, log_std in (model.posterior(x, y), model.prior_of(y, len(x)))
        )
        loss = model.training_loss(x, y, rng=Generator().manual_seed(0), progress=1.0).loss
    assert found["rate_nats"] == pytest.approx(
        float(divergence(posterior, prior).sum(1).mean()), rel=1e-5
    )
    assert found["rate_nats"] + found["distortion_nats"] == pytest.approx(float(loss), rel=1e-5)
