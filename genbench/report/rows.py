"""The rows of the leaderboard: one per entry that was trained, and one per group of entries that
differ in nothing but the seed.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Any

from genbench.base import Likelihood
from genbench.config.params import Entry, Params
from genbench.external.nats import REPORTED
from genbench.external.rows import ExternalRow
from genbench.report.bounds import floor_of
from genbench.report.columns import COLUMNS
from genbench.report.comparisons import comparisons
from genbench.report.external import external_row, trained_here
from genbench.report.text import processor
from genbench.results.entry import EntryResults
from genbench.results.reader import Sampling, Training
from genbench.results.schema import SCHEMA_VERSION, validate
from genbench.scoring.records import LEFT_OUT, Metric, Record, score_hash

__all__ = ["KINDS", "has_means", "headlines", "kinds_differ", "leaderboard", "without_seeds"]

Row = dict[str, Any]

KINDS = (
    Likelihood.EXACT.value,
    Likelihood.LOWER_BOUND.value,
    Likelihood.ESTIMATE.value,
    REPORTED,
    Likelihood.NONE.value,
)
"""Order of the groups within a data set."""

_COST = (
    "parameters",
    "train_seconds",
    "train_cpu_seconds",
    "train_images_per_second",
    "peak_memory_mb",
)
_SAMPLING_COST = ("sample_ms_per_image", "sample_cpu_ms_per_image")


def leaderboard(
    params: Params,
    entries: Sequence[EntryResults],
    reasons: Mapping[str, str] = MappingProxyType({}),
    external: Sequence[ExternalRow] = (),
) -> dict[str, Any]:
    """The content of leaderboard.json, checked against its schema.

    Arguments:
        params: the profile.
        entries: its entries.
        reasons: for what is missing, in the place of those that the files tell.
        external: what others made.
    """
    rows = [_row(results) for results in entries if results.training.result is not None]
    rows += _aggregates(rows, {results.entry.name: results.entry for results in entries})
    rows += [external_row(one) for one in external if not one.problem]
    order = {dataset: i for i, dataset in enumerate(params.datasets)}
    missing = [
        {
            "dataset": results.entry.dataset,
            "entry": results.entry.name,
            "reason": reasons.get(results.entry.name) or "; ".join(results.reasons),
        }
        for results in entries
        if not results.complete
    ]
    missing += [
        {"dataset": one.dataset, "entry": one.name, "reason": one.problem}
        for one in external
        if one.problem
    ]
    board = {
        "schema_version": SCHEMA_VERSION,
        "profile": params.profile,
        "protocol": {**params.protocol.plain(), "metrics": list(params.metrics)},
        "rows": sorted(rows, key=lambda row: (order[row["dataset"]], *_place(row))),
        "missing": sorted(missing, key=lambda gap: (order[gap["dataset"]], gap["entry"])),
        "comparisons": comparisons(entries),
    }
    validate(board)
    return board


def headlines(board: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The content of ``metrics/<entry>.json`` by entry: the main scores, rounded, without means
    over seeds.

    `dvc metrics show` prints a line for each file and a column for each name, so these make a table
    that fits a screen.
    """
    main = [column.key for column in COLUMNS if column.main]
    found = {}
    for row in _single(board["rows"]):
        scores = {name: row["metrics"][name]["value"] for name in main if name in row["metrics"]}
        found[row["entry"]] = {name: float(f"{value:.5g}") for name, value in scores.items()}
    return found


