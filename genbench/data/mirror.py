"""GENBENCH_MIRROR: a folder or an address that the files of the data sets come from, in place of
the official addresses.
"""

from __future__ import annotations

import os
from pathlib import Path

from genbench.errors import UserError

__all__ = ["mirror", "pin_mirror"]

_NAME = "GENBENCH_MIRROR"


def mirror() -> str | None:
    """The mirror; None if there is none. A folder is absolute: ``~`` is the home, and a relative
    one is seen from the current folder.
    """
    given = os.environ.get(_NAME) or None
    if given is None or "://" in given:
        return given
    try:
        return str(Path(given).expanduser().absolute())
    except RuntimeError as error:  # ~name, and there is no such user
        raise UserError(
            f"{_NAME}: cannot expand {given!r} ({error}); write the folder in full"
        ) from error


def pin_mirror() -> None:
    """Put the absolute folder into the environment, for the stages, which DVC starts in the
    project's folder.
    """
    found = mirror()
    if found is not None:
        os.environ[_NAME] = found
