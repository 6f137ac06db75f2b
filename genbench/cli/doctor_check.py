"""What one check of `genbench doctor` found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line: ``level`` is ok, warn (a run works, with a loss) or fail (it does not), ``remedy``
    says how to mend.
    """

    level: str
    what: str
    found: str
    remedy: str = ""
