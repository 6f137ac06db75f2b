"""How many jobs Slurm takes at once, which is learned: limits are told to nobody beforehand."""

from __future__ import annotations

import sys

from genbench.errors import UserError

__all__ = ["Room"]


class Room:
    """What Slurm has taken and refused."""

    def __init__(self) -> None:
        self._most: int | None = None

    def beside(self, jobs: int) -> int:
        """How many more may be submitted beside so many jobs: any number. Once Slurm has refused
        one: when half of the jobs have ended that it took, up to twice as many as these, for the
        limit may be another one then.
        """
        if self._most is None:
            return sys.maxsize
        return 2 * self._most - jobs if jobs <= self._most // 2 else 0

    def note_taken(self, jobs: int) -> None:
        """All that was submitted is taken; with it there are so many jobs."""
        if self._most is not None:
            self._most = max(self._most, jobs)

    def note_refused(self, error: UserError, jobs: int) -> bool:
        """One more than so many jobs is not taken; returns whether that is new.

        Arguments:
            error: what Slurm has said.
            jobs: how many there are.

        Raises:
            UserError: there is none, so there is nothing to wait for.
        """
        if jobs == 0:
            raise UserError(
                f"{error}; change --launcher-options, or, if that is a limit, wait until others of "
                "your jobs have ended"
            ) from error
        is_new = self._most is None
        self._most = jobs
        return is_new
