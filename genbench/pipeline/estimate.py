"""What a run will do and how long that takes here, said before it begins.

From what the same stages took on this machine before, or else from the committed costs of a
reference machine, scaled by how fast both compute.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genbench.config.further_seeds import FurtherSeeds, seeds_of
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import ENTRY_STAGES, STAGES
from genbench.files import read_json
from genbench.hardware.kind import in_words, kind_of
from genbench.hardware.speed import Speeds, relative_time
from genbench.pipeline.costs import read_costs
from genbench.pipeline.pending import Stage, fingerprint_md5s, stages_to_run, whole

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
]

REFERENCE = Path("benchmarks") / "results" / "costs.json"
"""Costs of whole profiles on a reference machine, by benchmarks/costs.py; below the project's root.
"""

SECONDS_PER_ENTRY = 1.0
"""What the start of a process and DVC's books take for each entry, beside its stages."""


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
    scaled = _scaled(params, [stage for stage in stages if stage not in measured], own_speeds)
    each = {
        stage: known[stage] for known in (measured, scaled) for stage in stages if stage in known
    }
    unknown = tuple(stage for stage in stages if stage not in each)
    return Estimate(each, unknown, sum(stage in measured for stage in stages))


def _scaled(
    params: Params, stages: Sequence[Stage], own_speeds: Mapping[str, Mapping[str, float]]
) -> dict[Stage, float]:
    """Seconds of those stages that the reference machine has run, scaled to this one. How fast that
    is takes seconds to measure, and is asked only if there are any.
    """
    recorded = reference(params, "bfloat16" if "bfloat16" in own_speeds else "float32")
    theirs = {} if recorded is None else recorded["seconds"]
    repeated = params.repeated if isinstance(params, FurtherSeeds) else {}
    names = {(stage, key): f"{stage}@{repeated.get(key, key)}" for stage, key in stages}
    known = {stage: theirs[name] for stage, name in names.items() if name in theirs}
    if recorded is None or not known:
        return {}
    precision = recorded["precision"]
    scale = relative_time(own_speeds[precision], recorded["speeds"][precision])
    return {stage: scale * seconds for stage, seconds in known.items()}


def _own_costs(params: Params) -> dict[Stage, float]:
    """Seconds of stages that were run here, by the same fingerprint, on this kind of processor and
    with as many threads: the last of each.
    """
    lines = read_costs(params)
    if not lines:
        return {}  # fingerprints take a second
    layout, now = Layout.of(params), fingerprint_md5s(params)
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
    """The reference machine's costs of a profile, or of the one whose entries it repeats, in a
    precision, or else in the other one; None if it was never run there.
    """
    profile = seeds_of(params) or params.profile
    try:
        costs = read_json(params.root / REFERENCE)["profiles"].get(profile, {})
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
    """What a run of these entries will do here, as many at once, or 0 where a cluster decides that;
    ``now`` as for :func:`stages_to_run`.
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
    own_speeds = Speeds(params.compute.threads)
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
    is not native``; the sum over all entries where a cluster decides how many run at once.
    """
    threads = params.compute.threads
    found = estimate(params, stages, own_speeds) if found is None else found
    place = f"{'' if at_once else 'nodes like this one, '}{in_words(_kind(params))}"
    where = f"with {threads} thread{'s' if threads != 1 else ''} on {place}"
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
    if not at_once:
        total = f"{duration(shared + sum(per_entry))} of computing in all{left_out} {where}"
        return f"{total}; how many entries run at once is up to the cluster"
    return f"{duration(shared + makespan(per_entry, at_once))}{left_out} {where}"


def duration(seconds: float) -> str:
    """``about 95 min``, ``about 40 s``, ``about 15 h``: no more digits than an estimate has."""
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    minutes = seconds / 60
    if minutes < 180:
        return f"about {round(minutes) if minutes < 20 else 5 * round(minutes / 5)} min"
    return f"about {minutes / 60:.0f} h"
