"""Options of the bounds against closed forms: a new draw for each of ``draws``, each with its
weight; the passes that terms and probes take.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import Bernoulli, Normal
from torch.nn import functional as F

from genbench.base import DataSpec
from genbench.families.diffusion import GaussianDiffusion
from genbench.families.flow import Flow, Multiscale
from genbench.families.latent import GaussianLatent
from genbench.models.cvae import CVAE
from genbench.models.ddpm import DDPM
from genbench.models.ddpm_vlb import DDPMVLB
from genbench.models.flow_matching import FlowMatching
from genbench.models.glow import Glow
from genbench.models.real_nvp import RealNVP
from genbench.models.vae import VAE
from genbench.nn import ode
from genbench.nn.bijections import Bijection, Coupling, Squeeze
from tests.contract import rng

Bounded = GaussianLatent | Flow
SPEC = DataSpec(2, 4, 2, 3)
GREY = DataSpec(4, 4, 16, 3)
AUTOENCODER = {"latent": 2, "widths": [8], "hidden": 16}
FLOW = {"scales": 1, "width": 8, "blocks": 1}
DIFFUSION = {"timesteps": 9, "widths": [16], "blocks": 1, "patch": 1}
BOUNDS: dict[str, Callable[[], Bounded]] = {
    "vae": lambda: VAE(SPEC, **AUTOENCODER, beta=3.0, free_bits=1.0),
    "cvae": lambda: CVAE(SPEC, **AUTOENCODER, beta=3.0, free_bits=1.0),
    "real_nvp": lambda: RealNVP(GREY, **FLOW),
    "variational": lambda: RealNVP(GREY, **FLOW, dequantize="variational"),
    "glow": lambda: Glow(GREY, **FLOW, dequantize="variational"),
}


def build(name: str) -> Bounded:
    torch.manual_seed(0)
    model = BOUNDS[name]().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


def batch(
    model: Bounded | GaussianDiffusion | FlowMatching, n: int = 20
) -> tuple[Tensor, Tensor | None]:
    spec = model.spec
    x = torch.randint(
        0, spec.levels, (n, 1, spec.height, spec.width), dtype=torch.uint8, generator=rng(1)
    )
    return x, torch.arange(n) % spec.classes if model.conditional else None


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("draws", [1, 2, 7])
def test_a_bound_of_many_draws_is_the_mean_of_as_many_weights(name: str, draws: int) -> None:
    model = build(name)
    x, y = batch(model)
    bound, g = model.log_likelihood(x, y, rng=rng(0), draws=draws), rng(0)
    log_weights = torch.stack([model.log_likelihood(x, y, rng=g) for _ in range(draws)])
    torch.testing.assert_close(
        bound, log_weights.logsumexp(0) - math.log(draws), rtol=1e-12, atol=1e-12
    )
    assert draws == 1 or log_weights.std(0).min() > 1e-3  # no draw is another's


@torch.no_grad()
def _weight_of_latents(model: GaussianLatent, x: Tensor, y: Tensor | None, g: Generator) -> Tensor:
    """log P(x|z) p(z) / q(z|x) by the distributions library, whatever beta and free bits were in
    training.
    """
    mean, log_std = model.posterior(x, y)
    posterior, prior_mean_log_std = Normal(mean, log_std.exp()), model.prior_of(y, len(x))
    prior = Normal(prior_mean_log_std[0], prior_mean_log_std[1].exp())
    z = posterior.mean + posterior.stddev * torch.randn(mean.shape, generator=g)
    logits = model.decoder(z, y)[..., 0]  # of the four pixels of each 2 x 2 cell
    cells = F.pixel_unshuffle(x, 2).permute(0, 2, 3, 1).float()
    return Bernoulli(logits=logits).log_prob(cells).flatten(1).sum(1) + (
        prior.log_prob(z) - posterior.log_prob(z)
    ).sum(1)


@torch.no_grad()
def _weight_of_noise(model: Flow, x: Tensor, y: Tensor | None, g: Generator) -> Tensor:
    """log p(x + u) / q(u|x)."""
    if model.dequantizer is None:
        return model.log_density(x + torch.rand(x.shape, generator=g))[1]
    u, log_q = model.dequantizer(2 * x.float() / 15 - 1, torch.randn(x.shape, generator=g))
    return model.log_density(x + u)[1] - log_q


@pytest.mark.parametrize("name", BOUNDS)
def test_a_weight_is_the_density_over_that_of_the_draw(name: str) -> None:
    model = build(name)
    x, y = batch(model)
    expected = (
        _weight_of_latents(model, x, y, rng(5))
        if isinstance(model, GaussianLatent)
        else _weight_of_noise(model, x, y, rng(5))
    )
    torch.testing.assert_close(
        model.log_likelihood(x, y, rng=rng(5)), expected.double(), rtol=1e-5, atol=1e-4
    )


def test_the_conditional_loss_prices_the_divergence_from_the_labels_prior() -> None:
    """Reconstruction, and beta times what each latent costs beyond its free bits, warmed up."""
    torch.manual_seed(0)
    plain = CVAE(SPEC, **AUTOENCODER)
    x, y = batch(plain, 60)
    step = plain.training_loss(x, y, rng=rng(0), progress=0.25)
    posterior, prior = (
        Normal(mean, log_std.exp())
        for mean, log_std in (plain.posterior(x, y), plain.prior_of(y, len(x)))
    )
    each = torch.distributions.kl_divergence(posterior, prior).mean(0)
    free = each.max().item() - 0.001  # charges one latent less than all
    for options, price in (
        ({"beta": 3.0}, 3 * each.sum()),
        ({"free_bits": free}, each.clamp(min=free).sum()),
        ({"kl_warmup": 0.5}, 0.5 * each.sum()),
        ({"kl_warmup": 0.2, "beta": 0.0}, torch.zeros(())),
    ):
        other = CVAE(SPEC, **AUTOENCODER, **options)
        other.load_state_dict(plain.state_dict())
        torch.testing.assert_close(
            other.training_loss(x, y, rng=rng(0), progress=0.25).loss, step.logs["rec_nats"] + price
        )


@pytest.mark.parametrize("cls", [DDPM, DDPMVLB])
@pytest.mark.parametrize("terms", [0, 1, 4, 9])
def test_a_bound_of_few_terms_takes_as_many_passes_at_as_many_times(
    cls: Callable[..., GaussianDiffusion], terms: int
) -> None:
    """One time of each stratum; all terms take each time once."""
    variances, ratios = {"beta_start": 0.1, "beta_end": 0.6}, {"log_snr_max": 4.0}
    limits = variances if cls is DDPM else {**ratios, "log_snr_min": -4.0}
    model, seen = cls(GREY, **DIFFUSION, **limits).eval(), []
    model.model_output = lambda x_t, t, y: (
        seen.append((t * 9).round().long()) or torch.zeros_like(x_t)
    )  # type: ignore[method-assign]
    x, _ = batch(model)
    model.log_likelihood(x, rng=rng(0), terms=terms)
    assert len(seen) == (terms or 9) == model.likelihood_passes(terms=terms)
    times = torch.stack(seen)
    assert bool((times.diff(dim=0) > 0).all())
    if terms in (0, 9):
        assert torch.equal(times, torch.arange(1, 10)[:, None].expand(9, len(x)))
    elif terms == 1:
        assert len(times.unique()) > 4  # each image has its own


@pytest.mark.parametrize("probes", [1, 3])
def test_each_probe_has_its_own_signs(probes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, seen = FlowMatching(GREY, widths=(16,), blocks=1, patch=1, ode_steps=1).eval(), []
    divergence = ode.velocity_and_divergence

    def spy(velocity: Any, x: Tensor, t: Tensor, probes: Tensor, *, average: bool) -> Any:
        assert average
        seen.append(probes)
        return divergence(velocity, x, t, probes, average=average)

    monkeypatch.setattr(ode, "velocity_and_divergence", spy)
    x, _ = batch(model)
    model.log_likelihood(x, rng=rng(0), probes=probes)
    assert all(torch.equal(signs, seen[0]) for signs in seen)  # one set for the whole path
    assert seen[0].shape == (probes, *x.shape)
    assert set(seen[0].unique().tolist()) == {-1.0, 1.0}
    rows = seen[0].flatten(0, 1).flatten(1)
    assert len(rows.unique(dim=0)) == len(rows)


def test_the_networks_of_learned_noise_are_as_large_as_it_says() -> None:
    stages: list[list[Bijection]] = [[Squeeze(), Coupling(4, (0, 3), width=8, blocks=1)]]
    flow = Flow(
        GREY,
        flow=Multiscale(stages, (1, 4, 4)),
        dequantize="variational",
        dequantize_width=6,
        dequantize_layers=3,
    )
    shapes = {
        name: tuple(p.shape)
        for name, p in flow.named_parameters()
        if name.startswith("dequantizer")
    }
    assert {name.split(".")[2] for name in shapes} == {"0", "1", "2"}
    assert shapes["dequantizer.couplings.2.network.first.weight"] == (6, 6, 3, 3)
