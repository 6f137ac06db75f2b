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

_TINY: dict[str, Any] = {"scales": 1, "couplings": 2, "width": 8, "blocks": 1}


class RealNVP(Flow):
    r"""A flow whose layers move one half of the values, given the other half. The halves are the
    colours of a checkerboard, then halves of the channels; after each scale one half of the values
    is done.

    .. math:: z_1 = x_1, \qquad z_2 = (x_2 + t(x_1)) \odot e^{s(x_1)}

    The density is that of :class:`genbench.families.flow.Flow`, the layers are couplings of
    :mod:`genbench.nn.bijections`.

    Symbols:
        :math:`x_1, x_2`: the channels ``kept`` and ``moved`` of a coupling layer.
        :math:`t, s`: halves of what its ``network`` puts out, s after a soft bound.

    References:
        Dinh, Sohl-Dickstein, Bengio, "Density Estimation Using Real NVP", 2017,
            https://arxiv.org/abs/1605.08803.
        Durkan, Bekasov, Murray, Papamakarios, "Neural Spline Flows", 2019,
            https://arxiv.org/abs/1906.04032 (``coupling: spline``).
        Ho, Chen, Srinivas, Duan, Abbeel, "Flow++", 2019, https://arxiv.org/abs/1902.00275
            (``dequantize: variational``).

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
        (DataSpec(2, 4, 2), _TINY),
        (DataSpec(2, 2, 4), {**_TINY, "coupling": "spline"}),
        (DataSpec(2, 2, 4), {**_TINY, "dequantize": "variational"}),
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
        channels = 1
        stages = []
        for scale in range(scales):
            channels *= 4
            half = channels // 2
            halves = (range(half, channels), range(half))
            masks: list[Sequence[int]] = []
            if scale == 0:
                masks += [CHECKERBOARD[i % 2] for i in range(couplings)]
            masks += [halves[i % 2] for i in range(couplings)]
            layers: list[Bijection] = [Squeeze()]
            for moved in masks:
                layers += [
                    ActNorm(channels),
                    Coupling(channels, moved, width=width, blocks=blocks, kind=coupling),
                ]
            stages.append(layers)
            channels = half
        flow = Multiscale(stages, (1, spec.height, spec.width))
        super().__init__(spec, flow=flow, dequantize=dequantize)
