"""The files that the stages of an entry write, read and checked; :mod:`genbench.results.entry` puts
them together.

Every function raises ``FileNotFoundError`` with the file's name if a file is not there,
``UserError`` that names a file which is damaged (of another form, type, shape or range than its
stage writes), and ``OSError`` if it cannot be read. What it returns can be used unchecked.
"""

from __future__ import annotations

import csv
import errno
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genbench.base import DataSpec
from genbench.config.layout import RunDir
from genbench.disk import explained
from genbench.errors import UserError
from genbench.files import read_npz
from genbench.pictures.grids import decode
from genbench.pictures.picture import LIST, Picture
from genbench.results.schema import read_checked
from genbench.scoring.records import Record, read_record
from genbench.weights_file import hash_of, read_weights

__all__ = [
    "Probe",
    "Sampling",
    "Training",
    "read_history",
    "read_pictures",
    "read_probe",
    "read_sampling",
    "read_scores",
    "read_training",
]

_MOST = 1e10  # steps or seconds: three centuries; more is damage


@dataclass(frozen=True, slots=True)
class Training:
    """Outputs of ``train``.

    Attributes:
        cost: size of the model, time and memory.
        provenance: commit, versions and hardware.
        history: its rows: ``step`` and ``seconds``, which all have, and what was logged, None where
            a cell is empty.
        weights: hash of the weights.
        metadata: what the weights say of their model.
    """

    cost: dict[str, Any]
    provenance: dict[str, Any]
    history: list[dict[str, float | None]]
    weights: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Outputs of ``sample``.

    Attributes:
        info: how the samples were drawn.
        images: uint8 (n, H, W).
        labels: int64 (n,) of conditional entries, else None.
    """

    info: dict[str, Any]
    images: np.ndarray
    labels: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Probe:
    """Outputs of ``probe``.

    Attributes:
        record: what it found.
        neighbours: of some samples ``sample`` int64 (n,), their places among all; ``distance``
            float64 (n, 2), to the two nearest training images; ``images`` uint8 (n, H, W), the
            nearest. Empty where memorisation was not asked for.
    """

    record: Record
    neighbours: dict[str, np.ndarray]


def read_training(run_dir: RunDir) -> Training:
    """The outputs of ``train``."""
    path = _need(run_dir.weights)
    with explained(path, "read"):
        weights = read_weights(path)
    cost: dict[str, Any] = read_checked(_need(run_dir.cost), "training_cost")
    provenance: dict[str, Any] = read_checked(_need(run_dir.provenance), "provenance")
    history = read_history(_need(run_dir.history))
    return Training(cost, provenance, history, hash_of(weights.arrays), weights.metadata)


def read_history(path: Path) -> list[dict[str, float | None]]:
    """The rows of a history: ``step`` and ``seconds``, which all rows have, and what was logged,
    None where a cell is empty.
    """
    try:
        with explained(path, "read"):
            text = path.read_text(encoding="utf-8")
        if not text.endswith("\n"):
            raise ValueError("its last line has no end")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        columns = lines[0] if lines else []
        if not {"step", "seconds"} <= set(columns) or len(set(columns)) < len(columns):
            raise ValueError(
                "its first line must name the columns, step and seconds among them, each once"
            )
        return [_numbers(columns, line) for line in lines[1:]]
    except (ValueError, csv.Error) as error:
        raise UserError(
            f"{path} is damaged: {error}; delete it and train the entry again"
        ) from error


def _numbers(columns: Sequence[str], line: Sequence[str]) -> dict[str, float | None]:
    row = {name: float(text) if text else None for name, text in zip(columns, line, strict=True)}
    step, seconds = row["step"], row["seconds"]
    is_step = step is not None and step.is_integer() and 0 <= step < _MOST
    if not is_step or seconds is None or not 0 <= seconds < _MOST:
        raise ValueError(f"a row has the step {step} and the seconds {seconds}")
    return row


def read_sampling(run_dir: RunDir, spec: DataSpec) -> Sampling:
    """The outputs of ``sample`` of an entry on a data set of this form."""
    info = read_checked(_need(run_dir.sampling), "sampling")
    path = _need(run_dir.samples)
    arrays = read_npz(path)
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None or not _are_images(images, spec):
        got = "no array 'images'" if images is None else f"{images.dtype} {images.shape}"
        raise UserError(f"{path}: images must be uint8 (n, {spec.height}, {spec.width}), got {got}")
    if int(images.max()) >= spec.levels:
        raise UserError(
            f"{path}: images must have levels 0..{spec.levels - 1}, got {int(images.max())}"
        )
    if labels is not None:
        _check_labels(labels, len(images), spec, path)
    return Sampling(info, images, labels)


def _are_images(arrays: np.ndarray, spec: DataSpec) -> bool:
    if arrays.dtype != np.uint8 or arrays.ndim != 3 or not len(arrays):
        return False
    return arrays.shape[1:] == (spec.height, spec.width)


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


def read_scores(path: Path, name: str) -> Record:
    """The record of a scoring stage of the entry ``name``."""
    read_checked(_need(path), "record")
    record = read_record(path)
    if record.entry != name:
        raise UserError(
            f"{path} is the record of {record.entry!r}; delete it and score {name!r} again"
        )
    return record


def read_probe(run_dir: RunDir, name: str, spec: DataSpec) -> Probe:
    """The outputs of ``probe`` of the entry ``name`` on a data set of this form."""
    record = read_scores(run_dir.probe, name)
    path = _need(run_dir.neighbours)
    arrays = read_npz(path)
    if arrays:
        _check_neighbours(arrays, spec, path)
    return Probe(record, arrays)


def _check_neighbours(arrays: Mapping[str, np.ndarray], spec: DataSpec, path: Path) -> None:
    images, n = arrays.get("images"), len(arrays.get("sample", ()))
    right = images is not None and _are_images(images, spec) and int(images.max()) < spec.levels
    shapes = {"sample": ("iu", (n,)), "distance": ("f", (n, 2))}
    for name, (kinds, shape) in shapes.items():
        array = arrays.get(name)
        right = right and array is not None and array.dtype.kind in kinds and array.shape == shape
    if not right or images is None or len(images) != n or int(arrays["sample"].min()) < 0:
        raise UserError(
            f"{path}: must hold sample, distance and images, one for each of some samples; delete "
            "it and run the stage probe again"
        )


def read_pictures(run_dir: RunDir) -> tuple[Picture, ...]:
    """The pictures of ``pictures``; the schema refuses names of files elsewhere than in its
    folder.
    """
    folder = run_dir.pictures
    listed = read_checked(_need(folder / LIST), "pictures")
    pictures = []
    for item in listed:
        told = {key: item[key] for key in ("file", "kind", "title", "caption")}
        pictures.append(Picture(**told, data=_content(folder / item["file"])))
    return tuple(pictures)


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path} is listed and not there; the next run draws it again")
    with explained(path, "read"):
        data = path.read_bytes()
    try:
        decode(io.BytesIO(data), path, "RGB", formats=("PNG", "GIF"))
    except UserError as error:
        raise UserError(f"{error}; delete it and run the stage pictures again") from error
    return data


def _need(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    return path
