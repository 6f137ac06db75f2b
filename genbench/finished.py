"""A finished entry as a tracker shows it: key, parameters, tags, and points of scores, costs and curves. Imports no tracker."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genbench.current import is_conditional, outdated_likelihood, outdated_quality, outdated_sampling, outdated_training
from genbench.files import read_json, sha256
from genbench.params import Entry, Params
from genbench.processor import in_words
from genbench.registry import model_class
from genbench.results import Record, read_record, score_hash
from genbench.tensors import hash_of, read_tensors

__all__ = ["RECORDS", "Finished", "Point", "legal", "missing", "read"]

RECORDS = ("history.csv", "cost.json", "provenance.json", "sampling.json", "likelihood.json", "quality.json")
"""Files of an entry that are kept beside its run."""

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
        key: hash of its content, without timings.
        start, end: of training, in milliseconds since 1970.
        params: its parameters, flattened: ``train.optim.loss.lr``.
        tags: family, likelihood kind, sampler, origin, reasons of withheld scores.
        metrics: finite points of scores, costs and curves.
    """

    entry: Entry
    folder: Path
    key: str
    start: int
    end: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Sequence[Point]


def missing(params: Params, entry: Entry) -> str | None:
    """Why an entry is not finished, or None."""
    for stage, names in (("train", _TRAINED), ("sample", _SAMPLED), ("score", _SCORED)):
        lacking = [name for name in names if not (params.run(entry.name) / name).is_file()]
        if lacking:
            return f"{stage}: no {', '.join(lacking)}"
    try:
        return _outdated(params, entry)
    except (ValueError, KeyError) as error:  # one damaged file keeps no other entry from being tracked
        return f"damaged: {error}"


def _outdated(params: Params, entry: Entry) -> str | None:
    """What of an entry is of another state of params.yaml, or None."""
    folder = params.run(entry.name)
    likelihood, quality = (read_record(folder / name) for name in _SCORED)
    sampling = read_json(folder / "sampling.json")
    found = {
        "train": outdated_training(entry, folder / "weights.safetensors", read_json(folder / "provenance.json")),
        "sample": outdated_sampling(params, entry, sampling, sampling["n"]),
        "score_likelihood": outdated_likelihood(params, entry, likelihood),
        "score_samples": outdated_quality(params, quality),
    }
    return next((f"{stage}: out of date, {reason}" for stage, reason in found.items() if reason is not None), None)


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
    """Hash of what an entry is and scored; equal for runs that differ in speed, machine or commit alone."""
    folder = params.run(entry.name)
    pictures = [folder / "samples.npz", *sorted(path for path in (folder / "visuals").glob("*") if path.is_file())]
    content = {
        "profile": params.profile,
        "entry": asdict(entry),
        "weights": sha256(folder / "weights.safetensors"),
        "scores": {name: {**record, "made_from": _without_kind(record["made_from"])} for name, record in scores.items()},
        "pictures": {path.name: sha256(path) for path in pictures},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _without_kind(made_from: Mapping[str, Any]) -> dict[str, Any]:
    """What scores were made from, but for the kind of processor: equal scores are equal wherever they were made."""
    return {name: value for name, value in made_from.items() if name != "kind"}


def _curves(path: Path, start: int) -> Iterator[Point]:
    """The columns ``<phase>/<name>`` of history.csv: ``loss`` becomes ``train`` and ``valid_loss`` ``valid``, other names stay."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            step, milliseconds = int(row.pop("step")), start + round(1000 * float(row.pop("seconds") or 0))
            for column, text in row.items():
                phase, _, name = column.rpartition("/")
                if text and phase:
                    yield Point(legal(f"{phase}/{_CURVES.get(name, name)}"), float(text), milliseconds, step)


def _scores(records: Sequence[Record], cost: Mapping[str, Any], sampling: Mapping[str, Any], end: int) -> Iterator[Point]:
    for record in records:
        for name, metric in record.metrics.items():
            yield Point(legal(name), metric.value, end, 0)
            if metric.stderr is not None:
                yield Point(legal(f"{name}_stderr"), metric.stderr, end, 0)
    for name, value in {**cost, "sample_ms_per_image": sampling["sample_ms_per_image"]}.items():
        yield Point(f"cost/{name}", float(value), end, 0)


def _tags(
    entry: Entry, records: Sequence[Record], sampling: Mapping[str, Any], provenance: Mapping[str, Any], weights: str
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
        ValueError: a file is damaged; names it.
    """
    folder = params.run(entry.name)
    cost, sampling, provenance = (read_json(folder / f"{name}.json") for name in ("cost", "sampling", "provenance"))
    records = [read_record(folder / name) for name in _SCORED]
    weights, _ = read_tensors(folder / "weights.safetensors")
    # The weights' date, not the clock's: logging the same files again gives the same points.
    end = round(1000 * (folder / "weights.safetensors").stat().st_mtime)
    start = end - round(1000 * cost["train_seconds"])
    points = [*_curves(folder / "history.csv", start), *_scores(records, cost, sampling, end)]
    # MLflow stores infinity as a large number and draws it.
    broken = sorted({point.key for point in points if not math.isfinite(point.value)})
    blocks = {name: getattr(entry, name) for name in ("model", "dataset", "seed", "arch", "train", "sample", "score")}
    return Finished(
        entry=entry,
        folder=folder,
        key=_key(params, entry, {record: asdict(scores) for record, scores in zip(_SCORED, records, strict=True)}),
        start=start,
        end=end,
        params=dict(_flat("", {"profile": params.profile, "entry": entry.name, **blocks})),
        tags=_tags(entry, records, sampling, provenance, hash_of(weights)) | ({"not_finite": ", ".join(broken)} if broken else {}),
        metrics=[point for point in points if math.isfinite(point.value)],
    )