def _single(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that are entries and no means over seeds."""
    return [row for row in rows if row["status"] != "aggregate"]


def has_means(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether some rows are means over seeds, whose ± is another one than that of the others, so
    that each must be named.
    """
    return any(row["status"] == "aggregate" for row in rows)


def kinds_differ(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows come from processors of more than one kind, so that each must name its own."""
    return len({row["processor"] for row in trained_here(_single(rows))}) > 1


def without_seeds(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows with one per group of seeds: their mean, and not the entries that it is made
    from.
    """
    members = {
        entry
        for row in rows
        if row["status"] == "aggregate"
        for metric in row["metrics"].values()
        for entry in metric["detail"]["entries"]
    }
    return [row for row in rows if row["entry"] not in members]


def _place(row: Row) -> tuple[bool, int, float, float, str]:
    """What rows of a data set are ordered by."""

    def value(name: str) -> float:
        return float(row["metrics"][name]["value"]) if name in row["metrics"] else math.inf

    kind = KINDS.index(row["likelihood_kind"])
    return row["control"], kind, value("bits_per_dim"), value("fid_mnist"), row["entry"]


def _row(results: EntryResults) -> Row:
    entry, model = results.entry, results.model
    training, sampling = results.training.result, results.sampling.result
    assert model is not None
    assert training is not None
    scored = (results.likelihood.result, results.quality.result, _probed(results))
    records = [record for record in scored if record is not None]
    metrics = {name: metric for record in records for name, metric in record.metrics.items()}
    withheld = {name: reason for record in records for name, reason in record.withheld.items()}
    cost = {key: training.cost[key] for key in _COST if key in training.cost}
    sampler = matches = None
    if sampling is not None:
        cost |= {key: sampling.info[key] for key in _SAMPLING_COST if key in sampling.info}
        sampler = sampling.info["sampler"]
        if model.likelihood is not Likelihood.NONE:
            matches = sampling.info["matches_likelihood"]
    if training.provenance.get("at_once") is not None:
        cost["at_once"] = training.provenance["at_once"]
    provenance = dict(training.provenance)
    provenance.pop("train", None)  # that is in params.yaml
    return {
        "dataset": entry.dataset,
        "entry": entry.name,
        "model": entry.model,
        "family": model.family,
        "seed": entry.seed,
        "conditional": results.conditional,
        "control": model.control,
        "likelihood_kind": model.likelihood.value,
        "floor_bits_per_dim": floor_of(results),
        "sampler": sampler,
        "matches_likelihood": matches,
        "status": "ok" if results.complete else "partial",
        "metrics": {name: _without_groups(metric) for name, metric in metrics.items()},
        "withheld": withheld,
        "score_hash": score_hash(metrics, training.weights),
        "cost": cost,
        "processor": _processor(results, training, sampling),
        "provenance": provenance,
    }


def _without_groups(metric: Metric) -> dict[str, Any]:
    """A metric as the board has it: its values without each group stay in the entry's record."""
    told = {key: value for key, value in metric.detail.items() if key != LEFT_OUT}
    return {**asdict(metric), "detail": told}


def _probed(results: EntryResults) -> Record | None:
    return None if results.probe.result is None else results.probe.result.record


def _processor(results: EntryResults, training: Training, sampling: Sampling | None) -> str:
    """The kinds of processors behind a row, in words: that of training, then those of the other
    stages that differ from it.
    """
    own = training.provenance
    trained = processor(own["kind"]) if "kind" in own else str(own["hardware"])
    later = {
        "sampled on": sampling.info.get("kind") if sampling else None,
        "likelihood scored on": _scored_on(results.likelihood.result),
        "samples scored on": _scored_on(results.quality.result),
        "probed on": _scored_on(_probed(results)),
    }
    others = {what: processor(kind) for what, kind in later.items() if kind}
    told = [f"{what} {kind}" for what, kind in others.items() if kind != trained]
    return "; ".join([trained, *told])


def _scored_on(record: Record | None) -> Mapping[str, Any] | None:
    return None if record is None else record.made_from.get("kind")


def _aggregates(rows: Sequence[Row], entries: Mapping[str, Entry]) -> list[Row]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        own = asdict(entries[row["entry"]])
        alike = {key: value for key, value in own.items() if key not in ("name", "seed")}
        groups[json.dumps(alike, sort_keys=True)].append(row)
    return [
        _aggregate(sorted(group, key=lambda row: (row["seed"], row["entry"])))
        for group in groups.values()
        if _seeds(group) > 1
    ]


def _seeds(group: Sequence[Row]) -> int:
    return len({row["seed"] for row in group})


def _aggregate(group: Sequence[Row]) -> Row:
    first = group[0]
    names = [name for name in first["metrics"] if all(name in row["metrics"] for row in group)]
    metrics = {name: _mean(group, name) for name in names}
    costs = [key for key in first["cost"] if all(key in row["cost"] for row in group)]
    return {
        **first,
        "entry": f"{first['entry']}*",
        "seed": None,
        "status": "aggregate",
        "metrics": {name: asdict(metric) for name, metric in metrics.items()},
        "withheld": {},
        "score_hash": score_hash(metrics, *(row["score_hash"] for row in group)),
        "cost": {key: fmean(row["cost"][key] for row in group) for key in costs},
        "processor": " / ".join(dict.fromkeys(row["processor"] for row in group)),
        "provenance": None,
    }


def _mean(group: Sequence[Row], name: str) -> Metric:
    """Mean over seeds; ``stderr`` is that of the mean, sd / sqrt(seeds)."""
    metrics = [row["metrics"][name] for row in group]
    values = [metric["value"] for metric in metrics]
    sd = stdev(values)
    return Metric(
        value=fmean(values),
        stderr=sd / math.sqrt(len(values)),
        n=min(metric["n"] for metric in metrics),
        higher_is_better=metrics[0]["higher_is_better"],
        kind=metrics[0].get("kind"),
        detail={"seeds": len(values), "sd": sd, "entries": [row["entry"] for row in group]},
    )
