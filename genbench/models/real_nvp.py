"""RealNVP: a multi-scale flow of coupling layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from genbench.base import DataSpec
from genbench.errors import check_positive
from genbench.families.flow import Flow, Multiscale, check_squeezes
from genbench.nn.bijections import ActNorm, Bijection, Coupling, Squeeze

__all__ = ["RealNVP"]

CHECKERBOARD = ((0, 3), (1, 2))
"""Of the four pixels of a 2 x 2 cell those on one colour of a checkerboard, and on the other."""


class RealNVP(Flow):
    r"""A flow whose layers move one half of the values, given the other half:
    :math:`z_1 = x_1, \; z_2 = (x_2 + t(x_1)) \odot e^{s(x_1)}`.

    The halves are the colours of a checkerboard, then halves of the channels; after each scale one
    half of the values is done.

    References:
        Density Estimation Using Real NVP, Dinh, Sohl-Dickstein, Bengio, 2017,
        https://arxiv.org/abs/1605.08803 Neural Spline Flows, Durkan, Bekasov, Murray, Papamakarios,
        2019, https://arxiv.org/abs/1906.04032 (``coupling: spline``) Flow++, Ho, Chen, Srinivas,
        Duan, Abbeel, 2019, https://arxiv.org/abs/1902.00275 (``dequantize: variational``)

    Differs: checkerboards are taken within squeezed cells, where the networks work at half the
    resolution; actnorm in place of batch norm.

    Arguments:
        spec: the data set; height and width divisible by ``2 ** scales``.
        scales: how often the resolution is halved.
        couplings: coupling layers of each kind of mask at each scale.
        width: channels of their networks.
        blocks: residual blocks of their networks.
        coupling: ``affine`` or ``spline``.
        dequantize: ``uniform`` or ``variational``.

    Example:
        >>> from torch import Generator
        >>> model = RealNVP(DataSpec(4, 4, 256), scales=1, width=8)
        >>> rng = Generator().manual_seed(0)
        >>> model.log_likelihood(model.sample(3, rng=rng), rng=rng, draws=4).shape
        torch.Size([3])
    """

    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (DataSpec(2, 4, 2), {"scales": 1, "couplings": 2, "width": 8, "blocks": 1}),
        (
            DataSpec(2, 2, 4),
            {"scales": 1, "couplings": 2, "width": 8, "blocks": 1, "coupling": "spline"},
        ),
        (
            DataSpec(2, 2, 4),
            {"scales": 1, "couplings": 2, "width": 8, "blocks": 1, "dequantize": "variational"},
        ),
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        scales: int = 2,
        couplings: int = 4,
        width: int = 64,
        blocks: int = 2,
        coupling: str = "affine",
        dequantize: str = "uniform",
    ) -> None:
        check_positive(scales=scales, couplings=couplings, width=width, blocks=blocks)
        check_squeezes(spec, scales)
        channels, stages = 1, []
        for scale in range(scales):
            channels *= 4
            layers: list[Bijection] = [Squeeze()]
            half = channels // 2
            masks: list[tuple[int, ...]] = (
                [CHECKERBOARD[i % 2] for i in range(couplings)] if scale == 0 else []
            )
            masks += [
                tuple(range(half)) if i % 2 else tuple(range(half, channels))
                for i in range(couplings)
            ]
            for mask in masks:
                layers += [
                    ActNorm(channels),
                    Coupling(channels, mask, width=width, blocks=blocks, kind=coupling),
                ]
            stages.append(layers)
            channels = half
        super().__init__(
            spec, flow=Multiscale(stages, (1, spec.height, spec.width)), dequantize=dequantize
        )
