r"""Annealed importance sampling: an estimate of a normalising constant Z, with its standard error
and a measure of whether to trust it.

Chains start as samples of a distribution whose constant is known and move through densities f_0,
..., f_T between it and the target, :math:`f_\beta` for an increasing schedule
:math:`0 = \beta_0 < \dots < \beta_T = 1`. A chain's weight is

.. math::
    w = Z_0 \prod_{t=1}^{T} \frac{f_{\beta_t}(x_{t-1})}{f_{\beta_{t-1}}(x_{t-1})}, \qquad
    x_t \sim T_{\beta_t}(\cdot \mid x_{t-1}),

and :math:`E[w] = Z` for any transitions that leave their density invariant. So the mean of w is
unbiased for Z, while its logarithm is below log Z on average.

References:
    Neal, "Annealed Importance Sampling", 2001, https://arxiv.org/abs/physics/9803008.
    Salakhutdinov, Murray, "On the Quantitative Analysis of Deep Belief Networks", 2008,
        https://doi.org/10.1145/1390156.1390266.
    Burda, Grosse, Salakhutdinov, "Accurate and Conservative Estimates of MRF Log-likelihood using
        Reverse Annealing", 2015, https://arxiv.org/abs/1412.8566.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from genbench.errors import UserError, check_positive

__all__ = ["ESS_FLOOR", "AISResult", "ais", "check_ais", "reverse_ais", "schedule"]

ESS_FLOOR = 10.0
"""Effective chains below which log Z, and each likelihood that rests on it, is withheld: fewer say
little even of the spread of their weights.
"""

LogDensity = Callable[[Any, float], Tensor]
"""``(x, beta) -> (chains,)``: log of the unnormalised density f_beta, float64, of all chains'
states.
"""

Transition = Callable[..., Any]
"""``(x, beta, *, rng) -> x``: a move that leaves f_beta invariant. States may be of any type, and
hold their densities too.
"""


def check_ais(*, chains: int = 500, temperatures: int = 300, ess_floor: float = ESS_FLOOR) -> None:
    """UserError unless the counts are positive, the floor is :data:`ESS_FLOOR` or higher and the
    chains could reach it.
    """
    check_positive(chains=chains, temperatures=temperatures)
    if not ess_floor >= ESS_FLOOR:
        raise UserError(
            f"ess_floor: must be at least {ESS_FLOOR:g}, below which no estimate is to be trusted, "
            f"got {ess_floor}"
        )
    if chains < ess_floor:
        raise UserError(
            f"chains: {chains} can never count as the {ess_floor:g} of ess_floor that a likelihood "
            "needs; take more chains"
        )


@dataclass(frozen=True, slots=True)
class AISResult:
    """An estimate of log Z.

    Attributes:
        log_z: log of the mean weight (of :func:`reverse_ais`: minus the log of the mean inverse
            weight), in nats.
        stderr: standard error of ``log_z`` by the delta method, sd(w) / (mean(w) sqrt(chains)). It
            sees only the spread of the weights at hand, so where a few chains make up the sum it is
            too small; ``ess`` tells.
        ess: effective number of chains, (sum w)^2 / sum w^2, in 1..chains.
        log_weights: (chains,) float64; their log-mean-exp is ``log_z`` (of :func:`reverse_ais`:
            ``-log_z``).
    """

    log_z: float
    stderr: float
    ess: float
    log_weights: Tensor

    def report(self, *, ess_floor: float = ESS_FLOOR) -> dict[str, float]:
        """What ``prepare_likelihood`` of a model returns: ``log_z``, ``log_z_stderr``, ``ess``,
        ``ess_floor``.
        """
        return {
            "log_z": self.log_z,
            "log_z_stderr": self.stderr,
            "ess": self.ess,
            "ess_floor": ess_floor,
        }


def schedule(steps: int, *, pieces: Sequence[tuple[float, float]] = ((1.0, 1.0),)) -> Tensor:
    """Inverse temperatures 0 = beta_0 < ... < beta_steps = 1, evenly spaced within each piece.

    Arguments:
        steps: number of intervals T.
        pieces: ``(end, share)`` each: where the piece ends, and its share of the steps. The default
            is linear; ``((0.5, 0.03), (0.9, 0.28), (1.0, 0.69))`` spends most steps near the
            target, as Salakhutdinov and Murray do.

    Returns:
        (steps + 1,) float64.

    Raises:
        ValueError: fewer steps than pieces, ends that do not increase to 1, shares that are not
            positive or do not sum to 1.
    """
    ends, shares = [end for end, _ in pieces], [share for _, share in pieces]
    if not ends or ends[-1] != 1 or any(b <= a for a, b in itertools.pairwise([0.0, *ends])):
        raise ValueError(f"pieces: ends must increase from above 0 to 1, got {ends}")
    if min(shares) <= 0 or not math.isclose(sum(shares), 1):
        raise ValueError(f"pieces: shares must be positive and sum to 1, got {shares}")
    marks = [0, *(round(steps * sum(shares[: i + 1])) for i in range(len(shares)))]
    if any(b <= a for a, b in itertools.pairwise(marks)):
        raise ValueError(
            f"steps: {steps} are too few for {len(shares)} pieces with shares {shares}; each needs "
            "at least one"
        )
    starts = [0.0, *ends]
    parts = [
        torch.linspace(starts[i], ends[i], marks[i + 1] - marks[i] + 1, dtype=torch.float64)[1:]
        for i in range(len(ends))
    ]
    return torch.cat([torch.zeros(1, dtype=torch.float64), *parts])


def ais(
    log_prob: LogDensity,
    transition: Transition,
    x0: Any,
    log_z0: float,
    betas: Tensor,
    *,
    rng: Generator,
) -> AISResult:
    """Estimate log Z of the density at beta = 1.

    Arguments:
        log_prob: log f_beta of states; must return float64.
        transition: moves states so that f_beta stays invariant.
        x0: independent exact samples of the distribution at beta = 0, one per chain.
        log_z0: log Z of the density at beta = 0.
        betas: (T + 1,) from 0 to 1, increasing; see :func:`schedule`.
        rng: randomness of the transitions.

    Raises:
        ValueError: betas do not increase from 0 to 1, or log_prob does not return float64
            (chains,).
        FloatingPointError: a weight is not finite; names the beta.
    """
    _check_betas(betas)
    return _summary(log_z0 + _anneal(log_prob, transition, x0, betas.tolist(), rng), sign=1)


def reverse_ais(
    log_prob: LogDensity,
    transition: Transition,
    x1: Any,
    log_z0: float,
    betas: Tensor,
    *,
    rng: Generator,
) -> AISResult:
    """Estimate log Z from samples of the target, going down to beta = 0.

    From exact samples the expectation of ``log_z`` is an upper bound of log Z, as that of
    :func:`ais` is a lower one; the two enclose it. From the end states of a chain that may not have
    mixed it is only a diagnostic: a gap to :func:`ais` says that one of them failed.

    Arguments:
        log_prob: as in :func:`ais`.
        transition: as in :func:`ais`.
        x1: samples of the target, one per chain.
        log_z0: as in :func:`ais`.
        betas: as in :func:`ais`, increasing.
        rng: randomness of the transitions.
    """
    _check_betas(betas)
    return _summary(
        _anneal(log_prob, transition, x1, betas.flip(0).tolist(), rng) - log_z0, sign=-1
    )


def _anneal(
    log_prob: LogDensity, transition: Transition, x: Any, path: list[float], rng: Generator
) -> Tensor:
    """Log of the product of density ratios along ``path``, (chains,)."""
    total = torch.zeros((), dtype=torch.float64)
    for step, (beta, following) in enumerate(itertools.pairwise(path), start=1):
        log_ratio = log_prob(x, following) - log_prob(x, beta)
        is_of_chains = log_ratio.ndim == 1 and (step == 1 or log_ratio.shape == total.shape)
        if log_ratio.dtype != torch.float64 or not is_of_chains:
            raise ValueError(
                f"log_prob: must return float64 (chains,), got {log_ratio.dtype} "
                f"{tuple(log_ratio.shape)}"
            )
        if not bool(log_ratio.isfinite().all()):
            bad = int((~log_ratio.isfinite()).sum())
            raise FloatingPointError(
                f"AIS: the density ratio from beta {beta:g} to {following:g} is not finite for "
                f"{bad} chains"
            )
        total = total + log_ratio
        if step < len(path) - 1:  # the state after the last ratio is not used
            x = transition(x, following, rng=rng)
    return total


def _summary(log_weights: Tensor, *, sign: int) -> AISResult:
    """The result of log-weights (n,), which are those of 1 / Z for ``sign`` = -1."""
    n = len(log_weights)
    log_mean = float(torch.logsumexp(log_weights, 0)) - math.log(n)
    # of mean 1, so that their standard deviation is sd(w) / mean(w)
    ratios = (log_weights - log_mean).exp()
    stderr = float(ratios.std()) / math.sqrt(n) if n > 1 else 0.0
    ess = float(ratios.sum() ** 2 / ratios.square().sum())
    return AISResult(sign * log_mean, stderr, ess, log_weights)


def _check_betas(betas: Tensor) -> None:
    is_vector = betas.ndim == 1 and len(betas) >= 2
    if not is_vector or betas[0] != 0 or betas[-1] != 1 or not bool((betas.diff() > 0).all()):
        got = betas.tolist() if betas.numel() < 10 else f"shape {tuple(betas.shape)}"
        raise ValueError(f"betas: must be a vector that increases from 0 to 1, got {got}")
