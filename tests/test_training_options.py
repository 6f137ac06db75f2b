"""Options of training that change what is learned: hidden labels, codebooks, chains. Each against
what it says, counted or written out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from genbench.base import DataSpec
from genbench.data.splits import Dataset
from genbench.families import persistent_chains
from genbench.families.diffusion import GaussianDiffusion
from genbench.models.ddpm import DDPM
from genbench.models.ddpm_vlb import DDPMVLB
from genbench.models.ebm import EBM
from genbench.models.rbm import RBM
from genbench.models.vq_vae import VQVAE
from genbench.nn.codebook import DECAY
from tests.contract import every_image, rng
from tests.training import fit

# ---------------------------------------------------------------------- labels that are hidden

SPEC = DataSpec(4, 4, 16, 3)
LIMITS: dict[Any, dict[str, float]] = {
    DDPM: {"beta_start": 0.1, "beta_end": 0.6},
    DDPMVLB: {"log_snr_max": 4.0, "log_snr_min": -4.0},
}
NULL = 3


def diffusion(cls: Callable[..., GaussianDiffusion], label_dropout: float) -> GaussianDiffusion:
    torch.manual_seed(0)
    options = {"timesteps": 6, "widths": [16], "blocks": 1, "patch": 1, "conditional": True}
    return cls(SPEC, **options, **LIMITS[cls], label_dropout=label_dropout).eval()


def labels_seen(model: GaussianDiffusion) -> list[Tensor]:
    """The labels of each pass of the network, which here says nothing."""
    seen: list[Tensor] = []
    model.model_output = lambda x_t, t, y: seen.append(y) or torch.zeros_like(x_t)  # type: ignore[method-assign]
    return seen


def batch(n: int) -> tuple[Tensor, Tensor]:
    return torch.randint(0, 16, (n, 1, 4, 4), dtype=torch.uint8, generator=rng(1)), torch.arange(
        n
    ) % 3


@pytest.mark.parametrize("cls", [DDPM, DDPMVLB])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_training_hides_each_label_by_itself(
    cls: Callable[..., GaussianDiffusion], rate: float
) -> None:
    model, (x, y) = diffusion(cls, rate), batch(6000)
    seen, given = labels_seen(model), y.clone()
    for seed in (0, 1):
        model.training_loss(x, y, rng=rng(seed), progress=0.5)
    assert torch.equal(y, given)  # the caller's labels stay
    first, second = (labels == NULL for labels in seen)
    assert torch.equal(seen[0][~first], y[~first])
    deviation = (rate * (1 - rate) / 2000) ** 0.5
    for label in range(3):
        assert abs(float(first[y == label].double().mean()) - rate) <= 4.5 * deviation
    both = float((first & second).double().mean())
    assert abs(both - rate**2) <= 4.5 * (rate**2 / 6000) ** 0.5  # another step hides others


@pytest.mark.parametrize("cls", [DDPM, DDPMVLB])
def test_scores_samples_and_latents_hide_no_label(cls: Callable[..., GaussianDiffusion]) -> None:
    model, (x, y) = diffusion(cls, 0.9), batch(50)
    seen = labels_seen(model)
    model.log_likelihood(x, y, rng=rng())
    model.log_likelihood(x, y, rng=rng(), terms=2)
    model.bound_terms(x, y, rng=rng())
    model.sample(50, y, rng=rng())
    model.decode(model.encode(x, y, rng=rng()), y, rng=rng())
    assert len(seen) == 6 + 2 + 6 + 6 + 12
    assert all(torch.equal(labels, y) for labels in seen)


@pytest.mark.parametrize("cls", [DDPM, DDPMVLB])
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_hidden_labels_teach_a_row_of_their_own(
    cls: Callable[..., GaussianDiffusion], rate: float
) -> None:
    model, (x, y) = diffusion(cls, rate), batch(60)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model.training_loss(x, y, rng=rng(), progress=0.5).loss.backward()
    table = model.get_parameter("network.labels.weight").grad
    assert table is not None
    assert (table.abs().amax(1) > 0).tolist() == [True] * (4 if rate else 3)


# -------------------------------------------------------- a codebook that is trained with its prior


def vq(**options: object) -> VQVAE:
    torch.manual_seed(0)
    small = {
        "codes": 3,
        "size": 4,
        "widths": [8],
        "prior_width": 8,
        "prior_layers": 1,
        "joint": True,
    }
    model = VQVAE(DataSpec(2, 4, 2), **{**small, **options})  # type: ignore[arg-type]
    model.init_from_data(every_image(model.spec), None, rng=rng(1))
    return model.train()


def outputs(model: VQVAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Encoder outputs (N, size) of all places, and the nearest vector of each (N,)."""
    with torch.no_grad():
        flat = model.encoder(2 * x.float() - 1).permute(0, 2, 3, 1).flatten(0, 2)
        return flat, torch.cdist(flat, model.codebook.vectors).argmin(1)


