"""Where the randomness of a training comes from: a function of the run's identity and of the place
in it, never of history. So a resumed run needs no random state.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from genbench.seeding import generator_for, seed_for

__all__ = ["Randomness", "RunIdentity"]


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Which training it is; two of equal identity draw the same numbers.

    Attributes:
        entry: name of the entry.
        seed: of the entry.
    """

    entry: str
    seed: int

    def seed_for(self, purpose: str, *place: str | int) -> int:
        """The seed of a purpose at a place in the run, such as a phase and a step."""
        return seed_for(purpose, self.entry, self.seed, *place)

    def generator_for(
        self, purpose: str, *place: str | int, device: torch.device | str = "cpu"
    ) -> Generator:
        """A generator with that seed."""
        return generator_for(purpose, self.entry, self.seed, *place, device=device)


class Randomness:
    """The generators that a loss draws from, set anew for each evaluation.

    Arguments:
        identity: of the run.
        device: where the model is.

    Attributes:
        rng: what a loss gets.
    """

    def __init__(self, identity: RunIdentity, device: torch.device) -> None:
        self.identity, self.device = identity, device
        self.rng = Generator(device)

    def set_to(self, purpose: str, *place: str | int) -> Generator:
        """``rng`` at a place in the run; dropout, which draws from the global generators, gets
        another seed of that place.
        """
        self.rng.manual_seed(self.identity.seed_for(purpose, *place))
        dropout = seed_for("global", purpose, self.identity.entry, self.identity.seed, *place)
        torch.default_generator.manual_seed(dropout)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(dropout)
        return self.rng
