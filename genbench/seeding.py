"""The only place where seeds are made: each is a hash of what it is for, so no result depends on
the order of the work.
"""

from __future__ import annotations

import hashlib

import torch

__all__ = ["generator_for", "seed_for"]


def seed_for(purpose: str, *identity: str | int) -> int:
    """A seed in 0..2**63-1 for a purpose and an identity, e.g.
    ``seed_for("train", "made", 0, "loss", step, repeat)``.

    torch's CPU generator keeps 32 bits of it, so among 100,000 steps about one pair draws the same
    noise, which harms nothing.
    """
    text = "\x1f".join([purpose, *map(str, identity)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator_for(
    purpose: str, *identity: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator on ``device``, seeded with :func:`seed_for`."""
    return torch.Generator(device).manual_seed(seed_for(purpose, *identity))
