"""A profile as its file has it: :class:`genbench.config.params.Params` with what few stages depend
on. Every stage imports that class, so that a field of its own there would run all entries again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genbench.config.params import Params

__all__ = ["MEMORISATION", "Profile", "asks_for_memorisation", "plain_protocol"]

MEMORISATION = ("none", "controls", "all")
"""Values of ``protocol.memorisation``: whose samples and likelihoods are looked at for it."""


@dataclass(frozen=True, slots=True)
class Profile(Params):
    """A profile.

    Attributes:
        memorisation: one of :data:`MEMORISATION`.
    """

    memorisation: str = "none"


def asks_for_memorisation(params: Params, *, control: bool) -> bool:
    """Whether a profile looks for memorisation in an entry, which is a control or not."""
    asked = _memorisation(params)
    return asked == "all" or (asked == "controls" and control)


def plain_protocol(params: Params) -> dict[str, Any]:
    """The protocol as params.yaml has it."""
    return {**params.protocol.plain(), "memorisation": _memorisation(params)}


def _memorisation(params: Params) -> str:
    return params.memorisation if isinstance(params, Profile) else "none"
