"""Stage ``prepare``: download a data set, verify it, split it."""

from __future__ import annotations

from pathlib import Path

from genbench.config.params import Params
from genbench.data.download import prepare
from genbench.data.mirror import mirror
from genbench.files import write_npz

__all__ = ["run"]


def run(params: Params, dataset: str, *, data: Path, raw: Path) -> None:
    """Write the arrays of a data set.

    Arguments:
        params: the profile.
        dataset: name of the data set.
        data: written: the file of its arrays.
        raw: the folder in which downloads are kept.
    """
    write_npz(data, prepare(dataset, raw=raw, mirror=mirror()))
