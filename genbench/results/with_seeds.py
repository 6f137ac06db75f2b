"""The results of a profile together with those of the further seeds of its entries."""

from __future__ import annotations

from collections.abc import Iterator

from genbench.config.load import load_seeds
from genbench.config.params import Params
from genbench.results.entry import EntryResults, read_entry

__all__ = ["results_with_seeds"]


def results_with_seeds(params: Params) -> Iterator[EntryResults]:
    """The results of every entry of a profile, in its order, then of those further seeds of which
    there are any: nobody misses seeds that were never run. One after another, for samples take
    room.

    Raises:
        UserError: what is written of the further seeds is not sound.
    """
    for entry in params.entries.values():
        yield read_entry(params, entry)
    further = load_seeds(params)
    if further is not None:
        for entry in further.entries.values():
            results = read_entry(further, entry)
            if results.begun:
                yield results