def test_a_joint_codebook_of_averages_follows_the_encoder() -> None:
    """N_j and m_j move by a hundredth towards the batch's counts and sums, in parts of an even
    share, and e_j is their ratio.
    """
    model, x = vq(codebook="ema"), every_image(DataSpec(2, 4, 2))[::2]
    counts, sums = torch.ones(3), model.codebook.vectors.clone()
    for seed in range(3):
        flat, codes = outputs(model, x)
        even = len(flat) / 3
        counts = DECAY * counts + (1 - DECAY) * torch.bincount(codes, minlength=3) / even
        sums = (
            DECAY * sums
            + (1 - DECAY) * torch.stack([flat[codes == j].sum(0) for j in range(3)]) / even
        )
        step = model.training_loss(x, None, rng=rng(seed), progress=0.5)
        model.after_step("loss", step.aux, rng=rng(seed), progress=0.5)
        torch.testing.assert_close(model.codebook.vectors, sums / counts[:, None])
        with torch.no_grad():  # an encoder that goes on, as if by an optimiser
            model.encoder[1].weight.mul_(1.1)


def test_a_joint_codebook_of_parameters_gets_the_gradient_of_its_own_loss() -> None:
    model, x = vq(codebook="loss"), every_image(DataSpec(2, 4, 2))[::2]
    flat, codes = outputs(model, x)
    vectors = model.codebook.vectors
    step = model.training_loss(x, None, rng=rng(), progress=0.5)
    step.loss.backward()
    expected = torch.stack(
        [2 * (vectors[j] - flat[codes == j]).sum(0) for j in range(3)]
    ).detach() / len(x)
    torch.testing.assert_close(vectors.grad, expected)
    before = vectors.detach().clone()
    model.after_step("loss", step.aux, rng=rng(), progress=0.5)
    assert torch.equal(vectors, before)


