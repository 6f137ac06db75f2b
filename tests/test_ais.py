"""Annealed importance sampling against constants that are known: in closed form, or by enumeration
of all states.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Generator, Tensor

from genbench.mcmc.ais import ESS_FLOOR, AISResult, ais, reverse_ais, schedule


def _rng(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def _bits(n: int) -> Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=torch.float64)


class Rbm:
    """A binary RBM with 6 visible and 4 hidden units; f_beta scales all of its parameters, so f_0
    is uniform and Z_0 = 2^10.
    """

    def __init__(self, scale: float) -> None:
        rng = _rng(7)
        self.w = scale * torch.randn(6, 4, generator=rng, dtype=torch.float64)
        self.b = scale * torch.randn(6, generator=rng, dtype=torch.float64)
        self.c = scale * torch.randn(4, generator=rng, dtype=torch.float64)
        self.log_z0 = 10 * math.log(2)
        self.log_z = float(torch.logsumexp(self.log_prob(_bits(6), 1.0), 0))

    def log_prob(self, v: Tensor, beta: float) -> Tensor:
        return beta * v @ self.b + torch.nn.functional.softplus(beta * (v @ self.w + self.c)).sum(1)

    def transition(self, v: Tensor, beta: float, *, rng: Generator) -> Tensor:
        h = (
            torch.rand(len(v), 4, generator=rng, dtype=torch.float64)
            < torch.sigmoid(beta * (v @ self.w + self.c))
        ).double()
        return (
            torch.rand(len(v), 6, generator=rng, dtype=torch.float64)
            < torch.sigmoid(beta * (h @ self.w.T + self.b))
        ).double()

    def start(self, chains: int, rng: Generator) -> Tensor:
        return (torch.rand(chains, 6, generator=rng, dtype=torch.float64) < 0.5).double()

    def exact(self, chains: int, rng: Generator) -> Tensor:
        states = _bits(6)
        return states[
            torch.multinomial(
                self.log_prob(states, 1.0).softmax(0), chains, replacement=True, generator=rng
            )
        ]

    def forward(self, chains: int, steps: int, seed: int) -> AISResult:
        rng = _rng(seed)
        return ais(
            self.log_prob,
            self.transition,
            self.start(chains, rng),
            self.log_z0,
            schedule(steps),
            rng=rng,
        )

    def reverse(self, chains: int, steps: int, seed: int) -> AISResult:
        rng = _rng(seed)
        return reverse_ais(
            self.log_prob,
            self.transition,
            self.exact(chains, rng),
            self.log_z0,
            schedule(steps),
            rng=rng,
        )


class Ising:
    """A 3 x 3 torus of spins; f_0 is uniform. Checkerboard sweeps would not be valid on odd tori,
    so spins are updated one by one.
    """

    coupling = 0.4
    log_z0 = 9 * math.log(2)

    def log_prob(self, s: Tensor, beta: float) -> Tensor:
        grid = s.view(-1, 3, 3)
        return beta * self.coupling * (grid * grid.roll(1, 1) + grid * grid.roll(1, 2)).sum((1, 2))

    def transition(self, s: Tensor, beta: float, *, rng: Generator) -> Tensor:
        grid = s.view(-1, 3, 3).clone()
        for i, j in itertools.product(range(3), repeat=2):
            field = (
                grid[:, i - 1, j]
                + grid[:, (i + 1) % 3, j]
                + grid[:, i, j - 1]
                + grid[:, i, (j + 1) % 3]
            )
            up = torch.rand(len(s), generator=rng, dtype=torch.float64) < torch.sigmoid(
                2 * beta * self.coupling * field
            )
            grid[:, i, j] = torch.where(up, 1.0, -1.0).double()
        return grid.view(-1, 9)


def _assert_close(result: AISResult, truth: float, tolerance: float) -> None:
    assert abs(result.log_z - truth) < 4 * result.stderr
    assert abs(result.log_z - truth) < tolerance


def test_rbm_agrees_with_enumeration() -> None:
    rbm = Rbm(1.0)
    _assert_close(rbm.forward(400, 200, seed=1), rbm.log_z, 0.05)


def test_ising_agrees_with_enumeration() -> None:
    ising, rng = Ising(), _rng(2)
    truth = float(torch.logsumexp(ising.log_prob(2 * _bits(9) - 1, 1.0), 0))
    x0 = 2 * (torch.rand(400, 9, generator=rng, dtype=torch.float64) < 0.5).double() - 1
    _assert_close(
        ais(ising.log_prob, ising.transition, x0, ising.log_z0, schedule(50), rng=rng), truth, 0.05
    )


def test_gaussian_agrees_with_the_closed_form() -> None:
    """From N(0, 1) to 3 exp(-(x - 2)^2 / (2 0.5^2)) along the geometric path, whose densities are
    Gaussians that can be drawn exactly.
    """

    def log_prob(x: Tensor, beta: float) -> Tensor:
        return (1 - beta) * -0.5 * x.square() + beta * (math.log(3) - 2 * (x - 2).square())

    def transition(x: Tensor, beta: float, *, rng: Generator) -> Tensor:
        precision = (1 - beta) + 4 * beta
        return 8 * beta / precision + torch.randn(
            len(x), generator=rng, dtype=torch.float64
        ) / math.sqrt(precision)

    rng = _rng(3)
    x0 = torch.randn(500, generator=rng, dtype=torch.float64)
    truth = math.log(3) + 0.5 * math.log(2 * math.pi * 0.25)
    _assert_close(
        ais(log_prob, transition, x0, 0.5 * math.log(2 * math.pi), schedule(200), rng=rng),
        truth,
        0.05,
    )


def test_mean_weight_is_unbiased_and_its_logarithm_low() -> None:
    """Many short runs, where the logarithm's bias is large: the mean of Z-hat / Z is 1, the mean of
    log Z-hat is below log Z.
    """
    rbm = Rbm(1.5)
    logs = (
        torch.tensor([rbm.forward(4, 5, seed).log_z for seed in range(2000)], dtype=torch.float64)
        - rbm.log_z
    )
    ratios = logs.exp()
    assert abs(float(ratios.mean()) - 1) < 4 * float(ratios.std()) / math.sqrt(2000)
    assert float(logs.mean()) < -4 * float(logs.std()) / math.sqrt(2000)


def test_reverse_from_exact_samples_is_high_and_agrees_in_the_limit() -> None:
    rbm = Rbm(1.5)
    logs = (
        torch.tensor([rbm.reverse(4, 5, seed).log_z for seed in range(1000)], dtype=torch.float64)
        - rbm.log_z
    )
    assert float(logs.mean()) > 4 * float(logs.std()) / math.sqrt(1000)
    inverse = (-logs).exp()
    assert abs(float(inverse.mean()) - 1) < 4 * float(inverse.std()) / math.sqrt(1000)
    _assert_close(rbm.reverse(400, 200, seed=1), rbm.log_z, 0.1)


def test_standard_error_is_the_spread_over_repetitions() -> None:
    rbm = Rbm(1.0)
    results = [rbm.forward(50, 50, seed) for seed in range(200)]
    spread = float(torch.tensor([r.log_z for r in results]).std())
    mean_stderr = sum(r.stderr for r in results) / len(results)
    assert mean_stderr == pytest.approx(spread, rel=0.3)


def test_result_follows_from_the_weights() -> None:
    result = Rbm(1.0).forward(30, 10, seed=4)
    w = result.log_weights.exp()
    assert result.log_weights.dtype == torch.float64
    assert result.log_z == pytest.approx(math.log(float(w.mean())), abs=1e-12)
    assert result.stderr == pytest.approx(float(w.std() / w.mean()) / math.sqrt(30), rel=1e-9)
    assert result.ess == pytest.approx(float(w.sum() ** 2 / w.square().sum()), rel=1e-9)


def test_huge_weights_do_not_overflow() -> None:
    def log_prob(x: Tensor, beta: float) -> Tensor:
        return 5000 * beta + 0 * x

    result = ais(
        log_prob,
        lambda x, beta, *, rng: x,
        torch.zeros(8, dtype=torch.float64),
        1.0,
        schedule(3),
        rng=_rng(),
    )
    assert result.log_z == pytest.approx(5001)
    assert result.stderr == pytest.approx(0, abs=1e-9)
    assert result.ess == pytest.approx(8)


def test_poor_annealing_is_withheld_and_slow_annealing_is_not() -> None:
    rbm = Rbm(4.0)
    poor, good = rbm.forward(100, 1, seed=5), rbm.forward(100, 300, seed=5)
    assert poor.ess < ESS_FLOOR < good.ess


def test_report_names_what_scoring_reads() -> None:
    result = Rbm(1.0).forward(30, 10, seed=4)
    assert result.report() == {
        "log_z": result.log_z,
        "log_z_stderr": result.stderr,
        "ess": result.ess,
        "ess_floor": ESS_FLOOR,
    }


def test_same_seed_same_bits() -> None:
    rbm = Rbm(1.0)
    assert torch.equal(
        rbm.forward(20, 10, seed=6).log_weights, rbm.forward(20, 10, seed=6).log_weights
    )


def test_schedule() -> None:
    assert schedule(4).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert schedule(10, pieces=((0.5, 0.2), (1.0, 0.8))).tolist() == pytest.approx(
        [0, 0.25, *[0.5 + k / 16 for k in range(9)]]
    )
    many = schedule(14500, pieces=((0.5, 0.03), (0.9, 0.28), (1.0, 0.69)))
    assert len(many) == 14501
    assert bool((many.diff() > 0).all())


@pytest.mark.parametrize(
    ("steps", "pieces", "message"),
    [
        (10, ((0.5, 1.0),), "ends must increase"),
        (10, ((0.5, 0.5), (0.4, 0.2), (1.0, 0.3)), "ends must increase"),
        (10, ((0.5, 0.5), (1.0, 0.6)), "shares must be positive and sum to 1"),
        (1, ((0.5, 0.5), (1.0, 0.5)), "1 are too few for 2 pieces"),
        (0, ((1.0, 1.0),), "0 are too few"),
    ],
)
def test_schedule_refuses(
    steps: int, pieces: tuple[tuple[float, float], ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        schedule(steps, pieces=pieces)


def test_bad_input_is_refused() -> None:
    rbm, rng = Rbm(1.0), _rng()
    x0 = rbm.start(4, rng)
    with pytest.raises(ValueError, match="betas: must be a vector that increases from 0 to 1"):
        ais(rbm.log_prob, rbm.transition, x0, 0.0, torch.tensor([0.0, 0.5]), rng=rng)
    with pytest.raises(ValueError, match="log_prob: must return float64"):
        ais(
            lambda x, beta: rbm.log_prob(x, beta).float(),
            rbm.transition,
            x0,
            0.0,
            schedule(2),
            rng=rng,
        )
    with pytest.raises(
        ValueError, match=r"log_prob: must return float64 \(chains,\), got torch.float64 \(1,\)"
    ):
        ais(
            lambda x, beta: rbm.log_prob(x, beta)[: 1 if beta > 0.4 else 4],
            rbm.transition,
            x0,
            0.0,
            torch.tensor([0, 0.2, 0.5, 1.0]),
            rng=rng,
        )
    with pytest.raises(FloatingPointError, match=r"from beta 0\.5 to 1 is not finite for 4 chains"):
        ais(
            lambda x, beta: rbm.log_prob(x, beta) + (math.inf if beta == 1 else 0),
            rbm.transition,
            x0,
            0.0,
            schedule(2),
            rng=rng,
        )
