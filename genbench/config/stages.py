"""The stages of the pipeline: what each is run for, reads, writes and depends on.

dvc.yaml says the same to DVC, and a test compares the two. Everything else that needs to know it
asks this table, and what follows from it alone. No stage of an entry imports it: a further stage
moves no fingerprint of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["DATASET_STAGES", "ENTRY_STAGES", "STAGES", "Stage", "before", "maker"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: a file ``pipelines/<name>.py``, a stage of dvc.yaml and a command of the same name.

    Files and folders are named as in :class:`genbench.config.layout.Layout` and
    :class:`genbench.config.layout.RunDir`.

    Attributes:
        name: what it is called.
        per: whether there is one for each entry, for each data set, or for the whole profile.
        reads: what it reads, besides the fingerprint of its own sources and parameters.
        writes: what it writes.
        borrows: further places that it may use, in which DVC does not look for changes.
        timed: of what it writes, what holds times or the machine, and so differs from run to run.
        entry_keys: keys of its entry that it depends on.
        protocol_keys: keys of ``protocol`` that it depends on.
        profile_keys: keys of the params file that it depends on as a whole.
        runs_model: whether it runs the code of its entry's model.
        computes: whether it computes on the device, so that its time depends on that.
        resumes: whether it keeps unfinished work, with which a killed one goes on.
    """

    name: str
    per: Literal["entry", "dataset", "profile"]
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    borrows: tuple[str, ...] = ()
    timed: tuple[str, ...] = ()
    entry_keys: tuple[str, ...] = ()
    protocol_keys: tuple[str, ...] = ()
    profile_keys: tuple[str, ...] = ()
    runs_model: bool = False
    computes: bool = False
    resumes: bool = False

    @property
    def command(self) -> str:
        """The command of genbench that runs it."""
        return self.name.replace("_", "-")


_TABLE = (
    Stage(
        "fingerprints",
        per="profile",
        reads=("package", "stage_functions"),
        writes=("fingerprints",),
        profile_keys=("compute", "defaults", "entries", "datasets", "metrics", "protocol"),
    ),
    Stage("prepare", per="dataset", writes=("data",), borrows=("raw",)),
    Stage(
        "features",
        per="dataset",
        reads=("data",),
        writes=("features",),
        protocol_keys=("feature_reference_images",),
        computes=True,
    ),
    Stage(
        "train",
        per="entry",
        reads=("data",),
        writes=("weights", "history", "cost", "provenance"),
        timed=("history", "cost", "provenance"),
        entry_keys=("model", "dataset", "seed", "arch", "train"),
        runs_model=True,
        computes=True,
        resumes=True,
    ),
    Stage(
        "sample",
        per="entry",
        reads=("weights",),
        writes=("samples", "sampling"),
        timed=("sampling",),
        entry_keys=("model", "dataset", "seed", "sample"),
        protocol_keys=("samples", "sample_chunk"),
        runs_model=True,
        computes=True,
        resumes=True,
    ),
    Stage(
        "pictures",
        per="entry",
        reads=("data", "weights"),
        writes=("pictures",),
        entry_keys=("model", "dataset", "seed", "sample"),
        runs_model=True,
        computes=True,
    ),
    Stage(
        "score_likelihood",
        per="entry",
        reads=("data", "weights"),
        writes=("likelihood", "nats"),
        entry_keys=("model", "dataset", "seed", "score"),
        protocol_keys=("likelihood_images",),
        runs_model=True,
        computes=True,
        resumes=True,
    ),
    Stage(
        "score_samples",
        per="entry",
        reads=("features", "samples"),
        writes=("quality",),
        # For the Inception scores, which DVC does not ask for, and for the pixels of the images
        # that the features are of.
        borrows=("data",),
        entry_keys=("dataset",),
        profile_keys=("metrics",),
        computes=True,
    ),
    Stage(
        "probe",
        per="entry",
        reads=("data", "weights", "samples", "likelihood", "nats"),
        writes=("probe", "neighbours"),
        entry_keys=("model", "dataset", "seed", "train", "score"),
        protocol_keys=("likelihood_images", "memorisation"),
        runs_model=True,
        computes=True,
    ),
    Stage(
        "report",
        per="profile",
        reads=("runs",),
        writes=("report",),
        profile_keys=("defaults", "entries", "metrics", "protocol"),
    ),
    Stage(
        "track",
        per="profile",
        reads=("report", "runs"),
        writes=("receipt",),
        profile_keys=("defaults", "entries", "metrics", "protocol"),
    ),
)

STAGES: Mapping[str, Stage] = MappingProxyType({stage.name: stage for stage in _TABLE})
"""All stages by name, in the order in which they run."""


def maker(part: str) -> str | None:
    """The stage that writes a file or folder; None for what no stage writes."""
    return next((stage.name for stage in _TABLE if part in stage.writes), None)


def before(name: str) -> tuple[str, ...]:
    """The stages whose outputs a stage reads."""
    makers = dict.fromkeys(maker(part) for part in STAGES[name].reads)
    return tuple(stage for stage in makers if stage is not None)


def _per(kind: str) -> Iterator[str]:
    return (stage.name for stage in _TABLE if stage.per == kind)


ENTRY_STAGES = tuple(_per("entry"))
"""Names of the stages of an entry, in their order."""

DATASET_STAGES = tuple(_per("dataset"))
"""Names of the stages of a data set, in their order."""
