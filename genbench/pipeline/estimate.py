"""What a run will do and how long that takes here, said before it begins.

From what the same stages took on this machine before, or else from the committed costs of a
reference machine, scaled by how fast both compute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import DATASET_STAGES, ENTRY_STAGES, STAGES, before
from genbench.files import as_json, read_json
from genbench.hardware.kind import in_words, kind_of
from genbench.hardware.speed import relative_time, speeds
from genbench.pipeline.costs import read_costs
from genbench.pipeline.dvc_lock import files_in, stages_in
from genbench.pipeline.fingerprints import fingerprint_files

__all__ = [
    "REFERENCE",
    "Estimate",
    "announce",
    "duration",
    "estimate",
    "how_long",
    "reference",
    "stages_to_run",
    "whole",
]

REFERENCE = Path("benchmarks") / "results" / "costs.json"
"""Costs of whole profiles on a reference machine, by benchmarks/costs.py; below the project's root.
"""

SECONDS_PER_STAGE = 1.2
"""What DVC and the start of a process take for each stage, beside the stage itself: 285 s of
`smoke` were 96 s in its 164 stages.
"""

Stage = tuple[str, str]
"""Name and key: an entry, or a data set."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long stages take.

    Attributes:
        seconds: of those whose cost is known.
        known: how many these are.
        unknown: the others.
        measured: how many of the known were run on this kind of machine before; the others are
            scaled from the reference.
    """

    seconds: float
    known: int
    unknown: tuple[Stage, ...]
    measured: int


def whole(params: Params, names: Collection[str] | None = None) -> list[Stage]:
    """All stages of a profile that take time, or those of some of its entries with what they need,
    in the order of a run.
    """
    entries = [entry for entry in params.entries.values() if names is None or entry.name in names]
    datasets = [name for name in params.datasets if any(entry.dataset == name for entry in entries)]
    shared = [(stage, name) for stage in DATASET_STAGES for name in datasets]
    return shared + [(stage, entry.name) for entry in entries for stage in ENTRY_STAGES]


def stages_to_run(params: Params, names: Collection[str] | None = None) -> list[Stage]:
    """The stages of :func:`whole` that are not up to date, as far as dvc.lock and the fingerprints
    tell.

    One is up to date if dvc.lock has it with its present fingerprint and with the outputs of other
    stages as the lock has those, if its own outputs exist, and if the stages that it reads from are
    up to date. DVC also compares the files' content, and may find results in its cache.
    """
    layout = Layout.of(params)
    recorded, now = stages_in(layout.dvc_lock), _fingerprints(params)
    made = {
        out.get("path"): out.get("md5")
        for stage in recorded.values()
        for out in files_in(stage, "outs")
    }
    stale: set[Stage] = set()
    for stage, key in whole(params, names):
        fingerprint = layout.fingerprint(key, stage)
        own = fingerprint.relative_to(params.root).as_posix(), now[fingerprint]
        lock = recorded.get(f"{stage}@{key}")
        is_current = _is_current(params.root, lock, own, made)
        if not is_current or not stale.isdisjoint(_before(params, stage, key)):
            stale.add((stage, key))
    return [stage for stage in whole(params, names) if stage in stale]


def _before(params: Params, stage: str, key: str) -> list[Stage]:
    """The stages whose outputs a stage reads, each with its entry or data set."""
    dataset = params.entries[key].dataset if STAGES[stage].per == "entry" else key
    return [(name, key if STAGES[name].per == "entry" else dataset) for name in before(stage)]


def _fingerprints(params: Params) -> dict[Path, str]:
    """Fingerprint → the MD5 that DVC gives its file, whether that is written or not."""
    return {
        path: hashlib.md5(as_json(content).encode(), usedforsecurity=False).hexdigest()
        for path, content in fingerprint_files(params).items()
    }


def _is_current(root: Path, recorded: Any, own: tuple[str, str], made: Mapping[Any, Any]) -> bool:
    """Whether what dvc.lock says of a stage is still so.

    Arguments:
        root: the project.
        recorded: what dvc.lock says of it; None if nothing.
        own: path and MD5 of its fingerprint.
        made: path → MD5 of all outputs in dvc.lock.
    """
    deps = {dep.get("path"): dep.get("md5") for dep in files_in(recorded, "deps")}
    outs = [out.get("path") for out in files_in(recorded, "outs")]
    path, md5 = own
    if not outs or deps.get(path) != md5:
        return False
    same = all(made[path] == md5 for path, md5 in deps.items() if path in made)
    return same and all((root / str(out)).exists() for out in outs)


def estimate(
    params: Params, stages: Sequence[Stage], own_speeds: Mapping[str, Mapping[str, float]]
) -> Estimate:
    """How long stages take on this machine.

    Arguments:
        params: the profile.
        stages: which ones.
        own_speeds: this machine's :func:`genbench.hardware.speed.speeds` in the precisions that
            it computes natively.
    """
    measured = _own_costs(params)
    recorded = reference(params, "bfloat16" if "bfloat16" in own_speeds else "float32")
    theirs: Mapping[str, float] = {}
    scale = 0.0
    if recorded is not None:
        precision = recorded["precision"]
        scale = relative_time(own_speeds[precision], recorded["speeds"][precision])
        theirs = recorded["seconds"]
    seconds, unknown = 0.0, []
    for stage, key in stages:
        if (stage, key) in measured:
            seconds += measured[stage, key]
        elif f"{stage}@{key}" in theirs:
            seconds += scale * theirs[f"{stage}@{key}"]
        else:
            unknown.append((stage, key))
    own = sum(stage in measured for stage in stages)
    return Estimate(seconds, len(stages) - len(unknown), tuple(unknown), own)


def _own_costs(params: Params) -> dict[Stage, float]:
    """Seconds of stages that were run here, by the same fingerprint, on this kind of processor and
    with as many threads: the last of each.
    """
    lines = read_costs(params)
    if not lines:
        return {}  # fingerprints take a second
    layout, now = Layout.of(params), _fingerprints(params)
    kind, result = _kind(params), {}
    for line in lines:
        stage, key = line["stage"], line["key"]
        if stage not in STAGES:
            continue  # of an earlier version
        same_sources = line.get("fingerprint") == now.get(layout.fingerprint(key, stage), "")
        same_threads = line.get("threads") == params.compute.threads
        if same_sources and same_threads and line.get("kind", kind) == kind:
            result[stage, key] = float(line["seconds"])
    return result


def reference(params: Params, precision: str) -> Mapping[str, Any] | None:
    """The reference machine's costs of a profile in a precision, or else in the other one; None if
    it was never run there.
    """
    try:
        costs = read_json(params.root / REFERENCE)["profiles"].get(params.profile, {})
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    for name in (precision, "float32"):
        if name in costs:
            return {**costs[name], "precision": name}
    return None


def _kind(params: Params) -> dict[str, Any]:
    import torch

    return kind_of(torch.device(params.compute.device), params.compute.isa).record()


def announce(
    params: Params, names: Collection[str] | None = None, *, force: bool = False
) -> str | None:
    """What a run of these entries will do here, in a sentence; None if all is up to date and not to
    be run by force.
    """
    stages = whole(params, names) if force else stages_to_run(params, names)
    if not stages:
        return None
    entries = len({key for stage, key in stages if stage in ENTRY_STAGES})
    whose = f"{entries} entr{'y' if entries == 1 else 'ies'}"
    return f"{params.profile}: {len(stages)} stages of {whose} to run, {how_long(params, stages)}"


def how_long(
    params: Params,
    stages: Sequence[Stage],
    own_speeds: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """``about 95 min with 2 threads on AMD, AVX2, where precision: auto is float32, since bfloat16
    is not native``.
    """
    if params.compute.device != "cpu":
        return f"on {params.compute.device}; how long that takes is not known"
    threads = params.compute.threads
    own_speeds = speeds(threads) if own_speeds is None else own_speeds
    found = estimate(params, stages, own_speeds)
    where = f"with {threads} thread{'s' if threads != 1 else ''} on {in_words(_kind(params))}"
    if "bfloat16" not in own_speeds:
        where += ", where precision: auto is float32, since bfloat16 is not native"
    if not found.known:
        return f"{where}; how long that takes is not known, since this profile was never run"
    left_out = f", and {len(found.unknown)} stages of unknown cost" if found.unknown else ""
    return f"{duration(found.seconds + SECONDS_PER_STAGE * len(stages))}{left_out} {where}"


def duration(seconds: float) -> str:
    """``about 95 min``, ``about 40 s``, ``about 15 h``: no more digits than an estimate has."""
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    minutes = seconds / 60
    if minutes < 180:
        return f"about {round(minutes) if minutes < 20 else 5 * round(minutes / 5)} min"
    return f"about {minutes / 60:.0f} h"
