"""A codebook: vectors that stand for what an encoder puts out."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from genbench.errors import UserError, near
from genbench.hardware.precision import full_precision

__all__ = ["Codebook"]

DECAY = 0.99
"""Of the moving averages, as in the paper."""
RARE = 0.05
"""A vector that takes less than this share of an even one's part of the outputs is moved."""


class Codebook(nn.Module):
    r"""Some vectors :math:`e_j`; an encoder output is coded by the nearest.

    With ``learned="ema"`` they are moving averages of the outputs that they take (van den Oord,
    Vinyals, Kavukcuoglu, 2017, appendix):

    .. math:: N_j \leftarrow \gamma N_j + (1 - \gamma) n_j, \quad m_j \leftarrow \gamma m_j + (1 - \gamma) \textstyle\sum_i z_{j,i}, \quad e_j = m_j / N_j

    with :math:`n_j` outputs :math:`z_{j,i}` of the batch nearest to :math:`e_j`; with ``"loss"``
    they are parameters. In both cases a vector that has fallen out of use is moved onto a random
    output of the batch.

    Arguments:
        codes: how many vectors.
        size: their length.
        learned: ``ema`` or ``loss``.
    """

    def __init__(self, codes: int, size: int, *, learned: str = "ema") -> None:
        super().__init__()
        if learned not in ("ema", "loss"):
            raise UserError(f"codebook: unknown {learned!r}{near(learned, ('ema', 'loss'))}")
        self.learned = learned
        vectors = torch.randn(codes, size)
        self.vectors: Tensor
        if learned == "loss":
            self.vectors = nn.Parameter(vectors)
        else:
            self.register_buffer("vectors", vectors)
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", vectors.clone())
        self.counts: Tensor
        self.sums: Tensor

    def forward(self, codes: Tensor) -> Tensor:
        """Vectors (B, size, h, w) of codes (B, 1, h, w)."""
        return F.embedding(codes[:, 0].long(), self.vectors).permute(0, 3, 1, 2)

    @torch.no_grad()
    def nearest(self, z: Tensor) -> Tensor:
        """Codes uint8 (B, 1, h, w) of outputs (B, size, h, w), in full precision: training must
        choose the codes that are scored.
        """
        flat = z.permute(0, 2, 3, 1)
        with full_precision(z.device):
            # The squared distance without the part that is the same for all vectors.
            distance = (
                self.vectors.square().sum(1) - 2 * flat.to(self.vectors.dtype) @ self.vectors.T
            )
        return distance.argmin(-1)[:, None].to(torch.uint8)

    @torch.no_grad()
    def start(self, z: Tensor, *, rng: Generator) -> None:
        """Put the vectors onto random outputs out of ``z`` (B, size, h, w), each counted as a whole
        even part.
        """
        self.vectors.copy_(self._random(z, len(self.vectors), rng))
        self.sums.copy_(self.vectors)
        self.counts.fill_(1.0)

    @torch.no_grad()
    def follow(self, z: Tensor, *, rng: Generator) -> None:
        """Take a batch of outputs (B, size, h, w) into the averages. Counts are in parts of an even
        share, so that batches may differ in size.
        """
        flat = z.permute(0, 2, 3, 1).flatten(0, 2)
        chosen = F.one_hot(self.nearest(z).flatten().long(), len(self.vectors)).to(
            flat.dtype
        )  # (N, codes)
        even = len(flat) / len(self.vectors)
        self.counts.lerp_(chosen.sum(0) / even, 1 - DECAY)
        if self.learned == "ema":
            self.sums.lerp_(chosen.T @ flat / even, 1 - DECAY)
            self.vectors.copy_(self.sums / self.counts[:, None].clamp(min=1e-6))
        rare = self.counts < RARE
        if bool(rare.any()):
            moved = self._random(z, int(rare.sum()), rng)
            self.vectors[rare] = moved
            self.sums[rare] = moved
            self.counts[rare] = 1.0

    def _random(self, z: Tensor, n: int, rng: Generator) -> Tensor:
        flat = z.permute(0, 2, 3, 1).flatten(0, 2)
        return flat[torch.randint(0, len(flat), (n,), generator=rng, device=z.device)]
