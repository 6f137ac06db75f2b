"""Convolutional energy-based model on the grid of pixel levels."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from genbench.base import DataSpec, Step
from genbench.errors import UserError, check_positive, near
from genbench.families.energy import EnergyBased
from genbench.mcmc.langevin import langevin_step
from genbench.mcmc.level_proposal import LevelProposal
from genbench.nn.conv import check_stages, conv3x3
from genbench.nn.histograms import draw_pixels, log_histograms

__all__ = ["EBM"]

SAMPLERS, STARTS = ("langevin", "grid"), ("noise", "buffer")


class States(NamedTuple):
    """Of n chains: levels int64 (n, D), and so that no move computes them twice the network's
    energies (n,) and their gradients by pixels (n, D).
    """

    levels: Tensor
    energy: Tensor
    slope: Tensor


class EBM(EnergyBased[States]):
    r"""A network gives each image an energy; the probability of an image is
    :math:`P(x) = e^{-E(x)} / Z` over all images of the grid of levels.

    The gradient of the log-likelihood is :math:`-\nabla_\theta E` at the data plus its mean under
    the model, for which persistent chains stand, some of which start anew at each step. They move
    by Langevin steps on relaxed pixels (:mod:`genbench.mcmc.langevin`) or on the grid itself. AIS
    and, unless it is told otherwise, sampling move on the grid. Their path leads from independent
    pixels with the data's histograms h to the model,
    :math:`f_\beta(x) = h(x)^{1 - \beta} e^{-\beta E(x)}`; with a reference,
    :math:`E(x) = U(x) - \log h(x)` for a network U and :math:`f_\beta(x) = h(x)\, e^{-\beta U(x)}`.
    A Metropolis step proposes new levels for a random block of pixels by what h says of each level
    and by the network's gradient (:class:`genbench.mcmc.level_proposal.LevelProposal`).

    References:
        Implicit Generation and Generalization in Energy-Based Models, Du, Mordatch, 2019,
        https://arxiv.org/abs/1903.08689 (replay buffer) On the Anatomy of MCMC-Based Maximum
        Likelihood Learning of Energy-Based Models, Nijkamp et al., 2020,
        https://arxiv.org/abs/1903.12370 A Langevin-like Sampler for Discrete Distributions, Zhang,
        Liu, Liu, 2022, https://arxiv.org/abs/2206.09914 (moves on the grid) Oops I Took A Gradient,
        Grathwohl et al., 2021, https://arxiv.org/abs/2102.04509 (AIS of such models)

    Differs: Langevin steps are neither adjusted nor on the grid, so chains that move by them stand
    for a density on relaxed pixels; the score is that of the levels alone.

    Arguments:
        spec: the data set; height and width divisible by ``2 ** len(widths)``.
        widths: channels at half, quarter, ... resolution.
        hidden: width of the dense layer.
        buffer_size: images of the replay buffer.
        reinit_probability: share of the chains that start anew at each step.
        mcmc_steps: steps of the chains for each training step.
        sampler: how they move in training, ``langevin`` or ``grid``.
        step_size: s of the Langevin steps, in units where levels span [-1, 1].
        reach: alpha of the moves on the grid, in squares of the same units; 0 for no bound, which
            suits two levels.
        block_size: pixels that such a move may change; 0 for all, of which with many levels none would
            be accepted.
        penalty: weight of the mean squared energies, which keeps them near 0.
        spectral: spectral normalisation of all layers.
        energy_scale: what the energies of such a network of bounded slopes are multiplied with at first;
            it is learned, but moves little.
        reference: let the network tilt independent pixels with the data's histograms, in place of
            building everything by itself; grid moves only.
        burn_in: moves of the chain behind a sample.

    Example:
        >>> model = EBM(DataSpec(4, 4, 2), widths=(8,), hidden=8, buffer_size=16).eval()
        >>> rng = Generator().manual_seed(0)
        >>> info = model.prepare_likelihood(rng=rng, chains=20, temperatures=50)
        >>> model.log_likelihood(model.sample(2, rng=rng, burn_in=10), rng=rng).shape
        torch.Size([2])
    """

    sampler_name: ClassVar[str] = "metropolis"
    # Of a trained model, the variance of the weights then grows all along the path, and not for the
    # most part before its middle.
    pieces: ClassVar[Sequence[tuple[float, float]]] = ((0.5, 0.3), (0.9, 0.4), (1.0, 0.3))
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (
            DataSpec(2, 4, 2),
            {
                "widths": [8],
                "hidden": 8,
                "buffer_size": 64,
                "mcmc_steps": 5,
                "sampler": "grid",
                "reach": 1.0,
                "reference": True,
                "burn_in": 400,
            },
        ),
        (
            DataSpec(2, 2, 4),
            {
                "widths": [8],
                "hidden": 8,
                "buffer_size": 64,
                "mcmc_steps": 10,
                "reach": 1.0,
                "step_size": 0.3,
                "block_size": 3,
                "burn_in": 200,
            },
        ),
    )

    chain: Tensor
    histogram: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        widths: Sequence[int] = (32, 64),
        hidden: int = 128,
        buffer_size: int = 4096,
        reinit_probability: float = 0.05,
        mcmc_steps: int = 20,
        sampler: str = "langevin",
        step_size: float = 0.05,
        reach: float = 0.5,
        block_size: int = 0,
        penalty: float = 0.0,
        spectral: bool = True,
        energy_scale: float = 1.0,
        reference: bool = False,
        burn_in: int = 1000,
    ) -> None:
        super().__init__(spec, burn_in=burn_in)
        check_stages(spec, widths)
        check_positive(hidden=hidden, buffer_size=buffer_size, mcmc_steps=mcmc_steps)
        if sampler not in SAMPLERS:
            raise UserError(f"sampler: unknown {sampler!r}{near(sampler, SAMPLERS)}")
        if not 0 <= reinit_probability <= 1:
            raise UserError(f"fresh: must be a share in [0, 1], got {reinit_probability}")
        if reference and sampler != "grid":
            raise UserError(
                "reference: histograms have no slope for Langevin steps; set sampler: grid, or "
                "reference: false"
            )
        if not 0 <= block_size <= spec.dims:
            raise UserError(f"block: must be 0 (all) to {spec.dims} pixels, got {block_size}")
        if penalty < 0:
            raise UserError(f"penalty: must be at least 0, got {penalty}")
        if step_size <= 0 or energy_scale <= 0 or reach < 0:
            raise UserError(
                f"step, energy_scale: must be positive, and reach not negative, got {step_size}, {energy_scale} and "
                f"{reach}"
            )
        self.fresh, self.moves, self.sampler, self.step, self.reach, self.penalty = (
            reinit_probability,
            mcmc_steps,
            sampler,
            step_size,
            reach,
            penalty,
        )
        self.block, self.reference = block_size or spec.dims, reference
        layers: list[nn.Module] = []
        for inputs, width in zip([1, *widths[:-1]], widths, strict=True):
            layers += [nn.PixelUnshuffle(2), conv3x3(4 * inputs, width), nn.SiLU()]
        cells = spec.dims // 4 ** len(widths)
        layers += [
            nn.Flatten(),
            nn.Linear(widths[-1] * cells, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 1),
        ]
        if spectral:
            layers = [
                spectral_norm(layer) if isinstance(layer, nn.Conv2d | nn.Linear) else layer
                for layer in layers
            ]
        self.network = nn.Sequential(*layers)
        self.scale = nn.Parameter(torch.tensor(float(energy_scale)))
        shape = (spec.height, spec.width, spec.levels)
        self.register_buffer(
            "histogram", torch.full(shape, -torch.tensor(float(spec.levels)).log().item())
        )
        self.register_buffer("values", torch.linspace(-1, 1, spec.levels), persistent=False)
        self.register_buffer("chain", torch.zeros(buffer_size, 1, spec.height, spec.width))

    # ------------------------------------------------------------------ the distribution

    def energy(self, v: Tensor) -> Tensor:
        """The network's energy (n,) of relaxed images (n, 1, H, W), whose levels lie evenly in [-1,
        1]; without that of a reference.
        """
        return self.scale * self.network(v)[:, 0].float()

    def states(self, x: Tensor) -> States:
        """Of levels int64 (n, D): one forward and one backward pass.

        Raises:
            ValueError: in train mode, where spectral normalisation changes the energy from pass to
                pass.
        """
        if self.training:
            raise ValueError(
                "EBM: energies of chains are those of a fixed network; call eval() first"
            )
        with torch.enable_grad():
            v = self._relaxed(x).requires_grad_()
            energy = self.energy(v)
            slope = torch.autograd.grad(energy.sum(), v)[0].flatten(1)
        return States(x, energy.detach(), slope)

    def log_f(self, state: States, beta: float = 1.0) -> Tensor:
        """The path from the data's histograms to the model, float64 (n,)."""
        first = self.histogram.flatten(0, 1).gather(1, state.levels.T).sum(0, dtype=torch.float64)
        return self._share(beta) * first - beta * state.energy.double()

    def _share(self, beta: float) -> float:
        """Of the histograms on the path: a reference stays, else they fade."""
        return 1.0 if self.reference else 1.0 - beta

    def start(self, n: int, *, rng: Generator) -> States:
        """Independent pixels of the data's histograms."""
        return self.states(self._drawn(n, rng))

    def _drawn(self, n: int, rng: Generator) -> Tensor:
        """Levels int64 (n, D) of the data's histograms."""
        return draw_pixels(self.histogram.flatten(0, 1), n, rng=rng)

    def log_z_start(self) -> float:
        """The histograms are normalised."""
        return 0.0

    def to_images(self, state: States) -> Tensor:
        """Their levels as images uint8 (n, 1, H, W)."""
        return state.levels.to(torch.uint8).view(-1, 1, self.spec.height, self.spec.width)

    def from_images(self, x: Tensor) -> States:
        """The way back."""
        return self.states(x.flatten(1).long())

    def _relaxed(self, x: Tensor) -> Tensor:
        """Levels (n, D) as images (n, 1, H, W) in [-1, 1]."""
        return self.get_buffer("values")[x].view(-1, 1, self.spec.height, self.spec.width)

    def move(self, state: States, beta: float = 1.0, *, rng: Generator) -> States:
        """A Metropolis step whose proposal follows the gradient in a random block of pixels at
        once.
        """
        n, dims = state.levels.shape
        if self.block < dims:
            places = (
                torch.rand(n, dims, generator=rng, device=state.levels.device)
                .topk(self.block, 1)
                .indices
            )
        else:
            places = torch.arange(dims, device=state.levels.device).expand(n, -1)
        forward = self._proposal(state, places, beta)
        proposed = self.states(state.levels.scatter(1, places, forward.draw(rng)))
        backward = self._proposal(proposed, places, beta)
        back_and_forth = backward.log_mass(state.levels.gather(1, places)) - forward.log_mass(
            proposed.levels.gather(1, places)
        )
        ratio = self.log_f(proposed, beta) - self.log_f(state, beta) + back_and_forth
        accepted = (
            torch.rand(n, generator=rng, device=state.levels.device, dtype=torch.float64).log()
            < ratio
        )
        row = accepted[:, None]
        return States(
            torch.where(row, proposed.levels, state.levels),
            torch.where(accepted, proposed.energy, state.energy),
            torch.where(row, proposed.slope, state.slope),
        )

    def _proposal(self, state: States, places: Tensor, beta: float) -> LevelProposal:
        """What the pixels at ``places`` (n, block) may become."""
        gain = self._share(beta) * self.histogram.flatten(0, 1)[places]
        return LevelProposal(
            state.levels.gather(1, places),
            gain,
            -beta * state.slope.gather(1, places),
            self.get_buffer("values"),
            self.reach,
        )

    # ------------------------------------------------------------------ training

    @torch.no_grad()
    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        """Histograms of the pixels, and chains that start from them."""
        self.histogram.copy_(log_histograms(x, self.spec.levels).view_as(self.histogram))
        self.chain.copy_(self._relaxed(self._drawn(len(self.chain), rng)))

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Mean energy of the data less that of chains after some moves. Carries which chains, and
        where they are now.
        """
        self.check_images(x)
        n, place = min(len(x), len(self.chain)), x.device
        chosen = torch.randperm(len(self.chain), generator=rng, device=place)[:n]
        with torch.no_grad():
            anew = torch.rand(n, generator=rng, device=place) < self.fresh
            v = self.chain[chosen]
            v[anew] = self._relaxed(self._drawn(int(anew.sum()), rng))
            training = self.training
            self.eval()
            v = self._moved(v, self.moves, self.sampler, rng)
            self.train(training)
        data, model = self.energy(torch.cat([self.spec.signed(x), v])).split(
            [len(x), n]
        )  # in one pass: of one spectral norm
        loss = data.mean() - model.mean()
        if self.penalty:
            loss = loss + self.penalty * (data.square().mean() + model.square().mean())
        return Step(
            loss, {"data": data.detach().mean(), "chains": model.detach().mean()}, (chosen, v)
        )

    def _moved(self, v: Tensor, moves: int, sampler: str, rng: Generator) -> Tensor:
        """Relaxed images (n, 1, H, W) after some moves of a sampler."""
        if sampler == "grid":
            state = self.states(self._levels(v))
            for _ in range(moves):
                state = self.move(state, rng=rng)
            return self._relaxed(state.levels)
        for _ in range(moves):
            v = langevin_step(self.energy, v, self.step, rng=rng)
        return v

    def _levels(self, v: Tensor) -> Tensor:
        """The nearest levels int64 (n, D)."""
        return ((v.flatten(1) + 1) / 2 * (self.spec.levels - 1)).round().long()

    def after_step(self, phase: str, carry: object, *, rng: Generator, progress: float) -> None:
        """The chains go on from where they are."""
        if isinstance(carry, tuple):
            chosen, v = carry
            self.chain[chosen] = v

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
        if sampler not in SAMPLERS:
            raise UserError(f"sampler: unknown {sampler!r}{near(sampler, SAMPLERS)}")
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
            order = torch.randperm(len(self.chain), generator=rng, device=self.device)
            v = self.chain[
                order[torch.arange(n, device=self.device) % len(order)]
            ]  # each chain once before any comes again
        else:
            v = self._relaxed(self._drawn(n, rng))
        if sampler == "langevin":
            for _ in range(burn_in):
                v = langevin_step(self.energy, v, self.step, rng=rng)
                yield self._levels(v).view_as(v).to(torch.uint8)
            return
        state = self.states(self._levels(v))
        for _ in range(burn_in):
            state = self.move(state, rng=rng)
            yield self.to_images(state)

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
        return deque(
            self.frames(n, y, rng=rng, burn_in=burn_in, sampler=sampler, start=start), maxlen=1
        )[0]

    def describe_sampler(self, **options: object) -> tuple[str, bool]:
        """``metropolis-1000``, or ``langevin-40 from 2048 chains of training``."""
        name, matches = super().describe_sampler(**options)
        langevin, buffer = (
            options.get("sampler", "grid") == "langevin",
            options.get("start", "noise") == "buffer",
        )
        name = name.replace(self.sampler_name, "langevin") if langevin else name
        return (
            f"{name} from {len(self.chain)} chains of training" if buffer else name,
            matches and not langevin and not buffer,
        )
