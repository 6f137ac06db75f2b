"""Typed records of scores and pictures, as the stages write them and the report reads them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from genbench.errors import UserError
from genbench.files import read_json, write_json

__all__ = ["Metric", "Record", "Visual", "read_record", "score_hash", "write_record"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of the table.

    Attributes:
        value: finite.
        stderr: standard error, or None where none is defined.
        n: images that it was computed from.
        kind: for likelihoods ``exact``, ``lower_bound`` (of log P) or ``estimate``; None for all others.
        higher_is_better: direction; None for a diagnostic, which says how a model works and not how good it is.
        detail: what a reader needs to interpret it (draws, splits, subset size, ...).
    """

    value: float
    stderr: float | None
    n: int
    higher_is_better: bool | None
    kind: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"value: a metric must be finite, got {self.value}; withhold it with a reason instead")
        if self.stderr is not None and not (math.isfinite(self.stderr) and self.stderr >= 0):
            raise ValueError(f"stderr: must be finite and not negative, got {self.stderr}")
        if self.n < 1:
            raise ValueError(f"n: must be at least 1, got {self.n}")


@dataclass(frozen=True, slots=True)
class Record:
    """What a scoring stage says of an entry: metrics, for those that it could not give the reason, and what it was made from.

    ``made_from`` has the SHA-256 of ``weights`` or ``samples``, for sample scores the names of the ``metrics`` asked for, and the ``kind`` of
    processor, as :meth:`genbench.processor.Kind.record` gives it.
    """

    entry: str
    metrics: Mapping[str, Metric]
    withheld: Mapping[str, str] = field(default_factory=dict)
    made_from: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Visual:
    """A finished picture: the file's name and content (PNG or GIF), its kind, and what a reader sees on it."""

    file: str
    kind: str
    title: str
    caption: str
    data: bytes


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON, atomically."""
    write_json(path, asdict(record))


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        FileNotFoundError: there is none.
        UserError: the file is no record; names it.
    """
    raw = read_json(path)
    try:
        metrics = {name: Metric(**metric) for name, metric in raw["metrics"].items()}
        return Record(raw["entry"], metrics, raw["withheld"], raw.get("made_from", {}))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is no score record ({error}); delete it and score again") from error


def score_hash(metrics: Mapping[str, Metric]) -> str:
    """SHA-256 of the canonical JSON of metrics: equal if and only if all values, errors and details are."""
    canonical = json.dumps({name: asdict(metric) for name, metric in metrics.items()}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
