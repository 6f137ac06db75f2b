"""The results of an entry as a tracker shows them: key, parameters, tags, and points of scores,
costs and curves. Imports no tracker.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from genbench.base import GenerativeModel
from genbench.config.layout import RunDir
from genbench.config.params import Entry, Params
from genbench.config.stages import ENTRY_STAGES
from genbench.disk import told
from genbench.files import sha256
from genbench.hardware.kind import in_words
from genbench.pictures.picture import Picture
from genbench.results.entry import EntryResults, State
from genbench.results.reader import Training
from genbench.results.with_seeds import results_with_seeds
from genbench.scoring.records import Record, score_hash

__all__ = ["RECORDS", "SHOWN", "Point", "TrackedRun", "legal", "tracked_run", "tracked_runs"]

RECORDS = ("history", "cost", "provenance", "sampling", "likelihood", "quality", "probe")
"""What of an entry is kept beside its run, as :class:`genbench.config.layout.RunDir` names it."""

SHOWN = 100
"""Samples that a tracker shows."""

_CURVES = {"loss": "train", "valid_loss": "valid"}


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a metric at a step and a time in milliseconds since 1970."""

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A finished entry.

    Attributes:
        entry: what it is.
        run_dir: its outputs.
        samples: the first :data:`SHOWN`, uint8 (n, H, W).
        pictures: its further pictures; empty where they were not drawn.
        key: hash of its content, without timings.
        start, end: of training, in milliseconds since 1970.
        params: its parameters, flattened: ``train.optim.loss.lr``.
        tags: family, likelihood kind, sampler, origin, reasons of withheld scores.
        metrics: finite points of scores, costs and curves.
    """

    entry: Entry
    run_dir: RunDir
    samples: np.ndarray
    pictures: Sequence[Picture]
    key: str
    start: int
    end: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Sequence[Point]


def tracked_runs(params: Params) -> tuple[list[TrackedRun], dict[str, str]]:
    """The finished entries of a profile, with further seeds of theirs; and of the others, by name,
    why they are not: no file of one is in the way of another.
    """
    found = {results.entry.name: _found(results) for results in results_with_seeds(params)}
    runs = [one for one in found.values() if isinstance(one, TrackedRun)]
    return runs, {name: reason for name, reason in found.items() if isinstance(reason, str)}


def _found(results: EntryResults) -> TrackedRun | str:
    """A finished entry, or why it is not. One whose pictures were not drawn is."""
    drawn = results.pictures.state is not State.MISSING
    needed = [stage for stage in ENTRY_STAGES if drawn or stage != "pictures"]
    reasons = results.why_not(needed)
    if reasons:
        return "; ".join(reasons)
    try:
        return tracked_run(results)
    except OSError as error:  # a file that DVC has removed meanwhile, to run its stage again
        return told(error)


def tracked_run(results: EntryResults) -> TrackedRun:
    """What a tracker shows of a finished entry."""
    entry, run_dir = results.entry, results.layout.run_dir(results.entry.name)
    model, training, sampling = results.model, results.training.result, results.sampling.result
    likelihood, quality = results.likelihood.result, results.quality.result
    probe = results.probe.result
    assert model is not None
    assert training is not None
    assert sampling is not None
    assert likelihood is not None
    assert quality is not None
    assert probe is not None
    # The weights' date, not the clock's: logging the same files again gives the same points.
    end = round(1000 * run_dir.weights.stat().st_mtime)
    start = end - round(1000 * training.cost["train_seconds"])
    scored = {
        "likelihood.json": likelihood,
        "quality.json": quality,
        "probe.json": probe.record,
    }
    records = list(scored.values())
    of_sampling = ("sample_ms_per_image", "sample_cpu_ms_per_image")
    cost = {**training.cost, **{k: sampling.info[k] for k in of_sampling if k in sampling.info}}
    points = [*_curves(training.history, start), *_scores(records, cost, end)]
    # MLflow stores infinity as a large number and draws it.
    broken = sorted({point.key for point in points if not math.isfinite(point.value)})
    tags = _tags(results, model, records, training, sampling.info)
    profile = results.layout.profile
    return TrackedRun(
        entry=entry,
        run_dir=run_dir,
        samples=sampling.images[:SHOWN].copy(),
        pictures=results.pictures.result or (),
        key=_key(profile, entry, run_dir, scored),
        start=start,
        end=end,
        params=dict(_flat("", {"profile": profile, "entry": entry.name, **_values(entry)})),
        tags=tags | ({"not_finite": ", ".join(broken)} if broken else {}),
        metrics=[point for point in points if math.isfinite(point.value)],
    )


def _values(entry: Entry) -> dict[str, Any]:
    """All parameters of an entry but its name."""
    values = asdict(entry)
    del values["name"]
    return values


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield legal(prefix), value if isinstance(value, str) else json.dumps(value)


def legal(name: str) -> str:
    """``name`` in the characters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _key(profile: str, entry: Entry, run_dir: RunDir, records: Mapping[str, Record]) -> str:
    """Hash of what an entry is and scored; equal for runs that differ in speed, machine or commit
    alone.
    """
    scores = {name: asdict(record) for name, record in records.items()}
    for record in scores.values():
        record["made_from"] = _without_kind(record["made_from"])
    drawn = sorted(path for path in run_dir.pictures.glob("*") if path.is_file())
    content = {
        "profile": profile,
        "entry": asdict(entry),
        "weights": sha256(run_dir.weights),
        "scores": scores,
        "pictures": {path.name: sha256(path) for path in (run_dir.samples, *drawn)},
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _without_kind(made_from: Mapping[str, Any]) -> dict[str, Any]:
    """What scores were made from, but for the kind of processor: equal scores are equal wherever
    they were made.
    """
    return {name: value for name, value in made_from.items() if name != "kind"}


def _curves(history: Sequence[Mapping[str, float | None]], start: int) -> Iterator[Point]:
    """The columns ``<phase>/<name>`` of history.csv: ``loss`` becomes ``train`` and ``valid_loss``
    ``valid``, other names stay.
    """
    for row in history:
        step, milliseconds = int(row["step"] or 0), start + round(1000 * (row["seconds"] or 0))
        for column, value in row.items():
            phase, _, name = column.rpartition("/")
            if value is not None and phase:
                yield Point(legal(f"{phase}/{_CURVES.get(name, name)}"), value, milliseconds, step)


def _scores(records: Sequence[Record], cost: Mapping[str, Any], end: int) -> Iterator[Point]:
    for record in records:
        for name, metric in record.metrics.items():
            yield Point(legal(name), metric.value, end, 0)
            if metric.stderr is not None:
                yield Point(legal(f"{name}_stderr"), metric.stderr, end, 0)
    for name, value in cost.items():
        yield Point(f"cost/{name}", float(value), end, 0)


def _tags(
    results: EntryResults,
    model: type[GenerativeModel],
    records: Sequence[Record],
    training: Training,
    sampling: Mapping[str, Any],
) -> dict[str, str]:
    scores = {name: metric for record in records for name, metric in record.metrics.items()}
    withheld = {name: reason for record in records for name, reason in record.withheld.items()}
    made = training.provenance
    tags = {
        "family": model.family,
        "likelihood": model.likelihood.value,
        "control": json.dumps(model.control),
        "conditional": json.dumps(results.conditional),
        "sampler": sampling["sampler"],
        "matches_likelihood": json.dumps(sampling["matches_likelihood"]),
        "git": made["git"] or "none",
        "hardware": made["hardware"],
        "device": made["device"],
        **({"processor": in_words(made["kind"])} if "kind" in made else {}),
        **({"precision": made["precision"]} if "precision" in made else {}),
        "threads": made["threads"],
        "score_hash": score_hash(scores, training.weights),
        "mlflow.source.name": "genbench",
        **{f"versions.{name}": version for name, version in made["versions"].items()},
        **{f"withheld.{legal(name)}": reason for name, reason in withheld.items()},
    }
    return {name: str(value) for name, value in tags.items()}
