"""leaderboard.csv and leaderboard.md."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from genbench.report.bounds import remark
from genbench.report.rows import has_means, kinds_differ
from genbench.report.text import KIND_NAMES, MARKS, count, duration, plus_minus, spread

__all__ = ["csv_table", "markdown"]

_FIELDS = (
    "dataset",
    "entry",
    "model",
    "family",
    "seed",
    "conditional",
    "control",
    "likelihood_kind",
    "sampler",
    "matches_likelihood",
    "status",
    "processor",
)
_COST = (
    "parameters",
    "train_seconds",
    "train_cpu_seconds",
    "train_images_per_second",
    "sample_ms_per_image",
    "sample_cpu_ms_per_image",
    "at_once",
    "peak_memory_mb",
)


def csv_table(board: Mapping[str, Any]) -> str:
    """The leaderboard as CSV: a line per row; for each metric its value, ``_stderr`` and ``_n``,
    and where rows are means over seeds ``_sd``; empty where absent.
    """
    metrics = sorted({name for row in board["rows"] for name in row["metrics"]})
    told = ("", "_stderr", *(["_sd"] if has_means(board["rows"]) else []), "_n")
    heads = [f"{name}{suffix}" for name in metrics for suffix in told]
    columns, buffer = [*_FIELDS, *heads, *_COST, "score_hash"], io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in board["rows"]:
        cells = {**row, **row["cost"]}
        for name, metric in row["metrics"].items():
            cells[name] = metric["value"]
            cells[f"{name}_stderr"], cells[f"{name}_n"] = metric["stderr"], metric["n"]
            cells[f"{name}_sd"] = metric["detail"].get("sd")
        writer.writerow({key: "" if value is None else value for key, value in cells.items()})
    return buffer.getvalue()


_HEAD = (
    "entry",
    "likelihood",
    "bits/dim",
    "nats",
    "FID",
    "IS",
    "precision / recall",
    "parameters",
    "training",
)


def markdown(board: Mapping[str, Any]) -> str:
    """The leaderboard as Markdown, compact, a table per data set with its controls at the end."""
    datasets = dict.fromkeys(one["dataset"] for one in (*board["rows"], *board["missing"]))
    parts = [_dataset(board, dataset) for dataset in datasets] or ["There are no results yet.\n"]
    return "\n".join([*parts, *_notes(board)])


def _dataset(board: Mapping[str, Any], dataset: str) -> str:
    rows = [row for row in board["rows"] if row["dataset"] == dataset]
    gaps = [gap for gap in board["missing"] if gap["dataset"] == dataset]
    lines = [f"**{dataset}**", ""]
    if rows:
        several, means = kinds_differ(board["rows"]), has_means(board["rows"])
        more = ["processor"] if several else []
        lines.append(_line([*_HEAD, *more]))
        lines.append(_line(["---", "---", *["---:"] * (len(_HEAD) - 2), *["---" for _ in more]]))
        for row in rows:
            own = [row["processor"]] if several else []
            lines.append(_line([*_cells(row, rows, named=means), *own]))
        lines += ["", *_remarks(rows)]
    lines += [f"Not complete: `{gap['entry']}`: {_plain(gap['reason'])}\n" for gap in gaps]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    """One line of Markdown that shows the text as it is."""
    text = " ".join(text.split())
    for sign in "\\|<>*[]":
        text = text.replace(sign, "\\" + sign)
    return text


def _remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be said of the likelihoods of rows of a data set, each with its entries."""
    said: dict[str, list[str]] = {}
    for row in rows:
        if told := remark(row, rows):
            said.setdefault(told, []).append(f"`{row['entry']}`")
    return [f"‡ {', '.join(entries)}: {told}\n" for told, entries in said.items()]


def _cells(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, named: bool) -> list[str]:
    """What a row shows among those of its data set; ``named``: each ± says what it is."""
    kind = f"{KIND_NAMES[row['likelihood_kind']]}{' (control)' if row['control'] else ''}"
    pair = [_metric(row, name, named) for name in ("precision_mnist", "recall_mnist")]
    unmatched = " †" if row["matches_likelihood"] is False else ""
    partial = " ◌" if row["status"] == "partial" else ""
    remarked = " ‡" if remark(row, rows) else ""
    cost = row["cost"]
    return [
        f"`{row['entry']}`{unmatched}{partial}{remarked}",
        kind,
        _metric(row, "bits_per_dim", named),
        _metric(row, "nats", named),
        _metric(row, "fid_mnist", named),
        _metric(row, "is_mnist", named),
        " / ".join(pair) if any(pair) else "",
        count(cost["parameters"]) if "parameters" in cost else "",
        _training(cost),
    ]


def _training(cost: Mapping[str, float]) -> str:
    """What training has cost: CPU time, which does not depend on what ran beside it; of results
    that do not tell it, wall time.
    """
    if "train_cpu_seconds" in cost:
        return f"{duration(cost['train_cpu_seconds'])} CPU"
    return duration(cost["train_seconds"]) if "train_seconds" in cost else ""


def _metric(row: Mapping[str, Any], name: str, named: bool) -> str:
    if name in row["withheld"]:
        return "withheld"
    if name not in row["metrics"]:
        return ""
    metric = row["metrics"][name]
    mark = {"lower_bound": "≤ ", "estimate": "≈ "}.get(metric["kind"], "")
    error, kind = spread(metric)
    told = plus_minus(metric["value"], error)
    return f"{mark}{told}{f' {kind}' if named and '±' in told else ''}"


def _notes(board: Mapping[str, Any]) -> list[str]:
    rows = board["rows"]
    kinds = {metric["kind"] for row in rows for metric in row["metrics"].values()} & MARKS.keys()
    notes = ["Lower is better for bits/dim, nats and FID."] if rows else []
    if has_means(rows):
        notes.append(
            "An entry with * is a mean over seeds. SE is one standard error of a single training, "
            "SD the standard deviation between seeds."
        )
    elif rows:
        notes.append("± is one standard error.")
    if kinds - {"exact"}:
        notes.append("≤: a bound, the true value is at most this; ≈: an estimate.")
    if any(row["matches_likelihood"] is False for row in rows):
        notes.append(
            "†: the samples come from a cheaper or sharpened sampler, not from the scored "
            "distribution."
        )
    if any(row["status"] == "partial" for row in rows):
        notes.append("◌: not complete.")
    if any(row["withheld"] for row in rows):
        notes.append("Withheld: the reason is in leaderboard.json.")
    return [" ".join(notes), ""] if notes else []
