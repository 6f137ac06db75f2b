"""What the stages of an entry left on disk, as one value: report, tracking and `genbench info` show
what it says, and read no file themselves.

What a stage left is present, missing, outdated (a result of other parameters or inputs than those
of now) or damaged. It counts as a result only where it is present and what it was made from counts
too.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from genbench.base import GenerativeModel
from genbench.config.layout import Layout
from genbench.config.params import Entry, Params
from genbench.config.stages import ENTRY_STAGES, STAGES, before
from genbench.data.datasets import spec_of
from genbench.disk import told
from genbench.pictures.picture import Picture
from genbench.registry import model_class
from genbench.results import staleness
from genbench.results.reader import (
    Probe,
    Sampling,
    Training,
    read_pictures,
    read_probe,
    read_sampling,
    read_scores,
    read_training,
)
from genbench.results.status import in_words
from genbench.scoring.records import Record

__all__ = ["EntryResults", "Part", "State", "read_entries", "read_entry"]

T = TypeVar("T")


class State(enum.Enum):
    """What became of a stage's outputs."""

    PRESENT = "present"
    MISSING = "missing"
    OUTDATED = "outdated"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """The outputs of one stage of an entry.

    Attributes:
        state: what became of them.
        content: what they say, where they can be read; also where they are outdated.
        problem: of missing ones a file that is not there, of outdated ones in what they differ from
            what they should be, of damaged ones what is wrong; else empty.
        counts: whether they are a result: present, and made from what counts itself.
    """

    state: State
    content: T | None
    problem: str
    counts: bool

    @property
    def result(self) -> T | None:
        """The content where it counts, else None."""
        return self.content if self.counts else None


