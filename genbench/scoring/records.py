"""Typed records of scores, as the stages write them and the report reads them."""

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

__all__ = ["LEFT_OUT", "Metric", "Record", "read_record", "score_hash", "write_record"]

LEFT_OUT = "left_out"
"""Key of a metric's details: its values without each group of images, in the order of the groups
(:mod:`genbench.scoring.jackknife`). They stay in an entry's record; no table shows them.
"""

_DIGITS = 9  # significant ones: more than float32 has, fewer than sums in another order keep


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of the table.

    Attributes:
        value: finite.
        stderr: standard error, or None where none is defined.
        n: images that it was computed from.
        kind: for likelihoods ``exact``, ``lower_bound`` (of log P) or ``estimate``; None for all
            others.
        higher_is_better: direction; None for a diagnostic, which says how a model works and not how
            good it is.
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
            raise ValueError(
                f"value: a metric must be finite, got {self.value}; withhold it with a reason "
                "instead"
            )
        if self.stderr is not None and not (math.isfinite(self.stderr) and self.stderr >= 0):
            raise ValueError(f"stderr: must be finite and not negative, got {self.stderr}")
        if self.n < 1:
            raise ValueError(f"n: must be at least 1, got {self.n}")


@dataclass(frozen=True, slots=True)
class Record:
    """What a scoring stage says of an entry: metrics, for those that it could not give the reason,
    and what it was made from.

    ``made_from`` has the SHA-256 of ``weights`` or ``samples``, of likelihoods the ``options`` of
    the entry's ``score``, of sample scores the names of the ``metrics`` asked for, and the
    ``kind`` of processor, as :meth:`genbench.hardware.kind.Kind.record` gives it.
    """

    entry: str
    metrics: Mapping[str, Metric]
    withheld: Mapping[str, str] = field(default_factory=dict)
    made_from: Mapping[str, Any] = field(default_factory=dict)


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
        raise UserError(
            f"{path} is no score record ({error}); delete it and score again"
        ) from error


def score_hash(metrics: Mapping[str, Metric], *behind: str) -> str:
    """A short form of `genbench diff`: SHA-256 over metrics, their numbers rounded to 9 significant
    digits, and over the hash of the weights.

    Equal results have equal hashes, but for numbers on the edge of rounding, which may fall to one
    side or the other when their last digits differ, and for those near 0 that are differences of
    large ones. `genbench diff` tells such cases from real differences.

    Arguments:
        metrics: scores by name, with errors and details.
        behind: hash of the weights that were scored, by :func:`genbench.weights_file.hash_of`; for
            a mean over seeds the score hashes of its entries.
    """
    content = {
        "metrics": {name: _rounded(asdict(metric)) for name, metric in metrics.items()},
        "behind": behind,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") + 0.0  # -0 becomes 0
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value
