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
from typing import Any

from genbench.base import Likelihood
from genbench.config.params import Entry, Params
from genbench.hardware.kind import in_words
from genbench.report.text import COLUMNS
from genbench.results.collect import Outcome
from genbench.results.schema import validate
from genbench.scoring.records import Metric, score_hash

__all__ = ["KINDS", "headlines", "kinds_differ", "leaderboard", "without_seeds"]

Row = dict[str, Any]

KINDS = tuple(
    kind.value
    for kind in (Likelihood.EXACT, Likelihood.LOWER_BOUND, Likelihood.ESTIMATE, Likelihood.NONE)
)
"""Order of the groups within a data set."""


def leaderboard(params: Params, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The content of leaderboard.json, checked against its schema."""
    rows = [_row(outcome) for outcome in outcomes if outcome.training is not None]
    rows += _aggregates(rows, params.entries)
    order = {dataset: i for i, dataset in enumerate(params.datasets)}
    board = {
        "profile": params.profile,
        "protocol": {**asdict(params.protocol), "metrics": list(params.metrics)},
        "rows": sorted(rows, key=lambda row: (order[row["dataset"]], *_place(row))),
        "missing": [
            {
                "dataset": outcome.entry.dataset,
                "entry": outcome.entry.name,
                "reason": "; ".join(outcome.reasons),
            }
            for outcome in sorted(outcomes, key=lambda o: (order[o.entry.dataset], o.entry.name))
            if outcome.reasons
        ],
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
    return {
        row["entry"]: {
            name: float(f"{row['metrics'][name]['value']:.5g}")
            for name in main
            if name in row["metrics"]
        }
        for row in board["rows"]
        if row["status"] != "aggregate"
    }


def kinds_differ(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows come from processors of more than one kind, so that each must name its own."""
    return len({row["processor"] for row in rows if row["status"] != "aggregate"}) > 1


def without_seeds(rows: Sequence[Row]) -> list[Row]:
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
    value = {
        name: row["metrics"][name]["value"]
        for name in ("bits_per_dim", "fid_mnist")
        if name in row["metrics"]
    }
    return (
        row["control"],
        KINDS.index(row["likelihood_kind"]),
        value.get("bits_per_dim", math.inf),
        value.get("fid_mnist", math.inf),
        row["entry"],
    )


def _row(outcome: Outcome) -> Row:
    entry, model, training, sampling = (
        outcome.entry,
        outcome.model,
        outcome.training,
        outcome.sampling,
    )
    assert model is not None
    assert training is not None
    records = [record for record in (outcome.likelihood, outcome.quality) if record is not None]
    metrics = {name: metric for record in records for name, metric in record.metrics.items()}
    cost = {key: training.cost[key] for key in _COST if key in training.cost}
    if sampling is not None:
        cost["sample_ms_per_image"] = sampling.info["sample_ms_per_image"]
    none = model.likelihood is Likelihood.NONE
    return {
        "dataset": entry.dataset,
        "entry": entry.name,
        "model": entry.model,
        "family": model.family,
        "seed": entry.seed,
        "conditional": outcome.conditional,
        "control": model.control,
        "likelihood_kind": model.likelihood.value,
        "sampler": None if sampling is None else sampling.info["sampler"],
        "matches_likelihood": None
        if none or sampling is None
        else sampling.info["matches_likelihood"],
        "status": "partial" if outcome.reasons else "ok",
        "metrics": {name: asdict(metric) for name, metric in metrics.items()},
        "withheld": {
            name: reason for record in records for name, reason in record.withheld.items()
        },
        "score_hash": score_hash(metrics, training.weights),
        "cost": cost,
        "processor": _processor(outcome),
        "provenance": {
            name: value for name, value in training.provenance.items() if name != "train"
        },  # that is in params.yaml
    }


def _processor(outcome: Outcome) -> str:
    """The kinds of processors behind a row, in words: that of training, then those of the other
    stages that differ from it.
    """
    assert outcome.training is not None
    sampling, likelihood, quality = outcome.sampling, outcome.likelihood, outcome.quality
    own = outcome.training.provenance
    trained = _kind(own["kind"]) if "kind" in own else str(own["hardware"])
    later = {
        "sampled on": sampling.info.get("kind") if sampling else None,
        "likelihood scored on": likelihood.made_from.get("kind") if likelihood else None,
        "samples scored on": quality.made_from.get("kind") if quality else None,
    }
    return "; ".join(
        [
            trained,
            *(
                f"{what} {_kind(kind)}"
                for what, kind in later.items()
                if kind and _kind(kind) != trained
            ),
        ]
    )


def _kind(kind: Mapping[str, Any]) -> str:
    """A kind in words, with the version of torch, whose builds bring the other libraries along."""
    return f"{in_words(kind)}, torch {kind['libraries'].get('torch', 'unknown')}"


_COST = ("parameters", "train_seconds", "train_images_per_second", "peak_memory_mb")


def _aggregates(rows: Sequence[Row], entries: Mapping[str, Entry]) -> list[Row]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        entry = asdict(entries[row["entry"]])
        groups[
            json.dumps(
                {k: v for k, v in entry.items() if k not in ("name", "seed")}, sort_keys=True
            )
        ].append(row)
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
    detail = {"seeds": len(values), "sd": sd, "entries": [row["entry"] for row in group]}
    first = metrics[0]
    return Metric(
        fmean(values),
        sd / math.sqrt(len(values)),
        min(m["n"] for m in metrics),
        first["higher_is_better"],
        first.get("kind"),
        detail,
    )
