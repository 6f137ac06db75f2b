"""A task that counts how many of its kind run at the same time."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["overlap"]


def overlap(folder: str, key: str, jobs: int) -> int:
    """Wait until as many run as are to run at once, the first time for seconds, however slowly a
    busy machine starts them; stay a little, for one too many to begin; the most that were seen.

    Arguments:
        folder: of all tasks, for what they note.
        key: of this one.
        jobs: how many are to run at once.
    """
    own, full = Path(folder, f"{key}.running"), Path(folder, "full")

    def running() -> int:
        return len(list(own.parent.glob("*.running")))

    own.touch()
    deadline, seen = time.monotonic() + 30, running()
    while seen < jobs and not full.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
        seen = running()
    if seen >= jobs:
        full.touch()
    time.sleep(0.3)
    seen = max(seen, running())
    own.unlink()
    return seen
