"""Names of the files in a folder of unfinished work, for those that look at such folders without
working in them.
"""

from __future__ import annotations

__all__ = ["DONE", "IDENTITY", "LOCK"]

IDENTITY = "identity.json"
"""What the work is the beginning of."""
LOCK = "lock"
"""Held by the process that works there (:mod:`genbench.processes.lock`)."""
DONE = "done"
"""The work was finished; it is kept, for it saves the work if the stage is run again."""
