"""The row of the leaderboard for what others made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from genbench.external.nats import REPORTED
from genbench.external.rows import ExternalRow
from genbench.report.text import processor
from genbench.scoring.records import score_hash

__all__ = ["EXTERNAL", "external_row", "trained_here"]

EXTERNAL = "external"
"""The status of such a row, and its family: it stands beside the entries and competes for nothing,
since nobody here knows how its model was trained.
"""


def external_row(kept: ExternalRow) -> dict[str, Any]:
    """A row whose scores count."""
    record = kept.record
    assert record is not None
    made_from = dict(record.made_from)
    return {
        "dataset": kept.dataset,
        "entry": kept.name,
        "model": EXTERNAL,
        "family": EXTERNAL,
        "seed": None,
        "conditional": made_from["labels"],
        "control": False,
        "likelihood_kind": "none" if made_from["nats"] is None else REPORTED,
        "sampler": "made elsewhere",
        "matches_likelihood": None,
        "status": EXTERNAL,
        "metrics": {name: asdict(metric) for name, metric in record.metrics.items()},
        "withheld": dict(record.withheld),
        "score_hash": score_hash(record.metrics, made_from["samples"], str(made_from["nats"])),
        "cost": {},
        "processor": processor(made_from["kind"]),
        "provenance": None,
        "made_from": made_from,
    }


def trained_here(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The rows of entries, without those of what others made."""
    return [row for row in rows if row["status"] != EXTERNAL]
