"""Glow: a multi-scale flow of coupling layers with learned mixing of the channels between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from genbench.base import DataSpec
from genbench.errors import check_positive
from genbench.families.flow import Flow, Multiscale, check_squeezes
from genbench.nn.bijections import ActNorm, Bijection, Coupling, InvertibleMixing, Squeeze

__all__ = ["Glow"]


class Glow(Flow):
    r"""A flow that learns which values are moved together, in place of the masks of a RealNVP:
    before each coupling layer, which moves one half of the channels given the other half, an
    invertible matrix M mixes the channels of each place of an H x W map.

    .. math::
        y_{ij} = M x_{ij}, \qquad
        \log \left| \det \frac{\partial y}{\partial x} \right| = H W \log |\det M|

    Couplings and density are those of :class:`genbench.models.real_nvp.RealNVP`.

    Symbols:
        :math:`M`: ``matrix`` of a mixing layer, the product of ``permutation``, of ``lower`` and of
            ``upper`` with ``sign`` and ``log_diagonal`` on its diagonal.

    References:
        Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", 2018,
            https://arxiv.org/abs/1807.03039.
        Durkan, Bekasov, Murray, Papamakarios, "Neural Spline Flows", 2019,
            https://arxiv.org/abs/1906.04032 (``coupling: spline``).
        Ho, Chen, Srinivas, Duan, Abbeel, "Flow++", 2019, https://arxiv.org/abs/1902.00275
            (``dequantize: variational``).

    Differs: what leaves after a scale is standard normal, not normal given what stays; residual
    networks.

    Arguments:
        spec: the data set; height and width divisible by ``2 ** scales``.
        scales: how often the resolution is halved.
        flow_steps: K of the paper: each an actnorm, a mixing and a coupling layer, at each scale.
        width: channels of the couplings' networks.
        blocks: residual blocks of these networks.
        coupling: ``affine`` or ``spline``.
        dequantize: ``uniform`` or ``variational``.

    Example:
        >>> from torch import Generator
        >>> model = Glow(DataSpec(4, 4, 256), scales=1, flow_steps=2, width=8)
        >>> rng = Generator().manual_seed(0)
        >>> model.log_likelihood(model.sample(3, rng=rng), rng=rng, draws=4).shape
        torch.Size([3])
    """

    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]] = (
        (DataSpec(2, 4, 2), {"scales": 1, "flow_steps": 3, "width": 8, "blocks": 1}),
        (DataSpec(2, 2, 4), {"scales": 1, "flow_steps": 3, "width": 8, "blocks": 1}),
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        scales: int = 2,
        flow_steps: int = 8,
        width: int = 64,
        blocks: int = 2,
        coupling: str = "affine",
        dequantize: str = "uniform",
    ) -> None:
        check_positive(scales=scales, flow_steps=flow_steps, width=width, blocks=blocks)
        check_squeezes(spec, scales)
        channels = 1
        stages = []
        for _ in range(scales):
            channels *= 4
            moved = range(channels // 2, channels)
            layers: list[Bijection] = [Squeeze()]
            for _ in range(flow_steps):
                layers += [
                    ActNorm(channels),
                    InvertibleMixing(channels),
                    Coupling(channels, moved, width=width, blocks=blocks, kind=coupling),
                ]
            stages.append(layers)
            channels //= 2
        flow = Multiscale(stages, (1, spec.height, spec.width))
        super().__init__(spec, flow=flow, dequantize=dequantize)
