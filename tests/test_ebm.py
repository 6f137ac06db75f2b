"""The energy-based model on the grid against enumeration: invariance of its moves, AIS, its path,
its chains.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Generator, Tensor

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.models.ebm import EBM

SPEC = DataSpec(2, 2, 3)


def grid() -> Tensor:
    """All 81 images, levels (81, 4)."""
    return torch.tensor(list(itertools.product(range(3), repeat=4)))


def build(**arch: object) -> EBM:
    torch.manual_seed(0)
    model = EBM(
        SPEC,
        **{"widths": [8], "hidden": 8, "buffer_size": 16, "spectral": False, "reach": 1.0, **arch},
    ).eval()
    with torch.no_grad():
        for p in model.network.parameters():
            p.mul_(5.0)
        model.histogram.copy_(torch.randn(2, 2, 3).log_softmax(-1))
    return model


@torch.no_grad()
def probabilities(model: EBM, beta: float) -> Tensor:
    log_p = model.log_f(model.states(grid()), beta)
    return (log_p - log_p.logsumexp(0)).exp()


@torch.no_grad()
def test_the_energy_is_not_flat() -> None:
    """Or the other tests would say little."""
    p = probabilities(build(), 1.0)
    assert p.max() > 5 * p.median()


@pytest.mark.parametrize(
    ("reference", "block", "reach"), [(False, 0, 1.0), (True, 3, 1.0), (True, 2, 0.0)]
)
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_a_move_leaves_the_density_on_the_path_invariant(
    beta: float, reference: bool, block: int, reach: float
) -> None:
    model, n = build(sampler="grid", reference=reference, block_size=block, reach=reach), 60_000
    p = probabilities(model, beta)
    rng = Generator().manual_seed(0)
    x = grid()[torch.multinomial(p, n, replacement=True, generator=rng)]
    moved = model.move(model.states(x), beta, rng=rng)
    index = (moved.levels * torch.tensor([27, 9, 3, 1])).sum(1)
    found = torch.bincount(index, minlength=81).double() / n
    assert ((found - p).abs() < 5 * (p * (1 - p) / n).sqrt() + 2 / n).all()
    assert (moved.levels != x).any(1).float().mean() > 0.2
    for known, found_anew in zip(
        moved, model.states(moved.levels), strict=True
    ):  # what is kept of chains is true of where they are
        torch.testing.assert_close(known, found_anew)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_one_move_reaches_a_density_that_is_linear_in_the_pixels(
    beta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a proposal without a bounded reach is a Gibbs step at any temperature, always accepted:
    wherever it starts, it draws from the density.
    """
    weight, n = torch.tensor([2.0, -1.0, 3.0, 0.5]), 60_000
    monkeypatch.setattr(EBM, "energy", lambda self, v: v.flatten(1) @ weight)
    model = build(sampler="grid", reach=0.0)
    p = probabilities(model, beta)
    moved = model.move(
        model.states(torch.zeros(n, 4, dtype=torch.long)), beta, rng=Generator().manual_seed(0)
    )
    found = (
        torch.bincount((moved.levels * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81).double()
        / n
    )
    assert ((found - p).abs() < 5 * (p * (1 - p) / n).sqrt() + 2 / n).all()


@torch.no_grad()
def test_a_reference_stays_on_the_whole_path() -> None:
    """P(x) is proportional to the histograms times exp(-E), without one to exp(-E)."""
    x = grid()
    for reference, factor in ((True, 1.0), (False, 0.0)):
        model = build(sampler="grid", reference=reference)
        histograms = sum(model.histogram[i, j][x[:, 2 * i + j]] for i in (0, 1) for j in (0, 1))
        energy = model.energy((x.float() - 1).view(-1, 1, 2, 2))
        torch.testing.assert_close(
            model.log_f(model.states(x)),
            (factor * histograms - energy).double(),
            rtol=1e-4,
            atol=1e-4,
        )


@pytest.mark.parametrize("reference", [False, True])
@torch.no_grad()
def test_the_path_begins_at_the_histograms(reference: bool) -> None:
    model = build(sampler="grid", reference=reference)
    expected = model.histogram.exp()
    p = probabilities(model, 0.0).float()
    for level in range(3):
        torch.testing.assert_close(
            (p[:, None] * (grid() == level)).sum(0).view(2, 2), expected[..., level]
        )
    drawn = model.to_images(model.initial_states(40_000, rng=Generator().manual_seed(0)))[:, 0]
    torch.testing.assert_close((drawn == 1).float().mean(0), expected[..., 1], atol=0.012, rtol=0)


@pytest.mark.parametrize("reference", [False, True])
def test_ais_finds_log_z(reference: bool) -> None:
    model = build(sampler="grid", reference=reference)
    info = model.prepare_likelihood(rng=Generator().manual_seed(0), chains=500, temperatures=300)
    with torch.no_grad():
        exact = float(model.log_f(model.states(grid())).logsumexp(0))
    assert info["log_z"] == pytest.approx(exact, abs=5 * info["log_z_stderr"] + 0.01)
    assert info["log_z_stderr"] < 0.05
    x = grid().view(-1, 1, 2, 2).to(torch.uint8)
    assert model.log_likelihood(x, rng=Generator()).exp().sum().item() == pytest.approx(1, abs=0.1)


def test_histograms_are_those_of_the_data() -> None:
    x = torch.randint(0, 3, (500, 1, 2, 2), dtype=torch.uint8, generator=Generator().manual_seed(0))
    model = build()
    model.init_from_data(x, None, rng=Generator().manual_seed(0))
    expected = torch.stack([(x[:, 0] == level).float().mean(0) for level in range(3)], -1)
    torch.testing.assert_close(model.histogram.exp(), expected, atol=0.005, rtol=0)
    assert set(model.chain.unique().tolist()) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("sampler", ["langevin", "grid"])
def test_chains_go_to_low_energies_and_on_from_there(sampler: str) -> None:
    model = build(sampler=sampler, mcmc_steps=30, step_size=0.3, reinit_probability=0.0)
    x = torch.randint(0, 3, (16, 1, 2, 2), dtype=torch.uint8)
    model.init_from_data(x, None, rng=Generator().manual_seed(0))
    before, energy = model.chain.clone(), float(model.energy(model.chain).mean().detach())
    step = model.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.0)
    assert torch.equal(model.chain, before)
    model.after_step("loss", step.aux, rng=Generator(), progress=0.0)
    assert float(model.energy(model.chain).mean().detach()) < energy
    assert model.chain.abs().max() <= 1


