"""Who holds a lock, for those who only look, from any machine."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from pathlib import Path

from genbench.processes.lock import Holder, claim

__all__ = ["at_work"]

_SILENT = 180.0
"""Seconds without a sign of life, which come every five, after which a holder elsewhere counts as
gone; network file systems may show times a minute late.
"""


def at_work(path: Path) -> Holder | None:
    """Who holds the lock in ``path`` and shows signs of life; None if nobody does.

    The kernel knows the holders of this machine. Of one elsewhere the time of the file tells, which
    is compared with that of a file made now: by the clock of the file system, whatever machine's.
    """
    if not path.is_file():
        return None
    with claim(path) as free:
        if free:
            return None
    try:
        holder = Holder(**json.loads(path.read_text(encoding="utf-8")))
        if holder.host == platform.node():
            return holder
        with tempfile.TemporaryFile(dir=path.parent) as now:
            silent = os.fstat(now.fileno()).st_mtime - path.stat().st_mtime
    except (OSError, ValueError, TypeError):
        return None
    return holder if silent < _SILENT else None
