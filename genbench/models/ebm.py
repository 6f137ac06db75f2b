"""Convolutional energy-based model on the grid of pixel levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from genbench.base import DataSpec, Step
from genbench.errors import UserError, check_positive
from genbench.families.persistent_chains import PersistentChains
from genbench.nn.conv import check_stages, conv3x3

__all__ = ["EBM"]

_TINY: dict[str, Any] = {"widths": [8], "hidden": 8, "buffer_size": 64, "reach": 1.0}


class EBM(PersistentChains):
    r"""A network gives each image an energy; the lower it is, the likelier the image, among all
    images of the grid of levels.

    .. math::
        P(x) = e^{-E(x)} / Z, \qquad
        \nabla_\theta \log P(x) = -\nabla_\theta E(x)
        + \mathbb{E}_{x' \sim P} \nabla_\theta E(x')

    For the mean under the model stand persistent chains
    (:class:`genbench.families.persistent_chains.PersistentChains`). Z is estimated by AIS on a path
    from the data's histograms, which can also be a *reference* that the network tilts
    (:class:`genbench.families.level_energy.LevelEnergy`).

    Symbols:
        :math:`E`: ``energy``, that is ``scale`` times ``network``; less ``histogram`` at the levels
            with a reference.
        :math:`Z`: ``log_z``, its logarithm.

    References:
        Du, Mordatch, "Implicit Generation and Generalization in Energy-Based Models", 2019,
            https://arxiv.org/abs/1903.08689 (replay buffer).
        Nijkamp, Hill, Han, Zhu, Wu, "On the Anatomy of MCMC-Based Maximum Likelihood Learning of
            Energy-Based Models", 2020, https://arxiv.org/abs/1903.12370.
        Zhang, Liu, Liu, "A Langevin-like Sampler for Discrete Distributions", 2022,
            https://arxiv.org/abs/2206.09914 (moves on the grid).
        Grathwohl, Swersky, Hashemi, Duvenaud, Maddison, "Oops I Took A Gradient", 2021,
            https://arxiv.org/abs/2102.04509 (AIS of such models).

    Differs: Langevin steps are neither adjusted nor on the grid, so chains that move by them stand
    for a density on relaxed pixels; the score is that of the levels alone.

    Arguments:
        spec: the data set; height and width divisible by ``2 ** len(widths)``.
        widths: channels at half, quarter, ... resolution.
        hidden: width of the dense layer.
        buffer_size: chains of the replay buffer.
        reinit_probability: with which a chain is reinitialised at a training step.
        mcmc_steps: of the chains for each training step.
        sampler: how they move in training, ``langevin`` or ``grid``.
        step_size: s of the Langevin steps, in units where levels span [-1, 1].
        reach: alpha of the moves on the grid, in squares of the same units; 0 for no bound, which
            suits two levels.
        block_size: pixels that such a move may change; 0 for all, of which with many levels none
            would be accepted.
        penalty: weight of the mean squared energies, which keeps them near 0.
        spectral: spectral normalisation of all layers.
        energy_scale: what the energies of such a network of bounded slopes are multiplied with at
            first; it is learned, but moves little.
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
    ais_schedule: ClassVar[Sequence[tuple[float, float]]] = ((0.5, 0.3), (0.9, 0.4), (1.0, 0.3))
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (
            DataSpec(2, 4, 2),
            {**_TINY, "mcmc_steps": 5, "sampler": "grid", "reference": True, "burn_in": 400},
        ),
        (
            DataSpec(2, 2, 4),
            {**_TINY, "mcmc_steps": 10, "step_size": 0.3, "block_size": 3, "burn_in": 200},
        ),
    )

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
        super().__init__(
            spec,
            burn_in=burn_in,
            reach=reach,
            block_size=block_size,
            reference=reference,
            buffer_size=buffer_size,
            reinit_probability=reinit_probability,
            mcmc_steps=mcmc_steps,
            sampler=sampler,
            step_size=step_size,
        )
        check_stages(spec, widths)
        check_positive(hidden=hidden)
        if penalty < 0:
            raise UserError(f"penalty: must be at least 0, got {penalty}")
        if energy_scale <= 0:
            raise UserError(f"energy_scale: must be positive, got {energy_scale}")
        self.penalty = penalty
        layers: list[nn.Module] = []
        for inputs, width in zip([1, *widths[:-1]], widths, strict=True):
            layers += [nn.PixelUnshuffle(2), conv3x3(4 * inputs, width), nn.SiLU()]
        cells = spec.dims // 4 ** len(widths)
        layers += [nn.Flatten(), nn.Linear(widths[-1] * cells, hidden), nn.SiLU()]
        # A constant in the energy has no effect but on the penalty of its size.
        layers += [nn.Linear(hidden, 1, bias=penalty > 0)]
        if spectral:
            layers = [
                spectral_norm(layer) if isinstance(layer, nn.Conv2d | nn.Linear) else layer
                for layer in layers
            ]
        self.network = nn.Sequential(*layers)
        self.scale = nn.Parameter(torch.tensor(float(energy_scale)))

    def energy(self, v: Tensor) -> Tensor:
        """The network's energy (n,) of relaxed images (n, 1, H, W), whose levels lie evenly in
        [-1, 1]; without that of a reference.
        """
        return self.scale * self.network(v)[:, 0].float()

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Mean energy of the data less that of chains after ``mcmc_steps`` moves; ``aux`` is which
        chains, and their new states.
        """
        self.check_images(x)
        index, v = self.replay(len(x), rng=rng)
        # In one pass, since spectral normalisation changes the network from pass to pass.
        energies = self.energy(torch.cat([self.spec.signed(x), v]))
        data, model = energies.split([len(x), len(v)])
        loss = data.mean() - model.mean()
        if self.penalty:
            loss = loss + self.penalty * (data.square().mean() + model.square().mean())
        logs = {"data": data.detach().mean(), "chains": model.detach().mean()}
        return Step(loss, logs, aux=(index, v))
