"""What a run will do and how long that takes here, said before it begins.

From what the same stages took on this machine before, or else from the committed costs of a
reference machine, scaled by how fast both compute.
"""

from __future__ import annotations

import hashlib
import math
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
    "Forecast",
    "duration",
    "estimate",
    "forecast",
    "how_long",
    "in_order",
    "makespan",
    "reference",
    "stages_to_run",
    "whole",
]

REFERENCE = Path("benchmarks") / "results" / "costs.json"
"""Costs of whole profiles on a reference machine, by benchmarks/costs.py; below the project's root.
"""

SECONDS_PER_ENTRY = 1.0
"""What the start of a process and DVC's books take for each entry, beside its stages."""

Stage = tuple[str, str]
"""Name and key: an entry, or a data set."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long stages take.

    Attributes:
        each: seconds of those whose cost is known.
        unknown: the others.
        measured: how many of the known were run on this kind of machine before; the others are
            scaled from the reference.
    """

    each: Mapping[Stage, float]
    unknown: tuple[Stage, ...]
    measured: int

    @property
    def seconds(self) -> float:
        """Of all whose cost is known."""
        return sum(self.each.values())

    @property
    def known(self) -> int:
        """How many these are."""
        return len(self.each)


def whole(params: Params, names: Collection[str] | None = None) -> list[Stage]:
    """All stages of a profile that take time, or those of some of its entries with what they need,
    in the order of a run.
    """
    entries = [entry for entry in params.entries.values() if names is None or entry.name in names]
    datasets = [name for name in params.datasets if any(entry.dataset == name for entry in entries)]
    shared = [(stage, name) for stage in DATASET_STAGES for name in datasets]
    return shared + [(stage, entry.name) for entry in entries for stage in ENTRY_STAGES]


def stages_to_run(
    params: Params,
    names: Collection[str] | None = None,
    *,
    now: Mapping[Path, Any] | None = None,
) -> list[Stage]:
    """The stages of :func:`whole` that are not up to date, as far as dvc.lock and the fingerprints
    tell.

    One is up to date if dvc.lock has it with its present fingerprint and with the outputs of other
    stages as the lock has those, if its own outputs exist, and if the stages that it reads from are
    up to date. DVC also compares the files' content, and may find results in its cache.

    Arguments:
        params: the profile.
        names: which entries; None for all.
        now: its :func:`genbench.pipeline.fingerprints.fingerprint_files`; None to make them.
    """
    layout = Layout.of(params)
    recorded, md5s = stages_in(layout.dvc_lock), _fingerprints(params, now)
    made = {
        out.get("path"): out.get("md5")
        for stage in recorded.values()
        for out in files_in(stage, "outs")
    }
    stale: set[Stage] = set()
    for stage, key in whole(params, names):
        fingerprint = layout.fingerprint(key, stage)
        own = fingerprint.relative_to(params.root).as_posix(), md5s[fingerprint]
        lock = recorded.get(f"{stage}@{key}")
        is_current = _is_current(params.root, lock, own, made)
        if not is_current or not stale.isdisjoint(_before(params, stage, key)):
            stale.add((stage, key))
    return [stage for stage in whole(params, names) if stage in stale]


def _before(params: Params, stage: str, key: str) -> list[Stage]:
    """The stages whose outputs a stage reads, each with its entry or data set."""
    dataset = params.entries[key].dataset if STAGES[stage].per == "entry" else key
    return [(name, key if STAGES[name].per == "entry" else dataset) for name in before(stage)]


