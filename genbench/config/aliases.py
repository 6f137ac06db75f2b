"""Blocks of a params file that are shared by YAML aliases. `dvc exp run -S` sets such a block in
all places or in none, without a word.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from genbench.errors import UserError

__all__ = ["alias_warning", "check_experiment"]

_REMEDY = (
    "write these blocks out in full (`genbench seeds` does that for the entries that it once wrote)"
)


def alias_warning(shared: Sequence[str]) -> str | None:
    """That a params file shares blocks, and what follows from that for experiments; None if it does
    not.

    Arguments:
        shared: their paths, as :class:`genbench.config.yaml12.Document` has them.
    """
    if not shared:
        return None
    return (
        f"{_named(shared)} by a YAML alias (*name), so `dvc exp run -S` sets them in all places "
        f"or in none, without a word; {_REMEDY}"
    )


def check_experiment(shared: Sequence[str]) -> None:
    """Raise UserError where an experiment may have changed more or less than it was told to.

    Nothing comes here if it has changed nothing: then DVC finds all stages up to date, and starts
    none.
    """
    if shared and "DVC_EXP_NAME" in os.environ:
        raise UserError(
            f"{_named(shared)} by a YAML alias (*name), so `dvc exp run -S` cannot change one of "
            "them alone, and this file may not be what was asked for. Restore it (`git diff` shows "
            "the change), "
            f"{_REMEDY}, and run the experiment again"
        )


def _named(shared: Sequence[str]) -> str:
    more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
    return f"{', '.join(shared[:5])}{more}: shared with another block"
