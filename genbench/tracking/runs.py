"""A finished entry as a tracker shows it: key, parameters, tags, and points of scores, costs and
curves. Imports no tracker.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genbench.config.params import Entry, Params
from genbench.data.datasets import spec_of
from genbench.disk import told
from genbench.errors import UserError
from genbench.files import sha256
from genbench.hardware.kind import in_words
from genbench.registry import model_class
from genbench.results.reader import (
    Sampling,
    Training,
    read_sampling,
    read_scores,
    read_training,
    read_visuals,
)
from genbench.results.staleness import (
    is_conditional,
    outdated_likelihood,
    outdated_quality,
    outdated_sampling,
    outdated_training,
)
from genbench.scoring.records import Record, Visual, score_hash

__all__ = ["RECORDS", "SHOWN", "Finished", "Point", "find", "legal", "read"]

RECORDS = (
    "history.csv",
    "cost.json",
    "provenance.json",
    "sampling.json",
    "likelihood.json",
    "quality.json",
)
"""Files of an entry that are kept beside its run."""

SHOWN = 100
"""Samples that a tracker shows."""

_TRAINED = ("weights.safetensors", "history.csv", "cost.json", "provenance.json")
_SAMPLED = ("samples.npz", "sampling.json")
_SCORED = ("likelihood.json", "quality.json")
_CURVES = {"loss": "train", "valid_loss": "valid"}


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a metric at a step and a time in milliseconds since 1970."""

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished entry.

    Attributes:
        entry: what it is.
        folder: its outputs.
        samples: the first :data:`SHOWN`, uint8 (n, H, W).
        visuals: its further pictures; empty where they were not drawn.
        key: hash of its content, without timings.
        start, end: of training, in milliseconds since 1970.
        params: its parameters, flattened: ``train.optim.loss.lr``.
        tags: family, likelihood kind, sampler, origin, reasons of withheld scores.
        metrics: finite points of scores, costs and curves.
    """

    entry: Entry
    folder: Path
    samples: np.ndarray
    visuals: Sequence[Visual]
    key: str
    start: int
    end: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Sequence[Point]


@dataclass(frozen=True, slots=True)
class _Outputs:
    """What the stages of an entry wrote."""

    training: Training
    sampling: Sampling
    visuals: tuple[Visual, ...]
    scores: Mapping[str, Record]

    @classmethod
    def of(cls, params: Params, entry: Entry) -> _Outputs:
        run = params.run(entry.name)
        visuals = read_visuals(run) if (run / "visuals" / "visuals.json").is_file() else ()
        scores = {name: read_scores(run, name, entry) for name in _SCORED}
        return cls(read_training(run), read_sampling(run, spec_of(entry.dataset)), visuals, scores)


def find(params: Params) -> tuple[list[Finished], dict[str, str]]:
    """The finished entries of a profile; and of the others, by name, why they are not: no file of
    one is in the way of another.
    """
    found = {name: _found(params, entry) for name, entry in params.entries.items()}
    finished = [one for one in found.values() if isinstance(one, Finished)]
    return finished, {name: reason for name, reason in found.items() if isinstance(reason, str)}


def _found(params: Params, entry: Entry) -> Finished | str:
    """A finished entry, or why it is not; also where a file goes while it is read, as DVC removes
    outputs of stages that it runs again.
    """
    for stage, names in (("train", _TRAINED), ("sample", _SAMPLED), ("score", _SCORED)):
        lacking = [name for name in names if not (params.run(entry.name) / name).is_file()]
        if lacking:
            return f"{stage}: no {', '.join(lacking)}"
    try:
        model_class(entry.model)
    except UserError as error:
        return str(error)
    try:
        outputs = _Outputs.of(params, entry)
        return _outdated(params, entry, outputs) or _finished(params, entry, outputs)
    except (ValueError, OSError) as error:
        return f"damaged: {told(error)}"


def _outdated(params: Params, entry: Entry, outputs: _Outputs) -> str | None:
    """What of an entry is of another state of params.yaml, or None."""
    likelihood, quality = outputs.scores.values()
    found = {
        "train": outdated_training(entry, outputs.training.about, outputs.training.provenance),
        "sample": outdated_sampling(
            params, entry, outputs.sampling.info, len(outputs.sampling.images)
        ),
        "score_likelihood": outdated_likelihood(params, entry, likelihood),
        "score_samples": outdated_quality(params, quality),
    }
    return next(
        (
            f"{stage}: out of date, {reason}"
            for stage, reason in found.items()
            if reason is not None
        ),
        None,
    )


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield legal(prefix), value if isinstance(value, str) else json.dumps(value)


def legal(name: str) -> str:
    """``name`` in the characters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _key(params: Params, entry: Entry, scores: Mapping[str, Any]) -> str:
    """Hash of what an entry is and scored; equal for runs that differ in speed, machine or commit
    alone.
    """
    folder = params.run(entry.name)
    pictures = [
        folder / "samples.npz",
        *sorted(path for path in (folder / "visuals").glob("*") if path.is_file()),
    ]
    content = {
        "profile": params.profile,
        "entry": asdict(entry),
        "weights": sha256(folder / "weights.safetensors"),
        "scores": {
            name: {**record, "made_from": _without_kind(record["made_from"])}
            for name, record in scores.items()
        },
        "pictures": {path.name: sha256(path) for path in pictures},
    }
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


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


