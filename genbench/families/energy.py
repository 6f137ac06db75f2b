"""Energy-based models on the grid of pixel levels: P(x) = exp(-E(x)) / Z, with Z estimated by
annealed importance sampling.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Generator, Tensor

from genbench.base import DataSpec, GenerativeModel, Likelihood
from genbench.errors import check_positive
from genbench.mcmc.ais import ESS_FLOOR, ais, check_ais, schedule

__all__ = ["EnergyBased"]

MIN_STEPS_PER_PIECE = 10
"""Temperatures for each piece of ``ais_schedule`` below which they are evenly spaced: pieces of a
few steps would differ by rounding.
"""

State = TypeVar("State")
"""The states of n chains: whatever a model needs for its moves."""


class EnergyBased(GenerativeModel, Generic[State]):
    r"""Base of the energy-based models: AIS, likelihood, and sampling by a long Markov chain on the
    grid.

    .. math::
        P(x) = e^{-E(x)} / Z, \qquad
        Z = \sum_{x \in \{0, \dots, L-1\}^D} e^{-E(x)}, \qquad
        f_0 \text{ known}, \; f_1 = e^{-E}

    A subclass gives the path :math:`f_\beta`, a move that leaves each of its densities invariant,
    and exact draws from the first of them.

    Symbols:
        :math:`f_\beta, Z`: ``log_f`` and ``log_z``, their logarithms.

    Arguments:
        spec: the data set.
        burn_in: moves of the chain behind a sample.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.ESTIMATE
    family: ClassVar[str] = "energy"
    ais_schedule: ClassVar[Sequence[tuple[float, float]]] = ((0.5, 0.1), (0.9, 0.3), (1.0, 0.6))
    """Pieces of the temperatures of AIS (:func:`genbench.mcmc.ais.schedule`): most of them near the
    target, as Salakhutdinov and Murray, 2008, have it, less sharply.
    """

    log_z: Tensor

    def __init__(self, spec: DataSpec, *, burn_in: int) -> None:
        super().__init__(spec)
        check_positive(burn_in=burn_in)
        self.burn_in = burn_in
        self.register_buffer("log_z", torch.tensor(math.nan, dtype=torch.float64))

    # ------------------------------------------------------------------ what a subclass gives

    @abstractmethod
    def log_f(self, state: State, beta: float = 1.0) -> Tensor:
        """Unnormalised log density (n,) float64 of n states on the path; at 1 it is -E."""

    @abstractmethod
    def move(self, state: State, beta: float = 1.0, *, rng: Generator) -> State:
        """States after a move that leaves the density at ``beta`` invariant."""

    @abstractmethod
    def initial_states(self, n: int, *, rng: Generator) -> State:
        """Independent states of the density at beta = 0."""

    @abstractmethod
    def initial_log_z(self) -> float:
        """The normaliser's logarithm at beta = 0."""

    @abstractmethod
    def to_images(self, state: State) -> Tensor:
        """States as images uint8 (n, 1, H, W)."""

    @abstractmethod
    def from_images(self, x: Tensor) -> State:
        """Images uint8 (n, 1, H, W) as states."""

    # ------------------------------------------------------------------ scoring

    def check_likelihood_options(
        self, preparing: Mapping[str, Any], scoring: Mapping[str, Any]
    ) -> None:
        """Also refuses what AIS cannot take: too few chains, too low a floor."""
        super().check_likelihood_options(preparing, scoring)
        check_ais(**preparing)

    @torch.no_grad()
    def prepare_likelihood(
        self,
        *,
        rng: Generator,
        chains: int = 500,
        temperatures: int = 300,
        ess_floor: float = ESS_FLOOR,
    ) -> dict[str, float]:
        """Estimate log Z by annealed importance sampling.

        Arguments:
            rng: source of randomness.
            chains: independent runs.
            temperatures: steps from the start to the target.
            ess_floor: effective chains below which the likelihood is withheld; the package's value
                or higher.
        """
        check_ais(chains=chains, temperatures=temperatures, ess_floor=ess_floor)
        enough = temperatures >= MIN_STEPS_PER_PIECE * len(self.ais_schedule)
        pieces = self.ais_schedule if enough else ((1.0, 1.0),)
        result = ais(
            self.log_f,
            self.move,
            self.initial_states(chains, rng=rng),
            self.initial_log_z(),
            schedule(temperatures, pieces=pieces),
            rng=rng,
        )
        self.log_z.fill_(result.log_z)
        return result.report(ess_floor=ess_floor)

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """-E(x) - log Z, float64 (B,); needs :meth:`prepare_likelihood` first."""
        self.check_images(x)
        self.check_labels(len(x), y)
        if not bool(self.log_z.isfinite()):
            raise ValueError(
                f"{type(self).__name__} has no log Z yet: call prepare_likelihood first"
            )
        return self.log_f(self.from_images(x)).double() - self.log_z

    # ------------------------------------------------------------------ sampling

    @torch.no_grad()
    def frames(
        self, n: int, y: Tensor | None = None, *, rng: Generator, burn_in: int | None = None
    ) -> Iterator[Tensor]:
        """States of chains that are annealed over the first half of their moves and then run at the
        target.
        """
        burn_in = self.burn_in if burn_in is None else burn_in
        self.check_count(n)
        self.check_labels(n, y)
        check_positive(burn_in=burn_in)
        state = self.initial_states(n, rng=rng)
        for step in range(burn_in):
            beta = min(1.0, 2 * (step + 1) / burn_in)
            state = self.move(state, beta, rng=rng)
            yield self.to_images(state)

    def sample(
        self, n: int, y: Tensor | None = None, *, rng: Generator, burn_in: int | None = None
    ) -> Tensor:
        """The last states of chains, uint8 (n, 1, H, W).

        Arguments:
            n: images.
            y: always None.
            rng: source of randomness.
            burn_in: moves of a chain, if not as many as the constructor says.
        """
        return deque(self.frames(n, y, rng=rng, burn_in=burn_in), maxlen=1)[0]

    def describe_sampler(self, **options: object) -> tuple[str, bool]:
        """``gibbs-1000``; it draws from the scored distribution as well as the default does if its
        chains are at least as long.
        """
        burn_in = options.get("burn_in") or self.burn_in
        assert isinstance(burn_in, int)
        return f"{self.sampler_name}-{burn_in}", burn_in >= self.burn_in