def test_errors_name_what_is_wrong() -> None:
    for match, arch in (
        ("sampler: unknown 'langevn'; did you mean 'langevin'", {"sampler": "langevn"}),
        (r"reinit_probability: must be a share in \[0, 1\], got 2", {"reinit_probability": 2}),
        ("step_size: must be positive, got 0", {"step_size": 0}),
        ("energy_scale: must be positive, got 0", {"energy_scale": 0}),
        (r"reach: must be at least 0 \(no bound\), got -1", {"reach": -1}),
        ("widths: 2 stages need height and width divisible by 4", {"widths": [8, 8]}),
        ("reference: histograms have no slope for Langevin steps", {"reference": True}),
        ("burn_in: must be at least 1, got 0", {"burn_in": 0}),
        (r"block_size: must be 0 \(all\) to 4 pixels, got 5", {"block_size": 5}),
        ("penalty: must be at least 0, got -1", {"penalty": -1}),
    ):
        with pytest.raises(UserError, match=match):
            build(**arch)
    rng = Generator()
    with pytest.raises(UserError, match="sampler: unknown 'grit'; did you mean 'grid'"):
        build().sample(1, rng=rng, sampler="grit")
    with pytest.raises(UserError, match="start: unknown 'bufer'; did you mean 'buffer'"):
        build().sample(1, rng=rng, start="bufer")
    with pytest.raises(UserError, match="burn_in: must be at least 1, got 0"):
        build().sample(1, rng=rng, burn_in=0)
    with pytest.raises(UserError, match="sampler: this entry has a reference"):
        build(sampler="grid", reference=True).sample(1, rng=rng, sampler="langevin", start="buffer")


def test_langevin_steps_have_unit_temperature() -> None:
    """On E = (v - 0.1)^2 / (2 * 0.2^2), chains come to the normal distribution of that mean and
    standard deviation.
    """
    model = build(step_size=0.05)
    model.energy = lambda v: ((v - 0.1).square() / (2 * 0.2**2)).flatten(1).sum(1)  # type: ignore[method-assign]
    *_, v = model.chain_moves(
        torch.zeros(4000, 1, 2, 2), 400, "langevin", rng=Generator().manual_seed(0)
    )
    assert float(v.mean()) == pytest.approx(0.1, abs=0.01)
    assert float(v.std()) == pytest.approx(0.2, rel=0.03)


def test_samples_from_the_buffer_go_on_from_its_chains() -> None:
    model = build(step_size=1e-3)
    model.chain.fill_(1.0)
    near = model.sample(
        8, rng=Generator().manual_seed(0), sampler="langevin", start="buffer", burn_in=1
    )
    assert bool((near == 2).all())
    frames = list(model.frames(8, rng=Generator().manual_seed(0), start="buffer", burn_in=5))
    assert len(frames) == 5
    assert torch.equal(
        frames[-1], model.sample(8, rng=Generator().manual_seed(0), start="buffer", burn_in=5)
    )