def _scores(
    records: Sequence[Record], cost: Mapping[str, Any], sampling: Mapping[str, Any], end: int
) -> Iterator[Point]:
    for record in records:
        for name, metric in record.metrics.items():
            yield Point(legal(name), metric.value, end, 0)
            if metric.stderr is not None:
                yield Point(legal(f"{name}_stderr"), metric.stderr, end, 0)
    for name, value in {**cost, "sample_ms_per_image": sampling["sample_ms_per_image"]}.items():
        yield Point(f"cost/{name}", float(value), end, 0)


def _tags(
    entry: Entry,
    records: Sequence[Record],
    sampling: Mapping[str, Any],
    provenance: Mapping[str, Any],
    weights: str,
) -> dict[str, str]:
    cls = model_class(entry.model)
    scores = {name: metric for record in records for name, metric in record.metrics.items()}
    withheld = {name: reason for record in records for name, reason in record.withheld.items()}
    tags = {
        "family": cls.family,
        "likelihood": cls.likelihood.value,
        "control": json.dumps(cls.control),
        "conditional": json.dumps(is_conditional(cls, entry)),
        "sampler": sampling["sampler"],
        "matches_likelihood": json.dumps(sampling["matches_likelihood"]),
        "git": provenance["git"] or "none",
        "hardware": provenance["hardware"],
        "device": provenance["device"],
        **({"processor": in_words(provenance["kind"])} if "kind" in provenance else {}),
        **({"precision": provenance["precision"]} if "precision" in provenance else {}),
        "threads": provenance["threads"],
        "score_hash": score_hash(scores, weights),
        "mlflow.source.name": "genbench",
        **{f"versions.{name}": version for name, version in provenance["versions"].items()},
        **{f"withheld.{legal(name)}": reason for name, reason in withheld.items()},
    }
    return {name: str(value) for name, value in tags.items()}


def read(params: Params, entry: Entry) -> Finished:
    """A finished entry from its files.

    Raises:
        UserError: a file is damaged; names it.
    """
    return _finished(params, entry, _Outputs.of(params, entry))


def _finished(params: Params, entry: Entry, outputs: _Outputs) -> Finished:
    folder = params.run(entry.name)
    cost, sampling, records = (
        outputs.training.cost,
        outputs.sampling.info,
        list(outputs.scores.values()),
    )
    # The weights' date, not the clock's: logging the same files again gives the same points.
    end = round(1000 * (folder / "weights.safetensors").stat().st_mtime)
    start = end - round(1000 * cost["train_seconds"])
    points = [*_curves(outputs.training.history, start), *_scores(records, cost, sampling, end)]
    # MLflow stores infinity as a large number and draws it.
    broken = sorted({point.key for point in points if not math.isfinite(point.value)})
    blocks = {
        name: getattr(entry, name)
        for name in ("model", "dataset", "seed", "arch", "train", "sample", "score")
    }
    tags = _tags(entry, records, sampling, outputs.training.provenance, outputs.training.weights)
    return Finished(
        entry=entry,
        folder=folder,
        samples=outputs.sampling.images[:SHOWN].copy(),
        visuals=outputs.visuals,
        key=_key(params, entry, {name: asdict(record) for name, record in outputs.scores.items()}),
        start=start,
        end=end,
        params=dict(_flat("", {"profile": params.profile, "entry": entry.name, **blocks})),
        tags=tags | ({"not_finite": ", ".join(broken)} if broken else {}),
        metrics=[point for point in points if math.isfinite(point.value)],
    )
