"""What the stages of an entry left on disk, read and checked; and for each stage that is not complete, the reason."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from genbench.base import DataSpec, GenerativeModel
from genbench.current import is_conditional, outdated_likelihood, outdated_quality, outdated_sampling, outdated_training
from genbench.data import SPECS
from genbench.errors import UserError
from genbench.files import read_npz
from genbench.params import Entry, Params
from genbench.registry import model_class
from genbench.report.schema import read_checked
from genbench.results import Record, Visual, read_record
from genbench.status import in_words

__all__ = ["Outcome", "Sampling", "Training", "collect"]

T = TypeVar("T")

_AHEAD = {
    "train": ("prepare",),
    "sample": (),
    "visuals": ("prepare",),
    "score_likelihood": ("prepare",),
    "score_samples": ("features", "prepare"),
}
"""Stages of the data set that a stage of an entry reads from."""


@dataclass(frozen=True, slots=True)
class Training:
    """Outputs of the stage ``train`` but the weights. ``history`` has the columns of history.csv, empty cells as NaN."""

    cost: dict[str, Any]
    provenance: dict[str, Any]
    history: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Sampling:
    """Outputs of the stage ``sample``: ``images`` uint8 (n, H, W); ``labels`` int64 (n,) for conditional entries, else None."""

    info: dict[str, Any]
    images: np.ndarray
    labels: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """An entry with the content of its complete stages.

    Attributes:
        entry: the entry.
        model: class of its model; None where it cannot be imported, and then no stage counts.
        training, sampling, visuals, likelihood, quality: content of the stages; None where one, or one before it, is not complete.
        reasons: why the stages that are not complete are not; empty if all are.
    """

    entry: Entry
    model: type[GenerativeModel] | None
    training: Training | None
    sampling: Sampling | None
    visuals: tuple[Visual, ...] | None
    likelihood: Record | None
    quality: Record | None
    reasons: tuple[str, ...]

    @property
    def conditional(self) -> bool:
        """Whether the entry's model takes labels."""
        return self.model is not None and is_conditional(self.model, self.entry)


def collect(params: Params) -> list[Outcome]:
    """The outcome of every entry of params.yaml, in its order. Damaged or absent files of one entry never stop the others."""
    return [_Collector(params, entry).outcome() for entry in params.entries.values()]