def _fingerprints(params: Params, now: Mapping[Path, Any] | None = None) -> dict[Path, str]:
    """Fingerprint → the MD5 that DVC gives its file, whether that is written or not."""
    return {
        path: hashlib.md5(as_json(content).encode(), usedforsecurity=False).hexdigest()
        for path, content in (fingerprint_files(params) if now is None else now).items()
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
    each = {}
    for stage, key in stages:
        if (stage, key) in measured:
            each[stage, key] = measured[stage, key]
        elif f"{stage}@{key}" in theirs:
            each[stage, key] = scale * theirs[f"{stage}@{key}"]
    unknown = tuple(stage for stage in stages if stage not in each)
    return Estimate(each, unknown, sum(stage in measured for stage in stages))


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


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run will do.

    Attributes:
        stages: that are to run, as far as dvc.lock and the fingerprints tell.
        seconds: what each is expected to take; what is not known is absent.
        text: that in a sentence.
    """

    stages: Sequence[Stage]
    seconds: Mapping[Stage, float]
    text: str


def forecast(
    params: Params,
    names: Collection[str] | None = None,
    *,
    force: bool = False,
    at_once: int = 1,
    now: Mapping[Path, Any] | None = None,
) -> Forecast:
    """What a run of these entries will do here, as many at once; ``now`` as for
    :func:`stages_to_run`.
    """
    stages = whole(params, names) if force else stages_to_run(params, names, now=now)
    if not stages:
        return Forecast((), {}, f"{params.profile}: everything is up to date")
    entries = len({key for stage, key in stages if stage in ENTRY_STAGES})
    whose = f"{entries} entr{'y' if entries == 1 else 'ies'}"
    begin = f"{params.profile}: {len(stages)} stages of {whose} to run"
    if params.compute.device != "cpu":
        return Forecast(
            stages, {}, f"{begin}, on {params.compute.device}; how long that takes is not known"
        )
    own_speeds = speeds(params.compute.threads)
    found = estimate(params, stages, own_speeds)
    told = how_long(params, stages, own_speeds, found=found, at_once=at_once)
    return Forecast(stages, found.each, f"{begin}, {told}")


def in_order(
    entries: Sequence[str], seconds: Mapping[Stage, float], controls: Collection[str] = ()
) -> list[str]:
    """Entries in the order in which they begin: the controls, then the quickest of the others, so
    that there is something to see; then the longest first, so that none is left alone at the end.
    """
    lasting = dict.fromkeys(entries, 0.0)
    for (stage, key), value in seconds.items():
        if stage in ENTRY_STAGES and key in lasting:
            lasting[key] += value
    others = [name for name in entries if name not in controls]
    quickest = min(others, key=lambda name: lasting[name] or math.inf, default=None)
    first = [] if quickest is None else [quickest]
    rest = [name for name in others if name != quickest]
    rest.sort(key=lambda name: -lasting[name])
    return [*(name for name in entries if name in controls), *first, *rest]


def makespan(seconds: Sequence[float], at_once: int) -> float:
    """How long pieces of work take that begin in this order, so many at once."""
    free = [0.0] * max(1, at_once)
    for one in seconds:
        earliest = min(range(len(free)), key=free.__getitem__)
        free[earliest] += one
    return max(free)


def how_long(
    params: Params,
    stages: Sequence[Stage],
    own_speeds: Mapping[str, Mapping[str, float]],
    *,
    found: Estimate | None = None,
    at_once: int = 1,
) -> str:
    """``about 95 min with 2 threads on AMD, AVX2, where precision: auto is float32, since bfloat16
    is not native``.
    """
    threads = params.compute.threads
    found = estimate(params, stages, own_speeds) if found is None else found
    where = f"with {threads} thread{'s' if threads != 1 else ''} on {in_words(_kind(params))}"
    if at_once > 1:
        where = f"with {at_once} entries at once, each {where}"
    if "bfloat16" not in own_speeds:
        where += ", where precision: auto is float32, since bfloat16 is not native"
    if not found.each:
        return f"{where}; how long that takes is not known, since this profile was never run"
    left_out = f", and {len(found.unknown)} stages of unknown cost" if found.unknown else ""
    keys = dict.fromkeys(key for stage, key in found.each if stage in ENTRY_STAGES)
    per_entry = [
        sum(value for stage, value in found.each.items() if stage[1] == key) + SECONDS_PER_ENTRY
        for key in in_order(list(keys), found.each)
    ]
    shared = sum(value for (stage, _), value in found.each.items() if stage not in ENTRY_STAGES)
    return f"{duration(shared + makespan(per_entry, at_once))}{left_out} {where}"


def duration(seconds: float) -> str:
    """``about 95 min``, ``about 40 s``, ``about 15 h``: no more digits than an estimate has."""
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    minutes = seconds / 60
    if minutes < 180:
        return f"about {round(minutes) if minutes < 20 else 5 * round(minutes / 5)} min"
    return f"about {minutes / 60:.0f} h"
