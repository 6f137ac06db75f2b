"""A codebook: the vectors that stand for an encoder's outputs after vector quantisation."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from genbench.errors import UserError, near
from genbench.hardware.precision import full_precision

__all__ = ["Codebook"]

DECAY = 0.99
"""gamma of the moving averages, as in the paper."""
DEAD = 0.05
"""A code whose share of the outputs, averaged with :data:`DECAY`, falls below this part of an even
share is dead: one that had an even share and takes nothing more is restarted after
ln 0.05 / ln 0.99, 299 steps.
"""
_LEAST_COUNT = 1e-6
"""Of N in the quotient m / N; far below :data:`DEAD`, where a vector is restarted anyway."""


class Codebook(nn.Module):
    r"""Some vectors :math:`e_j`; an encoder output is coded by the nearest.

    With ``learned="ema"`` they are moving averages of the outputs that they take,

    .. math::
        N_j \leftarrow \gamma N_j + (1 - \gamma) n_j, \qquad
        m_j \leftarrow \gamma m_j + (1 - \gamma) \textstyle\sum_i z_{j,i}, \qquad
        e_j = m_j / N_j

    with :math:`n_j` outputs :math:`z_{j,i}` of the batch nearest to :math:`e_j`; with ``"loss"``
    they are parameters. In both cases a dead code is restarted at a random output of the batch.

    References:
        van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", 2017,
            https://arxiv.org/abs/1711.00937, appendix A.1 (moving averages).
        Dhariwal, Jun, Payne, Kim, Radford, Sutskever, "Jukebox: A Generative Model for Music",
            2020, https://arxiv.org/abs/2005.00341, section 3.1 (random restarts).

    Differs: :math:`n_j` and :math:`N_j` are in parts of an even share of the batch, so that batches
    may differ in size.

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
        self.vectors: Tensor  # e
        if learned == "loss":
            self.vectors = nn.Parameter(vectors)
        else:
            self.register_buffer("vectors", vectors)
        self.register_buffer("counts", torch.ones(codes))
        self.counts: Tensor  # N
        if learned == "ema":
            self.register_buffer("sums", vectors.clone())
        self.sums: Tensor  # m, of moving averages alone

    def forward(self, codes: Tensor) -> Tensor:
        """Vectors (B, size, h, w) of codes (B, 1, h, w)."""
        return F.embedding(codes[:, 0].long(), self.vectors).permute(0, 3, 1, 2)

    @torch.no_grad()
    def nearest(self, z: Tensor) -> Tensor:
        """Codes uint8 (B, 1, h, w) of outputs (B, size, h, w), in full precision: training must
        choose the codes that are scored.
        """
        z = z.permute(0, 2, 3, 1)  # (B, h, w, size)
        with full_precision(z.device):
            # The squared distance without the part that is the same for all vectors.
            square = self.vectors.square().sum(1)
            distance = square - 2 * z.to(self.vectors.dtype) @ self.vectors.T  # (B, h, w, codes)
        return distance.argmin(-1)[:, None].to(torch.uint8)

    @torch.no_grad()
    def start(self, z: Tensor, *, rng: Generator) -> None:
        """Put the vectors onto random outputs out of ``z`` (B, size, h, w), each with the count of
        an even share.
        """
        self.vectors.copy_(self._random(z, len(self.vectors), rng))
        if self.learned == "ema":
            self.sums.copy_(self.vectors)
        self.counts.fill_(1.0)

    @torch.no_grad()
    def update(self, z: Tensor, codes: Tensor, *, rng: Generator) -> None:
        """Take a batch of outputs (B, size, h, w) and the codes (B, 1, h, w) that they have got
        into the averages, and restart dead codes.
        """
        outputs = z.permute(0, 2, 3, 1).flatten(0, 2)  # (N, size)
        one_hot = F.one_hot(codes.flatten().long(), len(self.vectors)).to(outputs.dtype)
        even = len(outputs) / len(self.vectors)
        self.counts.lerp_(one_hot.sum(0) / even, 1 - DECAY)
        if self.learned == "ema":
            self.sums.lerp_(one_hot.T @ outputs / even, 1 - DECAY)
            self.vectors.copy_(self.sums / self.counts[:, None].clamp(min=_LEAST_COUNT))
        dead = self.counts < DEAD
        if bool(dead.any()):
            restarted = self._random(z, int(dead.sum()), rng)
            self.vectors[dead] = restarted
            if self.learned == "ema":
                self.sums[dead] = restarted
            self.counts[dead] = 1.0

    def _random(self, z: Tensor, n: int, rng: Generator) -> Tensor:
        """``n`` outputs (n, size) out of ``z`` (B, size, h, w)."""
        outputs = z.permute(0, 2, 3, 1).flatten(0, 2)
        return outputs[torch.randint(0, len(outputs), (n,), generator=rng, device=z.device)]
