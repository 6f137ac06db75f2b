"""Energies of networks on the grid of pixel levels: the path of annealed importance sampling, and
Metropolis steps along it.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Generator, Tensor

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.families.energy import EnergyBased
from genbench.mcmc.level_proposal import LevelProposal
from genbench.mcmc.metropolis import LevelState, metropolis_step, random_block
from genbench.nn.histograms import draw_pixels

__all__ = ["LevelEnergy"]


class LevelEnergy(EnergyBased[LevelState]):
    r"""Base of models whose energy is a network that reads *relaxed* images, of real-valued pixels
    among which the levels lie evenly in [-1, 1].

    The path of AIS leads from independent pixels with the data's histograms h to the model; with a
    *reference* the network U tilts these histograms, without one it makes the energy alone.

    .. math::
        f_\beta(x) = h(x)^{1 - \beta} e^{-\beta E(x)}, \qquad
        f_\beta(x) = h(x)\, e^{-\beta U(x)} \text{ with } E(x) = U(x) - \log h(x)

    A Metropolis step proposes new levels for a random block of pixels by what h says of each level
    and by the network's gradient (:class:`genbench.mcmc.level_proposal.LevelProposal`).

    A subclass gives :meth:`energy`, and :meth:`init_from_data` sets ``histogram``.

    Symbols:
        :math:`h`: ``histogram``, its logarithm.
        :math:`U`, and E without a reference: ``energy``.

    Arguments:
        spec: the data set.
        burn_in: moves of the chain behind a sample.
        reach: alpha of the proposals, in squares of relaxed pixels; 0 for no bound.
        block_size: pixels that a move may change; 0 for all.
        reference: let the network tilt the histograms.
    """

    histogram: Tensor

    def __init__(
        self, spec: DataSpec, *, burn_in: int, reach: float, block_size: int, reference: bool
    ) -> None:
        super().__init__(spec, burn_in=burn_in)
        if not 0 <= block_size <= spec.dims:
            raise UserError(f"block_size: must be 0 (all) to {spec.dims} pixels, got {block_size}")
        if reach < 0:
            raise UserError(f"reach: must be at least 0 (no bound), got {reach}")
        self.reach = reach
        self.block_size = block_size or spec.dims
        self.reference = reference
        shape = (spec.height, spec.width, spec.levels)
        uniform = -torch.tensor(float(spec.levels)).log().item()
        self.register_buffer("histogram", torch.full(shape, uniform))
        self.register_buffer("values", torch.linspace(-1, 1, spec.levels), persistent=False)

    @abstractmethod
    def energy(self, v: Tensor) -> Tensor:
        """The network's energy (n,) of relaxed images (n, 1, H, W); without that of a reference."""

    # ------------------------------------------------------------------ states

    def states(self, levels: Tensor) -> LevelState:
        """Of levels int64 (n, D): one forward and one backward pass.

        Raises:
            ValueError: in train mode, where spectral normalisation changes the energy from pass to
                pass.
        """
        if self.training:
            name = type(self).__name__
            raise ValueError(
                f"{name}: energies of chains are those of a fixed network; call eval() first"
            )
        with torch.enable_grad():
            v = self.relaxed(levels).requires_grad_()
            energy = self.energy(v)
            gradient = torch.autograd.grad(energy.sum(), v)[0].flatten(1)
        return LevelState(levels, energy.detach(), gradient)

    def relaxed(self, levels: Tensor) -> Tensor:
        """Levels (n, D) as images (n, 1, H, W) in [-1, 1]."""
        return self.get_buffer("values")[levels].view(-1, 1, self.spec.height, self.spec.width)

    def to_images(self, state: LevelState) -> Tensor:
        """Their levels as images uint8 (n, 1, H, W)."""
        return state.levels.to(torch.uint8).view(-1, 1, self.spec.height, self.spec.width)

    def from_images(self, x: Tensor) -> LevelState:
        """States of images uint8 (n, 1, H, W)."""
        return self.states(x.flatten(1).long())

    # ------------------------------------------------------------------ the path

    def log_f(self, state: LevelState, beta: float = 1.0) -> Tensor:
        """Log f_beta, float64 (n,)."""
        log_h = self.histogram.flatten(0, 1).gather(1, state.levels.T)  # (D, n)
        weighted = self._weight_of_log_h(beta) * log_h.sum(0, dtype=torch.float64)
        return weighted - beta * state.energy.double()

    def _weight_of_log_h(self, beta: float) -> float:
        """A reference stays on the whole path, else the histograms fade."""
        return 1.0 if self.reference else 1.0 - beta

    def initial_states(self, n: int, *, rng: Generator) -> LevelState:
        """Independent pixels of the data's histograms."""
        return self.states(self.initial_levels(n, rng=rng))

    def initial_levels(self, n: int, *, rng: Generator) -> Tensor:
        """Levels int64 (n, D) of the data's histograms."""
        return draw_pixels(self.histogram.flatten(0, 1), n, rng=rng)

    def initial_log_z(self) -> float:
        """0: the histograms are normalised."""
        return 0.0

    def move(self, state: LevelState, beta: float = 1.0, *, rng: Generator) -> LevelState:
        """A Metropolis step on f_beta whose proposal follows the gradient in a random block of
        pixels at once.
        """
        n, dims = state.levels.shape
        return metropolis_step(
            state,
            random_block(n, dims, self.block_size, rng=rng),
            propose=lambda at, block: self._proposal(at, block, beta),
            evaluate=self.states,
            log_density=lambda at: self.log_f(at, beta),
            rng=rng,
        )

    def _proposal(self, state: LevelState, block: Tensor, beta: float) -> LevelProposal:
        """What the pixels of ``block`` (n, K) may become."""
        log_h = self.histogram.flatten(0, 1)[block]  # (n, K, L)
        return LevelProposal(
            state.levels.gather(1, block),
            self._weight_of_log_h(beta) * log_h,
            -beta * state.gradient.gather(1, block),
            self.get_buffer("values"),
            self.reach,
        )