def test_samplers_are_named() -> None:
    model = build()
    assert model.describe_sampler() == ("metropolis-1000", True)
    assert model.describe_sampler(burn_in=5) == ("metropolis-5", False)
    assert model.describe_sampler(burn_in=2000, sampler="grid", start="noise") == (
        "metropolis-2000",
        True,
    )
    assert model.describe_sampler(start="buffer", burn_in=5) == (
        "metropolis-5 from 16 chains of training",
        False,
    )
    assert model.describe_sampler(sampler="langevin", start="buffer") == (
        "langevin-1000 from 16 chains of training",
        False,
    )
    assert model.describe_sampler(sampler="langevin") == ("langevin-1000", False)


def test_moves_of_blocks_are_accepted_at_full_size() -> None:
    """With 784 pixels of 256 levels, on the whole path, of a network that has learned nothing."""
    torch.manual_seed(0)
    model = EBM(DataSpec(28, 28, 256), widths=[8], hidden=8, buffer_size=4, block_size=16).eval()
    rng = Generator().manual_seed(0)
    x = (torch.rand(200, 1, 28, 28, generator=rng) * 200).to(torch.uint8)
    x[:, :, :8] = 0
    model.init_from_data(x, None, rng=rng)
    for beta in (0.0, 0.5, 1.0):
        state = model.initial_states(20, rng=rng)
        moved = model.move(state, beta, rng=rng)
        changed = moved.levels != state.levels
        assert changed.sum(1).max() <= 16
        assert changed.any(1).float().mean() > 0.15, beta


def test_the_losss_gradient_is_that_of_the_energies() -> None:
    """Down at the data, up at the chains after their moves; a penalty pulls both towards 0."""
    model = build(sampler="grid", reinit_probability=0.0, penalty=0.1)
    x = torch.randint(0, 3, (16, 1, 2, 2), dtype=torch.uint8, generator=Generator().manual_seed(0))
    model.init_from_data(x, None, rng=Generator().manual_seed(0))
    step = model.training_loss(x, None, rng=Generator().manual_seed(1), progress=0.0)
    assert isinstance(step.aux, tuple)
    data, chains = model.energy(x.float() - 1), model.energy(step.aux[1])
    expected = data.mean() - chains.mean() + 0.1 * (data.square().mean() + chains.square().mean())
    parameters = list(model.parameters())
    found = torch.autograd.grad(step.loss, parameters, allow_unused=True)
    for ours, theirs in zip(
        found, torch.autograd.grad(expected, parameters, allow_unused=True), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_the_losss_halves_are_of_one_network() -> None:
    """Spectral normalisation changes it from pass to pass: chains that stand at the data have no
    loss.
    """
    torch.manual_seed(0)
    model = EBM(
        SPEC,
        widths=[8],
        hidden=8,
        buffer_size=16,
        reinit_probability=0.0,
        step_size=1e-6,
        mcmc_steps=1,
        energy_scale=100.0,
    )
    x = torch.randint(0, 3, (16, 1, 2, 2), dtype=torch.uint8)
    model.init_from_data(x, None, rng=Generator().manual_seed(0))
    model.chain.copy_(x.float() - 1)
    step = model.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.0)
    assert abs(step.loss.item()) < 1e-3


def test_chains_do_not_move_in_train_mode() -> None:
    with pytest.raises(ValueError, match=r"call eval\(\) first"):
        build().train().prepare_likelihood(rng=Generator().manual_seed(0))


def test_samples_from_the_buffer_take_each_chain_once() -> None:
    model = build(step_size=1e-6)
    model.chain.copy_(
        (torch.arange(16).view(16, 1, 1, 1) // torch.tensor([[27, 9], [3, 1]])) % 3 - 1.0
    )
    x = model.sample(
        16, rng=Generator().manual_seed(0), sampler="langevin", start="buffer", burn_in=1
    )
    assert len(x.flatten(1).unique(dim=0)) == 16


def test_moves_in_training_leave_the_spectral_norm_alone() -> None:
    torch.manual_seed(0)
    model = EBM(SPEC, widths=[8], hidden=8, buffer_size=16, mcmc_steps=30).train()
    x = torch.zeros(8, 1, 2, 2, dtype=torch.uint8)
    model.init_from_data(x, None, rng=Generator().manual_seed(0))
    states = []
    for moves in (1, 30):
        model.mcmc_steps = moves
        copied = {name: value.clone() for name, value in model.state_dict().items()}
        model.training_loss(x, None, rng=Generator().manual_seed(0), progress=0.0)
        states.append(
            {
                name: value.clone()
                for name, value in model.state_dict().items()
                if name.endswith("_u")
            }
        )
        model.load_state_dict(copied)
    assert states[0]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert model.training
