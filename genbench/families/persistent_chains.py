"""Energy-based models trained by persistent chains: the replay buffer, and sampling from it or from
noise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from genbench.base import DataSpec
from genbench.errors import UserError, check_positive, near
from genbench.families.level_energy import LevelEnergy
from genbench.mcmc.langevin import langevin_step
from genbench.nn.histograms import log_histograms

__all__ = ["PersistentChains"]

SAMPLERS = ("langevin", "grid")
STARTS = ("noise", "buffer")


class PersistentChains(LevelEnergy):
    r"""Base of energy-based models whose samples for training come from chains that are kept in a
    replay buffer from step to step; each time some are reinitialised from the histograms.

    Chains move by Langevin steps on relaxed pixels (:mod:`genbench.mcmc.langevin`), or by
    Metropolis steps on the grid of levels itself (:mod:`genbench.families.level_energy`).

    References:
        Tieleman, "Training Restricted Boltzmann Machines using Approximations to the Likelihood
            Gradient", 2008, https://doi.org/10.1145/1390156.1390290 (persistent chains).
        Du, Mordatch, "Implicit Generation and Generalization in Energy-Based Models", 2019,
            https://arxiv.org/abs/1903.08689 (replay buffer).

    Arguments:
        spec: the data set.
        burn_in: moves of the chain behind a sample.
        reach, block_size, reference: of the :class:`genbench.families.level_energy.LevelEnergy`.
        buffer_size: chains of the replay buffer.
        reinit_probability: with which a chain is reinitialised at a training step.
        mcmc_steps: of the chains for each training step.
        sampler: how they move in training, ``langevin`` or ``grid``.
        step_size: s of the Langevin steps, in units where levels span [-1, 1].
    """

    chain: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        burn_in: int,
        reach: float,
        block_size: int,
        reference: bool,
        buffer_size: int,
        reinit_probability: float,
        mcmc_steps: int,
        sampler: str,
        step_size: float,
    ) -> None:
        super().__init__(
            spec, burn_in=burn_in, reach=reach, block_size=block_size, reference=reference
        )
        check_positive(buffer_size=buffer_size, mcmc_steps=mcmc_steps)
        _check_sampler(sampler)
        if reference and sampler != "grid":
            raise UserError(
                "reference: histograms have no slope for Langevin steps; set sampler: grid, or "
                "reference: false"
            )
        if not 0 <= reinit_probability <= 1:
            raise UserError(
                f"reinit_probability: must be a share in [0, 1], got {reinit_probability}"
            )
        if step_size <= 0:
            raise UserError(f"step_size: must be positive, got {step_size}")
        self.reinit_probability = reinit_probability
        self.mcmc_steps = mcmc_steps
        self.sampler = sampler
        self.step_size = step_size
        self.register_buffer("chain", torch.zeros(buffer_size, 1, spec.height, spec.width))

    def chain_moves(
        self, v: Tensor, moves: int, sampler: str, *, rng: Generator
    ) -> Iterator[Tensor]:
        """Relaxed images (n, 1, H, W) after each of some moves of a sampler at the target, from
        ``v``.
        """
        if sampler == "langevin":
            for _ in range(moves):
                v = langevin_step(self.energy, v, self.step_size, rng=rng)
                yield v
            return
        state = self.states(self.spec.from_signed(v).flatten(1).long())
        for _ in range(moves):
            state = self.move(state, rng=rng)
            yield self.relaxed(state.levels)

    # ------------------------------------------------------------------ training

    @torch.no_grad()
    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        """Histograms of the pixels, and chains that start from them."""
        self.histogram.copy_(log_histograms(x, self.spec.levels).view_as(self.histogram))
        self.chain.copy_(self.relaxed(self.initial_levels(len(self.chain), rng=rng)))

    @torch.no_grad()
    def replay(self, n: int, *, rng: Generator) -> tuple[Tensor, Tensor]:
        """Some chains of the buffer after the moves of a training step, some of them reinitialised.

        Returns:
            Which they are, int64 (m,) with m = n or all there are, and relaxed images (m, 1, H, W).
        """
        m, device = min(n, len(self.chain)), self.chain.device
        index = torch.randperm(len(self.chain), generator=rng, device=device)[:m]
        reinit = torch.rand(m, generator=rng, device=device) < self.reinit_probability
        v = self.chain[index]
        v[reinit] = self.relaxed(self.initial_levels(int(reinit.sum()), rng=rng))
        training = self.training
        self.eval()  # chains see one network: spectral normalisation changes it in train mode
        for moved in self.chain_moves(v, self.mcmc_steps, self.sampler, rng=rng):
            v = moved
        self.train(training)
        return index, v

    def after_step(self, phase: str, aux: object, *, rng: Generator, progress: float) -> None:
        """The chains of :meth:`replay`, which a loss hands on as ``aux``, stay where they are."""
        if isinstance(aux, tuple):
            index, v = aux
            self.chain[index] = v

    # ------------------------------------------------------------------ sampling

    @torch.no_grad()
    def frames(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        rng: Generator,
        burn_in: int | None = None,
        sampler: str = "grid",
        start: str = "noise",
    ) -> Iterator[Tensor]:
        """States of the chains, after each of their moves."""
        _check_sampler(sampler)
        if start not in STARTS:
            raise UserError(f"start: unknown {start!r}{near(start, STARTS)}")
        if (sampler, start) == ("grid", "noise"):
            yield from super().frames(n, y, rng=rng, burn_in=burn_in)
            return
        self.check_count(n)
        self.check_labels(n, y)
        burn_in = self.burn_in if burn_in is None else burn_in
        check_positive(burn_in=burn_in)
        if sampler == "langevin" and self.reference:
            raise UserError(
                "sampler: this entry has a reference, whose histograms have no slope for Langevin "
                "steps; use grid"
            )
        if start == "buffer":
            v = self._chains_of_training(n, rng)
        else:
            v = self.relaxed(self.initial_levels(n, rng=rng))
        yield from map(self.spec.from_signed, self.chain_moves(v, burn_in, sampler, rng=rng))

    def _chains_of_training(self, n: int, rng: Generator) -> Tensor:
        """Relaxed images (n, 1, H, W) of the buffer, each chain once before any comes again."""
        order = torch.randperm(len(self.chain), generator=rng, device=self.device)
        turns = torch.arange(n, device=self.device) % len(order)
        return self.chain[order[turns]]

    def sample(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        rng: Generator,
        burn_in: int | None = None,
        sampler: str = "grid",
        start: str = "noise",
    ) -> Tensor:
        """The last states of chains, uint8 (n, 1, H, W).

        Arguments:
            n: images.
            y: always None.
            rng: source of randomness.
            burn_in: moves of a chain, if not as many as the constructor says.
            sampler: ``grid``, or ``langevin``, cheaper and not quite the scored distribution.
            start: ``noise``, from which chains on the grid are annealed; or ``buffer``, the chains
                of training, which have run for long; samples that go on from the same chain
                resemble each other.
        """
        states = self.frames(n, y, rng=rng, burn_in=burn_in, sampler=sampler, start=start)
        return deque(states, maxlen=1)[0]

    def trace_options(self, **options: Any) -> dict[str, Any]:
        """A sampler that goes on from chains of training is shown from the beginning of a chain,
        and as long as the model has it by default.
        """
        if options.get("start") == "buffer":
            left_out = ("start", "burn_in")
            options = {key: value for key, value in options.items() if key not in left_out}
        return super().trace_options(**options)

    def describe_sampler(self, **options: object) -> tuple[str, bool]:
        """``metropolis-1000``, or ``langevin-40 from 2048 chains of training``."""
        name, scored = super().describe_sampler(**options)
        if options.get("sampler", "grid") == "langevin":
            name, scored = name.replace(self.sampler_name, "langevin"), False
        if options.get("start", "noise") == "buffer":
            name, scored = f"{name} from {len(self.chain)} chains of training", False
        return name, scored


def _check_sampler(sampler: str) -> None:
    if sampler not in SAMPLERS:
        raise UserError(f"sampler: unknown {sampler!r}{near(sampler, SAMPLERS)}")
