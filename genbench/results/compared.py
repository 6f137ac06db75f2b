"""Entries as models that compare: those that differ in nothing but the seed are one model, with the
nats of each seed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from genbench.comparison.scored import Scored, scored
from genbench.config.params import Entry
from genbench.files import read_npz
from genbench.results.entry import EntryResults

__all__ = ["by_model", "has_nats", "scored_model"]


def by_model(results: Iterable[EntryResults]) -> list[list[EntryResults]]:
    """Results in groups that differ in nothing but the seed, each ordered by that; of two entries
    with the same seed, the first alone.
    """
    groups: dict[str, dict[int, EntryResults]] = defaultdict(dict)
    for one in results:
        groups[_settings(one.entry)].setdefault(one.entry.seed, one)
    return [[group[seed] for seed in sorted(group)] for group in groups.values()]


def _settings(entry: Entry) -> str:
    """All that an entry sets but its name and its seed."""
    own = {key: value for key, value in asdict(entry).items() if key not in ("name", "seed")}
    return json.dumps(own, sort_keys=True)


def has_nats(results: EntryResults) -> bool:
    """Whether an entry has a likelihood that counts and is not withheld."""
    record = results.likelihood.result
    return record is not None and "nats" in record.metrics


def scored_model(group: Sequence[EntryResults]) -> Scored:
    """One model as comparisons need it, named as the first of its entries.

    Raises:
        UserError: the seeds were not scored alike, or a file of nats is damaged.
        OSError: a file of nats cannot be read.
    """
    first, metrics, arrays = group[0], [], []
    for one in group:
        assert one.likelihood.result is not None
        metrics.append(one.likelihood.result.metrics["nats"])
        arrays.append(read_npz(one.layout.run_dir(one.entry.name).nats))
    assert first.model is not None
    return scored(
        first.entry.name,
        family=first.model.family,
        dataset=first.entry.dataset,
        metrics=metrics,
        arrays=arrays,
    )
