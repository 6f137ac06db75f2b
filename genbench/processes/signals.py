"""SIGTERM as an exception, so that a process that is asked to end does so in order."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

__all__ = ["announce_end", "ended_in_order", "is_ending", "undisturbed"]

_ending = False


def announce_end() -> None:
    """From now on a SystemExit in this process is a word from outside that it must go, and no
    failure of what it does: as a cluster says it, which then runs the same again.
    """
    global _ending
    _ending = True


def is_ending() -> bool:
    """Whether that was announced."""
    return _ending


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit with 128 and their number, as Ctrl-C raises
    KeyboardInterrupt. In the main thread only.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Further signals to end are ignored meanwhile: what is being put in order is finished."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
