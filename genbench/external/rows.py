"""What others made, kept in ``runs/<profile>/external/<dataset>/<name>/`` so that the report has a
row of it: the images and likelihoods as they were given, and their scores.

To remove a row, delete its folder. What is kept there is all that its scores are made from, so
``genbench evaluate`` of it gives them again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genbench.config.layout import Layout, RunDir
from genbench.config.params import Params
from genbench.disk import told
from genbench.errors import UserError, check_name
from genbench.external.images import Images, chosen
from genbench.external.nats import Nats
from genbench.files import read_npz, replace_directory, sha256, write_npz
from genbench.results.reader import read_scores
from genbench.results.schema import read_checked, validate
from genbench.scoring.records import Record, write_record

__all__ = ["ExternalRow", "check_new_name", "keep", "read_rows", "scored_by"]


@dataclass(frozen=True, slots=True)
class ExternalRow:
    """A row of what others made.

    Attributes:
        name: of the row.
        dataset: whose images it is like.
        record: its scores; None where they do not count.
        scored: the images that they are of; None where they do not count.
        problem: why they do not, and how to mend it; else empty.
    """

    name: str
    dataset: str
    record: Record | None = None
    scored: Images | None = None
    problem: str = ""


def check_new_name(params: Params, dataset: str, name: str) -> None:
    """Raise UserError if a row of this data set cannot have this name: an entry or a row of another
    data set has it. That of a row of this data set is free, to be replaced.
    """
    check_name(name, "--as")
    if name in params.entries:
        raise UserError(
            f"--as: {name!r} is an entry of profile {params.profile!r}; choose another name"
        )
    for other in params.datasets:
        folder = Layout.of(params).external(other, name).path
        if other != dataset and folder.exists():
            raise UserError(
                f"--as: {name!r} is a row of {other} already; choose another name, or delete "
                f"{folder}"
            )


def scored_by(params: Params) -> dict[str, Any]:
    """What of a profile the scores depend on, named as in params.yaml."""
    protocol = params.protocol
    return {
        "metrics": list(params.metrics),
        "protocol.samples": protocol.samples,
        "protocol.feature_reference_images": protocol.feature_reference_images,
    }


def keep(params: Params, dataset: str, images: Images, nats: Nats | None, record: Record) -> Path:
    """Keep a record with what it was made from as the row of its name, in the place of a former
    one; returns the folder.

    Raises:
        UserError: the record does not say what it was made from.
        OSError: it cannot be written; nothing is left half-written.
    """
    validate(asdict(record), "external_record")
    path = Layout.of(params).external(dataset, record.entry).path
    labels = {} if images.labels is None else {"labels": images.labels}
    with replace_directory(path) as folder:
        run_dir = RunDir(folder)
        write_npz(run_dir.samples, {"images": images.images, **labels})
        if nats is not None:
            write_npz(run_dir.nats, {"nats": nats.values, "index": nats.index})
        write_record(run_dir.quality, record)
    return path


def read_rows(params: Params) -> list[ExternalRow]:
    """All rows of a profile's data sets, by data set and name; what is wrong with one never stops
    the others.
    """
    return [_read(params, dataset, name) for dataset, name in _names(params)]


def _names(params: Params) -> Iterator[tuple[str, str]]:
    for dataset in params.datasets:
        folder = Layout.of(params).external_folder / dataset
        if folder.is_dir():
            found = sorted(path.name for path in folder.iterdir() if path.is_dir())
            # Others are being written.
            yield from ((dataset, name) for name in found if not name.startswith("."))


def _read(params: Params, dataset: str, name: str) -> ExternalRow:
    run_dir = Layout.of(params).external(dataset, name)
    try:
        if name in params.entries:
            raise UserError(f"an entry is called {name} now, too")
        read_checked(run_dir.quality, "external_record")
        record = read_scores(run_dir.quality, name)
        images = _images(run_dir, record)
        problem = _problem(params, dataset, record)
    except (ValueError, OSError) as error:
        problem = told(error)
    if problem:
        problem = f"{problem}; to remove the row, delete {run_dir.path}"
        # Paths are shown from the project's root.
        return ExternalRow(name, dataset, problem=problem.replace(f"{params.root}/", ""))
    scored = images.part(chosen(len(images), params.protocol.samples))
    return ExternalRow(name, dataset, record, scored)


def _images(run_dir: RunDir, record: Record) -> Images:
    """Those that are kept."""
    arrays = read_npz(run_dir.samples)
    images = Images(arrays.get("images", np.zeros(0)), arrays.get("labels"))
    if images.digest != record.made_from["samples"]:
        raise UserError(f"{run_dir.samples} has changed since it was scored")
    return images


def _problem(params: Params, dataset: str, record: Record) -> str:
    """In what the profile differs from what a row was scored by, and what scores it again; empty
    where it does not.
    """
    features = Layout.of(params).features(dataset)
    now = scored_by(params)
    if features.is_file():
        now["features"] = sha256(features)
    differing = [name for name, value in now.items() if record.made_from[name] != value]
    if not differing:
        return ""
    again = _command(params, dataset, record)
    return f"{', '.join(differing)} changed since it was scored; run `{again}`"


def _command(params: Params, dataset: str, record: Record) -> str:
    """What scores a row again, from what is kept of it."""
    kept = Layout.of(params).external(dataset, record.entry)
    parts = ["genbench", "evaluate", str(kept.samples), "--dataset", dataset, "--as", record.entry]
    if record.made_from["labels"]:
        parts.append("--labels")
    if record.made_from["nats"] is not None:
        parts += ["--nats", str(kept.nats)]
    if params.profile != "quick":
        parts += ["--profile", params.profile]
    return shlex.join(parts)