class _Collector:
    """Reads the stages of one entry in order, and remembers why one is not complete."""

    def __init__(self, params: Params, entry: Entry) -> None:
        self.params = params
        self.entry = entry
        self.run = params.run(entry.name)
        self.reasons: list[str] = []
        self.absent: list[str] = []

    def outcome(self) -> Outcome:
        model = self.model()
        if model is None:
            return Outcome(self.entry, None, None, None, None, None, None, self.all_reasons())
        training = self.stage("train", lambda: _training(self.run), self.outdated_training)
        # A stage whose inputs are gone or out of date shows the results of an earlier state: it does not count.
        sampling = visuals = likelihood = quality = None
        if training is not None:
            sampling = self.stage("sample", lambda: _sampling(self.run, SPECS[self.entry.dataset]), self.outdated_sampling)
            visuals = self.stage("visuals", lambda: _visuals(self.run / "visuals"))
            likelihood = self.record("score_likelihood", "likelihood.json", partial(outdated_likelihood, self.params, self.entry))
        if sampling is not None:
            quality = self.record("score_samples", "quality.json", partial(outdated_quality, self.params))
        return Outcome(self.entry, model, training, sampling, visuals, likelihood, quality, self.all_reasons())

    def model(self) -> type[GenerativeModel] | None:
        try:
            return model_class(self.entry.model)
        except (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError) as error:
            # What a model file under construction raises when it is imported; the other entries are still reported.
            self.reasons.append(f"model {self.entry.model!r} cannot be imported: {error}")
            return None

    def outdated_training(self, training: Training) -> str | None:
        return outdated_training(self.entry, self.run / "weights.safetensors", training.provenance)

    def outdated_sampling(self, sampling: Sampling) -> str | None:
        return outdated_sampling(self.params, self.entry, sampling.info, len(sampling.images))

    def record(self, stage: str, file: str, outdated: Callable[[Record], str | None]) -> Record | None:
        return self.stage(stage, lambda: _record(self.run / file, self.entry), outdated)

    def stage(self, name: str, read: Callable[[], T], outdated: Callable[[T], str | None] = lambda value: None) -> T | None:
        """What ``read`` returns; None if it cannot be read, or if ``outdated`` says in what it differs from params.yaml."""
        try:
            value = read()
            difference = outdated(value)
            if difference is None:
                return value
            self.reasons.append(f"{name} is out of date: {difference}; {self.failure(name) or f'run `{self.command}`'}")
        except FileNotFoundError as error:
            failure = self.failure(name)
            if failure is not None:
                self.reasons.append(failure)
            else:
                self.absent.append(self.relative(error.filename or str(error)))
        except ValueError as error:
            self.reasons.append(f"{name}: {self.relative(str(error))}")
        return None

    def failure(self, stage: str) -> str | None:
        """The error that the stage, or one that it waits for, left behind."""
        dataset = self.entry.dataset
        places = [(stage, self.params.status(self.entry.name, stage))]
        places += [(f"{ahead} of {dataset}", self.params.status(dataset, ahead)) for ahead in _AHEAD[stage]]
        places.append(("code", self.params.status("all", "code")))
        for what, path in places:
            if path.is_file():
                return f"{what} {self.relative(in_words(path))}"
        return None

    def all_reasons(self) -> tuple[str, ...]:
        """The reasons, with one line for all absent files."""
        reasons = tuple(dict.fromkeys(self.reasons))  # stages may wait for the same one
        if not self.absent:
            return reasons
        verb = "is" if len(self.absent) == 1 else "are"
        return (*reasons, f"{' and '.join(self.absent)} {verb} not there; run `{self.command}`")

    @property
    def command(self) -> str:
        """What brings the entry up to date."""
        profile = "" if self.params.profile == "quick" else f" --profile {shlex.quote(self.params.profile)}"
        return f"genbench run{profile} --entries {shlex.quote(self.entry.name)}"

    def relative(self, text: str) -> str:
        """Paths below the project's root are shown from there, so that the page says the same wherever it is made."""
        return text.replace(f"{self.params.root}/", "")


def _need(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    return path


def _training(run: Path) -> Training:
    _need(run / "weights.safetensors")
    path = _need(run / "history.csv")
    try:
        history = pd.read_csv(path)
        numbers = history.apply(pd.to_numeric)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if "step" not in numbers:
        raise UserError(f"{path} is damaged: no column 'step'")
    cost = read_checked(_need(run / "cost.json"), "cost")
    return Training(cost, read_checked(_need(run / "provenance.json"), "provenance"), numbers)


def _sampling(run: Path, spec: DataSpec) -> Sampling:
    info = read_checked(_need(run / "sampling.json"), "sampling")
    path = _need(run / "samples.npz")
    arrays = read_npz(path)
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None or images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (spec.height, spec.width) or not len(images):
        got = "no array 'images'" if images is None else f"{images.dtype} {images.shape}"
        raise UserError(f"{path}: images must be uint8 (n, {spec.height}, {spec.width}), got {got}")
    if int(images.max()) >= spec.levels:
        raise UserError(f"{path}: images must have levels 0..{spec.levels - 1}, got {int(images.max())}")
    if labels is not None and labels.shape != (len(images),):
        raise UserError(f"{path}: labels must be of shape ({len(images)},), got {labels.shape}")
    return Sampling(info, images, labels)


def _visuals(folder: Path) -> tuple[Visual, ...]:
    listed = read_checked(_need(folder / "visuals.json"), "visuals")
    return tuple(
        Visual(item["file"], item["kind"], item["title"], item["caption"], _need(folder / item["file"]).read_bytes()) for item in listed
    )


def _record(path: Path, entry: Entry) -> Record:
    read_checked(_need(path), "record")
    record = read_record(path)
    if record.entry != entry.name:
        raise UserError(f"{path} is the record of {record.entry!r}; delete it and score {entry.name!r} again")
    return record
