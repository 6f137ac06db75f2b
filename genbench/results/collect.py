"""What the stages of every entry left on disk; and for each stage that is not complete, the
reason.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from genbench.base import GenerativeModel
from genbench.config.params import Entry, Params
from genbench.data.datasets import spec_of
from genbench.disk import told
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
from genbench.results.status import in_words
from genbench.scoring.records import Record, Visual

__all__ = ["Outcome", "collect"]

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
class Outcome:
    """An entry with the content of its complete stages.

    Attributes:
        entry: the entry.
        model: class of its model; None where it cannot be imported, and then no stage counts.
        training, sampling, visuals, likelihood, quality: content of the stages; None where one, or
            one before it, is not complete.
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
    """The outcome of every entry of params.yaml, in its order. Damaged or absent files of one entry
    never stop the others.
    """
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
        training = self.stage("train", lambda: read_training(self.run), self.outdated_training)
        # A stage whose inputs are gone or out of date shows the results of an earlier state: it
        # does not count.
        sampling = visuals = likelihood = quality = None
        if training is not None:
            sampling = self.stage(
                "sample",
                lambda: read_sampling(self.run, spec_of(self.entry.dataset)),
                self.outdated_sampling,
            )
            visuals = self.stage("visuals", lambda: read_visuals(self.run))
            likelihood = self.record(
                "score_likelihood",
                "likelihood.json",
                partial(outdated_likelihood, self.params, self.entry),
            )
        if sampling is not None:
            quality = self.record(
                "score_samples", "quality.json", partial(outdated_quality, self.params)
            )
        return Outcome(
            self.entry, model, training, sampling, visuals, likelihood, quality, self.all_reasons()
        )

    def model(self) -> type[GenerativeModel] | None:
        try:
            return model_class(self.entry.model)
        # whatever a model file under construction does, the other entries are still reported
        except Exception as error:
            self.reasons.append(f"model {self.entry.model!r} cannot be used: {error}")
            return None

    def outdated_training(self, training: Training) -> str | None:
        return outdated_training(self.entry, training.about, training.provenance)

    def outdated_sampling(self, sampling: Sampling) -> str | None:
        return outdated_sampling(self.params, self.entry, sampling.info, len(sampling.images))

    def record(
        self, stage: str, file: str, outdated: Callable[[Record], str | None]
    ) -> Record | None:
        return self.stage(stage, lambda: read_scores(self.run, file, self.entry), outdated)

    def stage(
        self,
        name: str,
        read: Callable[[], T],
        outdated: Callable[[T], str | None] = lambda value: None,
    ) -> T | None:
        """What ``read`` returns; None if it cannot be read, or if ``outdated`` says in what it
        differs from params.yaml.
        """
        try:
            value = read()
            difference = outdated(value)
            if difference is None:
                return value
            self.reasons.append(
                f"{name} is out of date: {difference}; "
                f"{self.failure(name) or f'run `{self.command}`'}"
            )
        except FileNotFoundError as error:
            failure = self.failure(name)
            if failure is not None:
                self.reasons.append(failure)
            else:
                self.absent.append(self.relative(error.filename or str(error)))
        except (ValueError, OSError) as error:
            self.reasons.append(f"{name}: {self.relative(told(error))}")
        return None

    def failure(self, stage: str) -> str | None:
        """The error that the stage, or one that it waits for, left behind."""
        dataset = self.entry.dataset
        places = [(stage, self.params.status(self.entry.name, stage))]
        places += [
            (f"{ahead} of {dataset}", self.params.status(dataset, ahead)) for ahead in _AHEAD[stage]
        ]
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
        profile = (
            ""
            if self.params.profile == "quick"
            else f" --profile {shlex.quote(self.params.profile)}"
        )
        return f"genbench run{profile} --entries {shlex.quote(self.entry.name)}"

    def relative(self, text: str) -> str:
        """Paths below the project's root are shown from there, so that the page says the same
        wherever it is made.
        """
        return text.replace(f"{self.params.root}/", "")