@pytest.mark.parametrize("commitment", [0.25, 0.7])
@pytest.mark.parametrize("codebook", ["ema", "loss"])
def test_the_joint_loss_is_the_sum_of_its_parts(codebook: str, commitment: float) -> None:
    model, x = vq(codebook=codebook, commitment=commitment), every_image(DataSpec(2, 4, 2))[::2]
    flat, codes = outputs(model, x)
    distance = (flat - model.codebook.vectors[codes]).square().sum().detach() / len(x)
    grid = codes.view(len(x), 1, 1, 2)
    with torch.no_grad():
        prior = -model.code_prior.log_likelihood(grid.to(torch.uint8), rng=rng()).mean()
        rec = -model.log_p_x_given_codes(x, grid[:, 0]).mean()
    found = model.training_loss(x, None, rng=rng(), progress=0.5)
    weight = commitment + (1 if codebook == "loss" else 0)
    torch.testing.assert_close(
        found.loss.double(), rec + weight * distance + prior, rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(found.logs["prior_nats"].double(), prior, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("codebook", ["ema", "loss"])
def test_training_a_joint_model_moves_its_codebook(codebook: str) -> None:
    x = every_image(DataSpec(2, 4, 2))
    books = []
    for steps in (1, 40):
        model = vq(codebook=codebook)
        data = Dataset("toy", model.spec, x, None, x, None, x, None)
        fit(
            model,
            data,
            entry="toy",
            seed=0,
            steps=steps,
            batch_size=64,
            ema=0.0,
            optim={"loss": {"lr": 0.01}},
            validations=1,
        )
        books.append(model.codebook.vectors.detach().clone())
    assert (books[0] - books[1]).abs().max() > 1e-3


# ---------------------------------------------------------------------- chains of energy models

LEVELS = DataSpec(2, 2, 3)
ELSEWHERE = 0.37
"""A value of relaxed pixels that is no level."""


def energy(**options: object) -> EBM:
    torch.manual_seed(0)
    model = EBM(
        LEVELS, **{"widths": [8], "hidden": 8, "buffer_size": 4000, "reach": 1.0, **options}
    )  # type: ignore[arg-type]
    model.init_from_data(
        torch.randint(0, 3, (50, 1, 2, 2), dtype=torch.uint8, generator=rng(1)), None, rng=rng(2)
    )
    model.chain.fill_(ELSEWHERE)
    return model


@pytest.mark.parametrize(
    ("probability", "moves", "sampler"), [(0.25, 3, "langevin"), (0.0, 7, "grid"), (1.0, 1, "grid")]
)
def test_chains_start_anew_at_their_rate_and_move_as_told(
    probability: float, moves: int, sampler: str
) -> None:
    model = energy(reinit_probability=probability, mcmc_steps=moves, sampler=sampler)
    calls: list[Any] = []
    x = torch.zeros(3000, 1, 2, 2, dtype=torch.uint8)

    def moved(v: Tensor, *told: Any, rng: Generator) -> Any:
        calls.append((v.clone(), *told))
        yield v + 0.0005
        yield v + 0.001

    model.chain_moves = moved  # type: ignore[method-assign]
    step = model.training_loss(x, None, rng=rng(0), progress=0.5)
    ((v, *told),) = calls
    assert told == [moves, sampler]
    anew = (v != ELSEWHERE).flatten(1).any(1)
    deviation = (probability * (1 - probability) / 3000) ** 0.5
    assert abs(float(anew.double().mean()) - probability) <= 4.5 * deviation
    assert set(v[anew].unique().tolist()) <= {-1.0, 0.0, 1.0}
    chosen, where = step.aux  # type: ignore[misc]
    assert len(chosen.unique()) == 3000
    assert torch.equal(where, v + 0.001)
    model.after_step("loss", step.aux, rng=rng(0), progress=0.5)
    assert torch.equal(model.chain[chosen], where)
    others = torch.ones(4000, dtype=torch.bool).index_fill(0, chosen, False)
    assert (model.chain[others] == torch.tensor(ELSEWHERE)).all()


@pytest.mark.parametrize("moves", [1, 5])
def test_a_training_step_takes_its_moves_on_the_target(
    moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the grid at beta 1; by Langevin steps of the length that was given."""
    told: list[object] = []
    langevin = persistent_chains.langevin_step

    def spy(
        energy: Callable[[Tensor], Tensor], v: Tensor, step: float, *, rng: Generator
    ) -> Tensor:
        told.append(step)
        return langevin(energy, v, step, rng=rng)

    monkeypatch.setattr(persistent_chains, "langevin_step", spy)
    x = torch.zeros(8, 1, 2, 2, dtype=torch.uint8)
    model = energy(mcmc_steps=moves, step_size=0.07)
    model.training_loss(x, None, rng=rng(0), progress=0.5)
    assert told == [0.07] * moves
    model, move = energy(mcmc_steps=moves, sampler="grid"), EBM.move

    def grid(state: Any, beta: float = 1.0, *, rng: Generator) -> Any:
        told.append(beta)
        return move(model, state, beta, rng=rng)

    model.move = grid  # type: ignore[method-assign]
    told.clear()
    model.training_loss(x, None, rng=rng(0), progress=0.5)
    assert told == [1.0] * moves


@pytest.mark.parametrize("moves", [1, 4])
def test_the_chains_of_a_boltzmann_machine_take_their_sweeps(moves: int) -> None:
    torch.manual_seed(0)
    model = RBM(DataSpec(3, 3, 2), hidden=5, persistent_chains=20, mcmc_steps=moves)
    with torch.no_grad():
        model.weight.mul_(100)
    chain, g = model.chain, rng(3)
    with torch.no_grad():
        for _ in range(moves):
            hidden = torch.bernoulli(
                (chain @ model.weight.T + model.hidden_bias).sigmoid(), generator=g
            )
            chain = torch.bernoulli(
                (hidden @ model.weight + model.visible_bias).sigmoid(), generator=g
            )
    step = model.training_loss(every_image(model.spec)[:6], None, rng=rng(3), progress=0.5)
    assert torch.equal(step.aux, chain)  # type: ignore[arg-type]
