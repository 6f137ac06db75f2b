"""The restricted Boltzmann machine against enumeration: free energy, log Z, its Gibbs sweep, its
gradient.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Generator, Tensor

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.models.rbm import RBM


def states(n: int) -> Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)))


def build(height: int = 3, width: int = 3, hidden: int = 5, scale: float = 0.7) -> RBM:
    torch.manual_seed(0)
    model = RBM(DataSpec(height, width, 2), hidden=hidden, persistent_chains=32)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(scale * torch.randn_like(p))
        model.start_bias.copy_(torch.randn_like(model.start_bias))
    return model


def log_z_over_hidden(model: RBM) -> float:
    """Exact log Z by the sum over hidden states, each of which leaves the pixels independent."""
    h = states(len(model.hidden_bias)).double()
    inputs = h @ model.weight.double() + model.visible_bias.double()
    return float(
        (h @ model.hidden_bias.double() + torch.nn.functional.softplus(inputs).sum(1))
        .logsumexp(0)
        .detach()
    )


def test_the_free_energy_sums_over_hidden_states() -> None:
    model = build()
    v, h = states(9), states(5)
    # (2^5, 2^9)
    joint = v @ model.visible_bias + (h @ model.hidden_bias)[:, None] + h @ model.weight @ v.T
    torch.testing.assert_close(-model.free_energy(v), joint.logsumexp(0))
    torch.testing.assert_close(model.log_f(v).float(), joint.logsumexp(0))


def test_the_path_begins_at_independent_pixels() -> None:
    model = build()
    v = states(9)
    log_p = model.log_f(v, 0.0) - model.initial_log_z()
    assert log_p.exp().sum().item() == pytest.approx(1, rel=1e-6)
    torch.testing.assert_close(log_p.exp().float() @ v, model.start_bias.sigmoid())
    drawn = model.initial_states(40_000, rng=Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), model.start_bias.sigmoid(), atol=0.012, rtol=0)


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_a_sweep_leaves_the_density_on_the_path_invariant(beta: float) -> None:
    model = build(2, 2, hidden=3, scale=1.0)
    v = states(4)
    with torch.no_grad():
        p = (model.log_f(v, beta) - model.log_f(v, beta).logsumexp(0)).exp().float()
        rng = Generator().manual_seed(0)
        drawn = v[torch.multinomial(p, 60_000, replacement=True, generator=rng)]
        moved = model.move(drawn, beta, rng=rng)
    index = (moved @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long()
    torch.testing.assert_close(torch.bincount(index, minlength=16) / 60_000, p, atol=0.012, rtol=0)
    assert (moved != drawn).any(1).float().mean() > 0.3


@pytest.mark.parametrize(("height", "hidden"), [(3, 5), (4, 12), (6, 18)])
def test_ais_finds_log_z(height: int, hidden: int) -> None:
    model = build(height, 4, hidden=hidden, scale=0.4)
    info = model.prepare_likelihood(rng=Generator().manual_seed(0), chains=500, temperatures=1000)
    assert info["log_z"] == pytest.approx(log_z_over_hidden(model), abs=0.1)
    assert info["log_z"] == pytest.approx(
        log_z_over_hidden(model), abs=5 * info["log_z_stderr"] + 1e-3
    )


def test_ais_finds_log_z_of_a_trained_model_of_real_size() -> None:
    """784 pixels, and few hidden units that have learned to tell noisy patterns apart."""
    torch.manual_seed(0)
    model, rng = (
        RBM(DataSpec(28, 28, 2), hidden=12, persistent_chains=64),
        Generator().manual_seed(0),
    )
    patterns = (
        (torch.rand(4, 1, 4, 4, generator=rng) < 0.4)
        .float()
        .repeat_interleave(7, 2)
        .repeat_interleave(7, 3)
    )
    x = torch.bernoulli(0.05 + 0.9 * patterns[torch.arange(256) % 4], generator=rng).to(torch.uint8)
    model.init_from_data(x, None, rng=rng)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        step = model.training_loss(x, None, rng=rng, progress=0.0)
        step.loss.backward()
        optimizer.step()
        model.after_step("loss", step.aux, rng=rng, progress=0.0)
    info = model.prepare_likelihood(rng=rng, chains=1000, temperatures=1500)
    exact = log_z_over_hidden(model)
    # Far from the independent pixels that AIS starts from.
    assert exact - model.initial_log_z() > 20
    assert info["log_z"] == pytest.approx(exact, abs=0.1)
    assert info["log_z_stderr"] < 0.1


def test_the_likelihood_is_normalised() -> None:
    model = build()
    model.log_z.fill_(log_z_over_hidden(model))
    x = states(9).to(torch.uint8).view(-1, 1, 3, 3)
    assert model.log_likelihood(x, rng=Generator()).exp().sum().item() == pytest.approx(1, rel=1e-6)


def test_the_gradient_is_that_of_the_likelihood_where_chains_are_the_model() -> None:
    """With very many chains that are exact draws, the loss has the gradient of the mean negative
    log-likelihood.
    """
    model = build(2, 2, hidden=3)
    v = states(4)
    x = v[[3, 5, 5, 9]].to(torch.uint8).view(-1, 1, 2, 2)
    log_p = model.log_f(v) - model.log_f(v).logsumexp(0)
    rng = Generator().manual_seed(0)
    model.chain = v[
        torch.multinomial(log_p.exp().detach().float(), 400_000, replacement=True, generator=rng)
    ]
    exact = -(model.log_f(model.from_images(x)) - model.log_f(v).logsumexp(0)).mean()
    expected = torch.autograd.grad(exact, list(model.parameters()))
    found = torch.autograd.grad(
        model.training_loss(x, None, rng=rng, progress=0.0).loss, list(model.parameters())
    )
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < 0.01
    assert max(float(b.abs().max()) for b in expected) > 0.1


def test_training_carries_the_chains() -> None:
    model = build()
    x = torch.randint(0, 2, (8, 1, 3, 3), dtype=torch.uint8)
    before = model.chain.clone()
    step = model.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.0)
    assert torch.equal(model.chain, before)  # evaluating a loss changes nothing
    model.after_step("loss", step.aux, rng=Generator(), progress=0.0)
    assert torch.equal(model.chain, step.aux)
    assert not torch.equal(model.chain, before)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(
        UserError, match="RBM: needs a data set of 2 levels, such as binary_mnist, got 256"
    ):
        RBM(DataSpec(28, 28, 256))
    with pytest.raises(UserError, match="temperatures: must be at least 1, got 0"):
        build().prepare_likelihood(rng=Generator(), temperatures=0)
    with pytest.raises(ValueError, match="RBM has no log Z yet: call prepare_likelihood first"):
        build().log_likelihood(torch.zeros(1, 1, 3, 3, dtype=torch.uint8), rng=Generator())
