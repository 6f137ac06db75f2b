"""Progress of long loops: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

__all__ = ["Progress"]


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
        if self.bar is not None:
            self.bar.n = done
            self.bar.set_postfix_str(values)
            return
        now = time.monotonic()
        if now - self.last < self.every and done < self.total:
            return
        self.last = now
        speed = (done - self.first) / max(now - self.start, 1e-9)
        left = (
            f", {(self.total - done) / speed:.0f} s left"
            if 0 < done < self.total and speed > 0
            else ""
        )
        print(
            f"{self.label}: {done}/{self.total} {self.unit}{', ' + values if values else ''}{left}",
            file=sys.stderr,
            flush=True,
        )

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
