"""Progress of long loops: a bar on a terminal, plain lines elsewhere, and told to who listens."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from tqdm import tqdm

__all__ = ["Progress", "State", "listen"]


@dataclass(frozen=True, slots=True)
class State:
    """How far a loop is.

    Attributes:
        label: what is done, e.g. ``train made``.
        done, total: finished items and all.
        unit: name of an item in the plural, e.g. ``steps``.
        values: of the last items, in words, e.g. ``loss 80.2, 900 images/s``.
        seconds_left: None where it is not known.
    """

    label: str
    done: int
    total: int
    unit: str
    values: str
    seconds_left: float | None

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


_listener: Callable[[State], None] | None = None


def listen(listener: Callable[[State], None] | None) -> None:
    """From now on tell every update of every loop of this process; None for nobody."""
    global _listener
    _listener = listener


class Progress:
    """Shows how far a loop is, with some values, its speed and the time left.

    Arguments:
        label: what is done, e.g. ``train made``.
        total: number of items.
        unit: name of an item in the plural, e.g. ``steps``.
        done: items finished by an earlier run.
        every: seconds between plain lines where there is no terminal.
    """

    def __init__(
        self, label: str, total: int, *, unit: str, done: int = 0, every: float = 15.0
    ) -> None:
        self.label, self.total, self.unit, self.every = label, total, unit, every
        self.first = done
        self.start = self.last = time.monotonic()
        self.bar = (
            tqdm(total=total, initial=done, desc=label, unit=f" {unit}", leave=False)
            if sys.stderr.isatty()
            else None
        )

    def update(self, done: int, values: str = "") -> None:
        """Say that ``done`` items are finished."""
        now = time.monotonic()
        speed = (done - self.first) / max(now - self.start, 1e-9)
        left = (self.total - done) / speed if speed > 0 else None
        if _listener is not None:
            _listener(State(self.label, done, self.total, self.unit, values, left))
        if self.bar is not None:
            self.bar.n = done
            self.bar.set_postfix_str(values)
            return
        if now - self.last < self.every and done < self.total:
            return
        self.last = now
        told = f"{self.label}: {done}/{self.total} {self.unit}"
        told += f", {values}" if values else ""
        told += f", {left:.0f} s left" if left is not None and 0 < done < self.total else ""
        print(told, file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()
