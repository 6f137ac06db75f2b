"""What is known of a Ray cluster: which one a run uses, and when it has lost nodes."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from genbench.errors import UserError

__all__ = ["Address", "Losses", "cluster_address"]


@dataclass(frozen=True, slots=True)
class Address:
    """Which Ray cluster a run uses.

    Attributes:
        place: ``10.0.0.1:6379``, ``ray://10.0.0.1:10001`` or ``auto``; empty for one of this
            machine alone, which a run starts.
        given: how that was said: ``--address 10.0.0.1:6379``.
    """

    place: str
    given: str

    def check(self) -> None:
        """Raise UserError unless somebody listens there, for whom Ray would wait for minutes."""
        host, _, port = self.place.removeprefix("ray://").rpartition(":")
        if not (host and port.isdigit()):
            return  # `auto`: Ray looks for a cluster of this machine
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(f"{self.given}: no Ray cluster there: {error}") from error


def cluster_address(option: str | None) -> Address:
    """The cluster of ``--address``, else that of RAY_ADDRESS, which Ray's own programs ask, too;
    where neither is given, or ``local``, one of this machine alone.
    """
    variable = os.environ.get("RAY_ADDRESS")
    if option:
        place, given = option, f"--address {option}"
    elif variable:
        place, given = variable, f"RAY_ADDRESS={variable}"
    else:
        place, given = "", "neither --address nor RAY_ADDRESS"
    return Address("" if place == "local" else place, given)


class Losses:
    """When a cluster has lost nodes: a process that died with its node did so through no fault of
    its own.

    Arguments:
        within: seconds that may lie between the end of a process and word of that of its node, on
            either side.
    """

    def __init__(self, within: float) -> None:
        self._within = within
        self._alive = set[str]()
        self._when: list[float] = []

    def see(self, alive: set[str], now: float) -> None:
        """Take note of which nodes live now, by a clock that only runs on; none at all if the
        cluster does not say.
        """
        if not alive:
            return
        if self._alive - alive:
            self._when.append(now)
        self._alive = set(alive)

    def near(self, moment: float, now: float) -> bool | None:
        """Whether a node was lost about that moment; None if it is too early to tell."""
        if any(abs(when - moment) <= self._within for when in self._when):
            return True
        return None if now - moment <= self._within else False
