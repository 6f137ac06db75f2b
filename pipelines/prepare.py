"""Stage ``prepare``: download a data set, verify it, split it."""

from __future__ import annotations

from genbench.config.params import Params
from genbench.data.download import prepare
from genbench.data.mirror import mirror
from genbench.files import write_npz

__all__ = ["run"]


def run(params: Params, dataset: str) -> None:
    """Write ``runs/<profile>/data/<dataset>.npz``; downloads are kept in ``data/raw``."""
    write_npz(
        params.data(dataset), prepare(dataset, raw=params.root / "data" / "raw", mirror=mirror())
    )
