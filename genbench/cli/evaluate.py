"""`genbench evaluate`: the scores of images that others made, beside those of the entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genbench.cli.info import score_line
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.data.datasets import spec_of
from genbench.data.splits import load_split
from genbench.errors import UserError, near
from genbench.external.evaluate import evaluate
from genbench.external.images import read_images
from genbench.external.nats import Nats, read_nats
from genbench.external.rows import ExternalRow, check_new_name, keep, read_rows
from genbench.files import as_json as to_json
from genbench.report.rows import leaderboard
from genbench.report.tables import markdown
from genbench.results.entry import read_entry
from genbench.scoring.records import Record

__all__ = ["print_evaluation"]


def print_evaluation(
    profile: str,
    samples: Path,
    dataset: str,
    *,
    nats: Path | None = None,
    labelled: bool = False,
    name: str | None = None,
    as_json: bool = False,
) -> None:
    """Score images, print that beside the entries of the profile, and keep them on request.

    Arguments:
        profile: the profile, by whose protocol they are scored.
        samples: a file or folder, as :func:`genbench.external.images.read_images` takes it.
        dataset: whose images they are like.
        nats: a file of likelihoods, as :func:`genbench.external.nats.read_nats` takes it.
        labelled: whether they have labels that they were sampled with.
        name: of the row that they are kept as; None keeps nothing.
        as_json: print everything as JSON.

    Raises:
        UserError: a name that is taken; images or likelihoods that are not what they should be,
            with how to convert them; no reference features yet.
        OSError: a file cannot be read or written.
    """
    params = load_params(profile)
    _check(params, dataset, labelled, name)
    images = read_images(samples, spec_of(dataset), labelled=labelled)
    reported = None if nats is None else _nats(params, dataset, nats)
    shown = f"{samples.name}/" if samples.is_dir() else samples.name  # as no entry is called
    record = evaluate(params, dataset, images, reported, name=name or shown)
    board = _board(params, ExternalRow(record.entry, dataset, record))
    kept = None if name is None else keep(params, dataset, images, reported, record)
    if as_json:
        print(to_json(_as_dict(board, record, kept)).rstrip())
    else:
        print("\n".join(_lines(params, len(images), record, board)))
    if kept is not None and not as_json:
        print(
            f"kept in {kept.relative_to(params.root)}/ as a row of the next `genbench report`; to "
            "remove the row, delete that folder"
        )


def _check(params: Params, dataset: str, labelled: bool, name: str | None) -> None:
    """Raise UserError for options that make no sense, before anything is read."""
    if dataset not in params.datasets:
        raise UserError(
            f"--dataset: {dataset!r} is no data set of profile "
            f"{params.profile!r}{near(dataset, params.datasets)}"
        )
    if labelled and not spec_of(dataset).classes:
        raise UserError(f"--labels: {dataset} has no labels; leave it out")
    if name is not None:
        check_new_name(params, dataset, name)


def _nats(params: Params, dataset: str, path: Path) -> Nats:
    x, _ = load_split(Layout.of(params).data(dataset), dataset, "test")
    return read_nats(path, len(x), spec_of(dataset))


def _board(params: Params, own: ExternalRow) -> dict[str, Any]:
    """The rows of the data set, and among them the one that has just been scored."""
    entries = [read_entry(params, e) for e in params.entries.values() if e.dataset == own.dataset]
    others = [row for row in read_rows(params) if row.dataset == own.dataset and not row.problem]
    rivals = [row for row in others if row.name != own.name]
    return {**leaderboard(params, entries, external=[*rivals, own]), "missing": []}


def _lines(params: Params, n: int, record: Record, board: Mapping[str, Any]) -> Iterator[str]:
    """The scores of ``n`` images in words, and the table that they stand in."""
    asked = params.protocol.samples
    if n > asked:
        yield f"{asked:,} of {n:,} images, by a fixed permutation, as many as of each entry"
    elif n < asked:
        yield f"{n:,} images, fewer than the {asked:,} of each entry"
    else:
        yield f"{n:,} images, as many as of each entry"
    yield from (f"  {score_line(key, metric)}" for key, metric in record.metrics.items())
    for reason in dict.fromkeys(record.withheld.values()):
        keys = [key for key, own in record.withheld.items() if own == reason]
        yield f"  left out: {', '.join(keys)} ({reason})"
    yield f"\nBeside the entries of {params.profile}:\n\n{markdown(board)}"


def _as_dict(board: Mapping[str, Any], record: Record, kept: Path | None) -> dict[str, Any]:
    return {
        "profile": board["profile"],
        "row": next(row for row in board["rows"] if row["entry"] == record.entry),
        "others": [row for row in board["rows"] if row["entry"] != record.entry],
        "kept": None if kept is None else str(kept),
    }
