"""Invertible layers for flows: each maps (B, C, H, W) to the same number of values, with the
log-determinant of its Jacobian, and back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genbench.errors import UserError, near
from genbench.hardware.precision import full_precision
from genbench.nn.conv import conv3x3
from genbench.nn.splines import BINS, spline

__all__ = ["ActNorm", "Bijection", "Composition", "Coupling", "InvertibleMixing", "Squeeze"]

KINDS = ("affine", "spline")
LOG_SCALE_LIMIT = 2.0
"""Bound of an affine coupling's s, by a tanh as in RealNVP, where each channel learns its bound: a
layer stretches by e^2 at most.
"""
STD_FLOOR = 1e-3
"""Least standard deviation that ActNorm divides by: a channel may be constant in the first images.
"""


class Bijection(nn.Module, ABC):
    """An invertible map."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The z of ``x`` (B, C, H, W), and log |det| of the Jacobian (B,)."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """The ``x`` that ``forward`` maps to ``z``."""

    def init_from_data(self, x: Tensor) -> None:
        """Set parameters from the first values (B, C, H, W) that reach this layer; most have none
        to set.
        """


class Composition(Bijection):
    """Bijections one after another."""

    def __init__(self, parts: Sequence[Bijection]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Through all of them, the first one first."""
        log_det = x.new_zeros(len(x))
        for part in self.parts:
            x, part_log_det = part(x)
            log_det = log_det + part_log_det
        return x, log_det

    def inverse(self, z: Tensor) -> Tensor:
        """Back through all of them, the last one first."""
        for part in reversed(self.parts):
            z = part.inverse(z)  # type: ignore[operator]
        return z

    @torch.no_grad()
    def init_from_data(self, x: Tensor) -> None:
        """Each from what reaches it."""
        for part in self.parts:
            part.init_from_data(x)  # type: ignore[operator]
            x, _ = part(x)


class Squeeze(Bijection):
    """Each 2 x 2 cell becomes one place with four times the channels (Dinh, Sohl-Dickstein, Bengio,
    2017, section 3.6).
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to (B, 4C, H/2, W/2)."""
        return F.pixel_unshuffle(x, 2), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """(B, 4C, H/2, W/2) to (B, C, H, W)."""
        return F.pixel_shuffle(z, 2)


class ActNorm(Bijection):
    """A scale and a shift per channel, at first such that the data come out with mean 0 and
    variance 1 (Kingma, Dhariwal, 2018, section 3.1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))

    @torch.no_grad()
    def init_from_data(self, x: Tensor) -> None:
        """Mean and standard deviation of these values."""
        mean, std = x.mean((0, 2, 3)), x.std((0, 2, 3)).clamp(min=STD_FLOOR)  # (C,)
        self.shift.copy_(-mean[:, None, None])
        self.log_scale.copy_(-std.log()[:, None, None])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """To z = (x + shift) * scale."""
        places = x[0, 0].numel()
        log_det = self.log_scale.sum() * places
        return (x + self.shift) * self.log_scale.exp(), log_det.expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """To x = z / scale - shift."""
        return z * (-self.log_scale).exp() - self.shift


class InvertibleMixing(Bijection):
    """A learned matrix that mixes channels, from a random rotation (Kingma, Dhariwal, 2018, section
    3.2, there an invertible 1 x 1 convolution).

    Held as P L U: a fixed permutation, a unit lower and an upper triangular matrix, so that its
    determinant is the product of a diagonal.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())

    def matrix(self) -> Tensor:
        """The mixing matrix (C, C)."""
        eye = torch.eye(len(self.sign), dtype=self.lower.dtype, device=self.lower.device)
        lower = self.lower.tril(-1) + eye
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())
        return self.permutation @ lower @ upper

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed channels, never in reduced precision: these are the data themselves, of which the
        determinant says how they are stretched.
        """
        with full_precision(x.device):
            mixed = F.conv2d(x, self.matrix()[:, :, None, None])
        places = x[0, 0].numel()
        log_det = self.log_diagonal.sum() * places
        return mixed, log_det.expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """Channels mixed by the inverse matrix, which is computed in double precision."""
        inverse = torch.linalg.inv(self.matrix().double()).to(z.dtype)
        return F.conv2d(z, inverse[:, :, None, None])


class _Network(nn.Module):
    """Features of the channels that stay: a convolution, residual blocks, and a last convolution
    that starts at zero.
    """

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = conv3x3(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.ReLU(), conv3x3(width, width), nn.ReLU(), nn.Conv2d(width, width, 1))
            for _ in range(blocks)
        )
        self.last = conv3x3(width, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        out = self.last(h.relu())
        return out if out.dtype == torch.float64 else out.float()


class Coupling(Bijection):
    r"""Some channels are moved by a monotone map whose parameters a network reads from the others,
    which stay.

    Affine: :math:`z = (x + t) \odot e^{s}` with :math:`s` kept within ``LOG_SCALE_LIMIT``; spline:
    a monotone rational-quadratic spline of each value (Durkan, Bekasov, Murray, Papamakarios,
    "Neural Spline Flows", 2019). It starts as the identity.

    Arguments:
        channels: of the input.
        moved: which of them are moved.
        width: channels of the network.
        blocks: its residual blocks.
        kind: ``affine`` or ``spline``.
        context: channels of a further input that the network reads.
    """

    order: Tensor

    def __init__(
        self,
        channels: int,
        moved: Sequence[int],
        *,
        width: int,
        blocks: int,
        kind: str = "affine",
        context: int = 0,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UserError(f"coupling: unknown {kind!r}{near(kind, KINDS)}")
        self.kind = kind
        self.moved = list(moved)
        self.kept = [c for c in range(channels) if c not in set(moved)]
        order = torch.tensor([*self.kept, *self.moved]).argsort()
        self.register_buffer("order", order, persistent=False)
        # parameters of a value: t and s, or the spline's widths, heights and inner slopes
        self.each = 2 if kind == "affine" else 3 * BINS - 1
        outputs = self.each * len(self.moved)
        self.network = _Network(len(self.kept) + context, outputs, width, blocks)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, H, W), and a further input of the same height and width, to z and log |det|."""
        kept, values = x[:, self.kept], x[:, self.moved]
        raw = self._raw(kept, context)
        if self.kind == "affine":
            shift, log_det = _shift_and_log_scale(raw)
            moved = (values + shift) * log_det.exp()
        else:
            moved, log_det = spline(values, raw)
        return self._joined(kept, moved), log_det.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The kept channels are still there to read the parameters from."""
        kept, values = z[:, self.kept], z[:, self.moved]
        raw = self._raw(kept, context)
        if self.kind == "affine":
            shift, log_scale = _shift_and_log_scale(raw)
            moved = values * (-log_scale).exp() - shift
        else:
            moved, _ = spline(values, raw, inverse=True)
        return self._joined(kept, moved)

    def _raw(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """Parameters of the moved channels' map, (B, moved, H, W, each)."""
        read = kept if context is None else torch.cat([kept, context], 1)
        h = self.network(read)  # (B, moved * each, H, W)
        return h.unflatten(1, (len(self.moved), self.each)).permute(0, 1, 3, 4, 2)

    def _joined(self, kept: Tensor, moved: Tensor) -> Tensor:
        """Channels in their order."""
        return torch.cat([kept, moved], 1)[:, self.order]


def _shift_and_log_scale(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Of an affine coupling, (B, moved, H, W) each, from the network's (B, moved, H, W, 2)."""
    shift, raw = raw[..., 0], raw[..., 1]
    return shift, LOG_SCALE_LIMIT * (raw / LOG_SCALE_LIMIT).tanh()
