"""What the stages of an entry left on disk, read and checked. Report, tracking and command line
read it here and nowhere else.

Every function raises ``FileNotFoundError`` with the file's name if a file is not there,
``UserError`` that names a file which is damaged (of another form, type, shape or range than its
stage writes), and ``OSError`` if it cannot be read. What it returns can be used unchecked.
"""

from __future__ import annotations

import csv
import errno
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genbench.base import DataSpec
from genbench.config.params import Entry
from genbench.disk import explained
from genbench.errors import UserError
from genbench.files import read_npz
from genbench.pictures.grids import decode
from genbench.results.schema import read_checked
from genbench.scoring.records import Record, Visual, read_record
from genbench.weights_file import hash_of, read_weights

__all__ = [
    "Sampling",
    "Training",
    "read_cost",
    "read_history",
    "read_provenance",
    "read_sampling",
    "read_scores",
    "read_training",
    "read_visuals",
]


_MOST = 1e10


@dataclass(frozen=True, slots=True)
class Training:
    """Outputs of ``train``: cost.json, provenance.json, history.csv by :func:`read_history`, the
    weights' hash and what they say of their model.
    """

    cost: dict[str, Any]
    provenance: dict[str, Any]
    history: list[dict[str, float | None]]
    weights: str
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Outputs of the stage ``sample``: ``images`` uint8 (n, H, W); ``labels`` int64 (n,) for
    conditional entries, else None.
    """

    info: dict[str, Any]
    images: np.ndarray
    labels: np.ndarray | None


def read_training(run: Path) -> Training:
    """The outputs of ``train`` in an entry's folder."""
    path = _need(run / "weights.safetensors")
    with explained(path, "read"):
        weights = read_weights(path)
    return Training(
        read_cost(run),
        read_provenance(run),
        read_history(run),
        hash_of(weights.arrays),
        weights.about,
    )


def read_cost(run: Path) -> dict[str, Any]:
    """The content of cost.json."""
    cost: dict[str, Any] = read_checked(_need(run / "cost.json"), "training_cost")
    return cost


def read_provenance(run: Path) -> dict[str, Any]:
    """The content of provenance.json."""
    provenance: dict[str, Any] = read_checked(_need(run / "provenance.json"), "provenance")
    return provenance


def read_history(run: Path) -> list[dict[str, float | None]]:
    """The rows of history.csv: ``step`` and ``seconds``, which all rows have, and what was logged,
    None where a cell is empty.
    """
    path = _need(run / "history.csv")
    try:
        with explained(path, "read"):
            text = path.read_text(encoding="utf-8")
        if not text.endswith("\n"):
            raise ValueError("its last line has no end")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        if (
            not lines
            or not {"step", "seconds"} <= set(lines[0])
            or len(set(lines[0])) < len(lines[0])
        ):
            raise ValueError(
                "its first line must name the columns, step and seconds among them, each once"
            )
        rows = [_numbers(lines[0], line) for line in lines[1:]]
    except (ValueError, csv.Error) as error:
        raise UserError(
            f"{path} is damaged: {error}; delete it and train the entry again"
        ) from error
    return rows


def _numbers(columns: Sequence[str], line: Sequence[str]) -> dict[str, float | None]:
    row = {name: float(text) if text else None for name, text in zip(columns, line, strict=True)}
    step, seconds = row["step"], row["seconds"]
    if (
        step is None
        or not (step.is_integer() and 0 <= step < _MOST)
        or seconds is None
        or not 0 <= seconds < _MOST
    ):
        raise ValueError(f"a row has the step {step} and the seconds {seconds}")
    return row


def read_sampling(run: Path, spec: DataSpec) -> Sampling:
    """The outputs of ``sample`` in the folder of an entry on a data set of this form."""
    info = read_checked(_need(run / "sampling.json"), "sampling")
    path = _need(run / "samples.npz")
    arrays = read_npz(path)
    images, labels = arrays.get("images"), arrays.get("labels")
    if (
        images is None
        or images.dtype != np.uint8
        or images.ndim != 3
        or images.shape[1:] != (spec.height, spec.width)
        or not len(images)
    ):
        got = "no array 'images'" if images is None else f"{images.dtype} {images.shape}"
        raise UserError(f"{path}: images must be uint8 (n, {spec.height}, {spec.width}), got {got}")
    if int(images.max()) >= spec.levels:
        raise UserError(
            f"{path}: images must have levels 0..{spec.levels - 1}, got {int(images.max())}"
        )
    if labels is not None:
        _check_labels(labels, len(images), spec, path)
    return Sampling(info, images, labels)


def _check_labels(labels: np.ndarray, n: int, spec: DataSpec, path: Path) -> None:
    if labels.dtype.kind not in "iu" or labels.shape != (n,):
        raise UserError(
            f"{path}: labels must be whole numbers of shape ({n},), got {labels.dtype} "
            f"{labels.shape}"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= spec.classes:
        raise UserError(
            f"{path}: labels must be below {spec.classes}, the number of classes, got {low}..{high}"
        )


def read_scores(run: Path, file: str, entry: Entry) -> Record:
    """The record ``likelihood.json`` or ``quality.json`` of an entry."""
    path = _need(run / file)
    read_checked(path, "record")
    record = read_record(path)
    if record.entry != entry.name:
        raise UserError(
            f"{path} is the record of {record.entry!r}; delete it and score {entry.name!r} again"
        )
    return record


def read_visuals(run: Path) -> tuple[Visual, ...]:
    """The pictures that visuals.json lists; the schema refuses names of files elsewhere than in its
    folder.
    """
    folder = run / "visuals"
    listed = read_checked(_need(folder / "visuals.json"), "visuals")
    return tuple(
        Visual(
            item["file"],
            item["kind"],
            item["title"],
            item["caption"],
            _picture(folder / item["file"]),
        )
        for item in listed
    )


def _picture(path: Path) -> bytes:
    with explained(_need(path), "read"):
        data = path.read_bytes()
    try:
        decode(io.BytesIO(data), path, "RGB", formats=("PNG", "GIF"))
    except UserError as error:
        raise UserError(f"{error}; delete it and run the stage visuals again") from error
    return data


def _need(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    return path