@dataclass(frozen=True, slots=True)
class EntryResults:
    """An entry with what its stages left.

    Attributes:
        entry: the entry.
        layout: the profile's places.
        model: class of its model; None where it cannot be imported, and then no part counts.
        model_problem: why it cannot; else empty.
        training, sampling, pictures, likelihood, quality, probe: the parts, in the order of their
            stages.
        status: stage → that it runs or why it failed, or the same of one that it waits for.
    """

    entry: Entry
    layout: Layout
    model: type[GenerativeModel] | None
    model_problem: str
    training: Part[Training]
    sampling: Part[Sampling]
    pictures: Part[tuple[Picture, ...]]
    likelihood: Part[Record]
    quality: Part[Record]
    probe: Part[Probe]
    status: Mapping[str, str]

    @property
    def parts(self) -> dict[str, Part[Any]]:
        """The parts by the names of their stages."""
        own = (
            self.training,
            self.sampling,
            self.pictures,
            self.likelihood,
            self.quality,
            self.probe,
        )
        return dict(zip(ENTRY_STAGES, own, strict=True))

    @property
    def conditional(self) -> bool:
        """Whether the entry's model takes labels."""
        return self.model is not None and staleness.is_conditional(self.model, self.entry)

    @property
    def complete(self) -> bool:
        """Whether all parts count."""
        return all(part.counts for part in self.parts.values())

    @property
    def begun(self) -> bool:
        """Whether any stage has left anything."""
        return bool(self.status) or any(
            part.state is not State.MISSING for part in self.parts.values()
        )

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the parts that do not count do not; empty if all do."""
        return self.why_not(ENTRY_STAGES)

    def why_not(self, stages: Collection[str]) -> tuple[str, ...]:
        """The same of some stages' parts.

        Of a part that was made from one that does not count, nothing is said: what is wrong with
        that one comes first. All absent files are in one reason.
        """
        if self.model is None:
            return (f"model {self.entry.model!r} cannot be used: {self.model_problem}",)
        reasons, absent, parts = [], [], self.parts
        for stage in stages:
            part = parts[stage]
            if not all(parts[earlier].counts for earlier in before(stage) if earlier in parts):
                continue
            failure = self.status.get(stage)
            if part.state is State.DAMAGED:
                reasons.append(f"{stage}: {part.problem}")
            elif part.state is State.OUTDATED:
                remedy = failure or f"run `{self.command}`"
                reasons.append(f"{stage} is out of date: {part.problem}; {remedy}")
            elif part.state is State.MISSING and failure is not None:
                reasons.append(failure)
            elif part.state is State.MISSING:
                absent.append(part.problem)
        if absent:
            verb = "is" if len(absent) == 1 else "are"
            reasons.append(f"{' and '.join(absent)} {verb} not there; run `{self.command}`")
        return tuple(dict.fromkeys(reasons))  # stages may wait for the same one

    @property
    def command(self) -> str:
        """What brings the entry up to date."""
        profile = self.layout.profile
        chosen = "" if profile == "quick" else f" --profile {shlex.quote(profile)}"
        return f"genbench run{chosen} --entries {shlex.quote(self.entry.name)}"


def read_entries(params: Params) -> list[EntryResults]:
    """The results of every entry of params.yaml, in its order. Damaged or absent files of one entry
    never stop the others.
    """
    return [read_entry(params, entry) for entry in params.entries.values()]


def read_entry(params: Params, entry: Entry) -> EntryResults:
    """The results of an entry, whatever state they are in."""
    layout = Layout.of(params)
    run_dir = layout.run_dir(entry.name)
    model, problem = _model(entry)
    counting: set[str] = set()

    def part(stage: str, read: Callable[[], T], outdated: Callable[[T], str | None]) -> Part[T]:
        found = _read(read, outdated)
        inputs = [earlier for earlier in before(stage) if earlier in ENTRY_STAGES]
        is_present = model is not None and found.state is State.PRESENT
        counts = is_present and counting.issuperset(inputs)
        counting.update([stage] if counts else [])
        return replace(found, problem=_relative(found.problem, layout), counts=counts)

    return EntryResults(
        entry=entry,
        layout=layout,
        model=model,
        model_problem=problem,
        training=part(
            "train",
            lambda: read_training(run_dir),
            lambda found: staleness.outdated_training(entry, found),
        ),
        sampling=part(
            "sample",
            lambda: read_sampling(run_dir, spec_of(entry.dataset)),
            lambda found: staleness.outdated_sampling(params, entry, found),
        ),
        pictures=part("pictures", lambda: read_pictures(run_dir), lambda found: None),
        likelihood=part(
            "score_likelihood",
            lambda: read_scores(run_dir.likelihood, entry.name),
            lambda found: staleness.outdated_likelihood(params, entry, found),
        ),
        quality=part(
            "score_samples",
            lambda: read_scores(run_dir.quality, entry.name),
            lambda found: staleness.outdated_quality(params, entry, found),
        ),
        probe=part(
            "probe",
            lambda: read_probe(run_dir, entry.name, spec_of(entry.dataset)),
            lambda found: staleness.outdated_probe(
                params, entry, found, control=model is not None and model.control
            ),
        ),
        status=dict(_failures(layout, entry)),
    )


def _model(entry: Entry) -> tuple[type[GenerativeModel] | None, str]:
    try:
        return model_class(entry.model), ""
    # Whatever a model's file under construction does, the other entries are still shown.
    except Exception as error:
        return None, str(error)


def _read(read: Callable[[], T], outdated: Callable[[T], str | None]) -> Part[T]:
    """A stage's outputs, by themselves."""
    try:
        content = read()
        difference = outdated(content)
    except FileNotFoundError as error:  # also of a file that DVC removes meanwhile
        return Part(State.MISSING, None, str(error.filename or error), counts=False)
    except (ValueError, OSError) as error:
        return Part(State.DAMAGED, None, told(error), counts=False)
    state = State.PRESENT if difference is None else State.OUTDATED
    return Part(state, content, difference or "", counts=False)


def _failures(layout: Layout, entry: Entry) -> Iterator[tuple[str, str]]:
    """What stages say that run or have failed: of each stage of the entry the stage itself, else
    one that it waits for.
    """
    for stage in ENTRY_STAGES:
        places = [(stage, layout.status(entry.name, stage))]
        for ahead in _of_dataset(stage):
            places.append((f"{ahead} of {entry.dataset}", layout.status(entry.dataset, ahead)))
        places.append(("fingerprints", layout.status("all", "fingerprints")))
        said = next(((what, path) for what, path in places if path.is_file()), None)
        if said is not None:
            yield stage, f"{said[0]} {_relative(in_words(said[1]), layout)}"


def _of_dataset(stage: str) -> Iterator[str]:
    """Stages of the data set that a stage reads from, the nearest first."""
    for earlier in before(stage):
        if STAGES[earlier].per == "dataset":
            yield earlier
            yield from _of_dataset(earlier)


def _relative(text: str, layout: Layout) -> str:
    """Paths below the project's root are shown from there, so that the page says the same wherever
    it is made.
    """
    return text.replace(f"{layout.root}/", "")
