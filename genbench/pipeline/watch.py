"""How far a run is, read from what it leaves on disk: for the run itself, for `genbench status` in
another shell or after a reboot, and for the live page.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.files import read_json, write_json
from genbench.pipeline.chain import Chain
from genbench.pipeline.command_line import command_line
from genbench.pipeline.estimate import makespan
from genbench.pipeline.left_jobs import LeftJobs, left_jobs
from genbench.processes.at_work import at_work

__all__ = [
    "EntryState",
    "Plan",
    "RunState",
    "StageState",
    "is_at_work",
    "look",
    "read_plan",
    "run_name",
    "write_plan",
]


_RECENT = 120.0
"""Seconds for which what a stage says of its progress, every second or so, is news."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do.

    Attributes:
        begun: when, in seconds since the epoch.
        host: the machine of the run itself.
        where: what runs the entries, in words, e.g. ``2 processes``.
        at_once: how many entries run at once; 0 where that is not known.
        chains: entries and their stages to run, in the order in which they begin.
        seconds: what a stage is expected to take, by ``train@made``; what is not known is absent.
        command: by which the run goes on where it was stopped.
    """

    begun: float
    host: str
    where: str
    at_once: int
    chains: Sequence[tuple[str, Sequence[str]]]
    seconds: Mapping[str, float] = field(default_factory=dict)
    command: str = "genbench run"


def write_plan(
    params: Params,
    chains: Sequence[Chain],
    seconds: Mapping[str, float],
    *,
    where: str,
    at_once: int,
) -> Plan:
    """Note what a run is to do."""
    stages = [(chain.entry, chain.stages) for chain in chains]
    begun, command = time.time(), command_line(run_name(params.profile))
    plan = Plan(begun, platform.node(), where, at_once, stages, dict(seconds), command)
    write_json(Layout.of(params).run_plan, asdict(plan))
    return plan


def read_plan(params: Params) -> Plan | None:
    """What the present run is to do, or the last one; None if there was none."""
    try:
        return Plan(**read_json(Layout.of(params).run_plan))
    except (OSError, ValueError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class StageState:
    """How far a stage is.

    Attributes:
        stage: its name.
        state: ``waiting``, ``running``, ``done``, ``kept`` since its outputs are right, ``failed``,
            or ``skipped`` since what it reads failed.
        seconds: what it took, of one that is done.
        progress: of one that is running and says how far it is, fields of
            :class:`genbench.progress.State`.
        reason: of one that failed.
    """

    stage: str
    state: str
    seconds: float | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EntryState:
    """An entry and its stages of this run, in order."""

    entry: str
    stages: tuple[StageState, ...]

    @property
    def state(self) -> str:
        """``waiting``, ``running``, ``done`` or ``failed``."""
        states = {stage.state for stage in self.stages}
        if "running" in states:
            return "running"
        if states <= {"done", "kept"}:
            return "done"
        if states <= {"done", "kept", "failed", "skipped"}:
            return "failed"
        return "waiting" if states == {"waiting"} else "running"


@dataclass(frozen=True, slots=True)
class RunState:
    """A run and its entries.

    Attributes:
        plan: what it is to do.
        alive: whether the run is still at work.
        entries: their states, in the order of the plan.
        rest: an estimate of the seconds of computing that each has before it; None if not known.
        jobs: of a cluster that a run which is no more at work has left.
    """

    plan: Plan
    alive: bool
    entries: tuple[EntryState, ...]
    rest: Sequence[float] | None
    jobs: LeftJobs = field(default_factory=LeftJobs)

    @property
    def at_once(self) -> int:
        """How many entries run at once: as the plan says, or where a cluster decides that, those
        that do now; 0 where none does.
        """
        return self.plan.at_once or sum(entry.state == "running" for entry in self.entries)

    @property
    def seconds_left(self) -> float | None:
        """An estimate of the time until the end, with so many at once; None if not known."""
        return makespan(self.rest, self.at_once) if self.rest is not None and self.at_once else None

    @property
    def ended(self) -> set[str]:
        """Entries that are done, or failed."""
        return {entry.entry for entry in self.entries if entry.state in ("done", "failed")}

    @property
    def done(self) -> int:
        """Stages that are over: done, failed, or skipped."""
        return sum(
            stage.state not in ("waiting", "running")
            for entry in self.entries
            for stage in entry.stages
        )

    @property
    def total(self) -> int:
        """All stages."""
        return sum(len(entry.stages) for entry in self.entries)


def is_at_work(params: Params) -> bool:
    """Whether a run of this profile lasts, on whatever machine."""
    holder = at_work(Layout.of(params).run_lock)
    return holder is not None and holder.what == run_name(params.profile)


def run_name(profile: str) -> str:
    """What a run says that it does, to those who wait for it."""
    return f"genbench run --profile {profile}"


def look(
    params: Params,
    plan: Plan,
    *,
    alive: bool | None = None,
    known: dict[str, EntryState] | None = None,
) -> RunState:
    """How far a run is now.

    Arguments:
        params: the profile.
        plan: what it is to do.
        alive: whether it is at work; None looks.
        known: entries that were seen done, which are not looked at again; those that are done now
            are added.
    """
    layout, known = Layout.of(params), {} if known is None else known
    if alive is None:
        alive = is_at_work(params)
    entries = []
    for name, stages in plan.chains:
        entry = known.get(name) or _entry(layout, plan, name, stages, alive)
        if entry.state == "done":
            known[name] = entry
        entries.append(entry)
    state = RunState(plan, alive, tuple(entries), _rest(plan, entries))
    return state if alive else replace(state, jobs=left_jobs(params).without(state.ended))


def _entry(
    layout: Layout, plan: Plan, entry: str, stages: Sequence[str], alive: bool
) -> EntryState:
    found: list[StageState] = []
    for stage in stages:
        found.append(_stage(layout, plan, entry, stage, alive))
    failed = any(stage.state == "failed" for stage in found)
    ended = failed and not any(stage.state == "running" for stage in found)
    if ended:
        found = [
            StageState(one.stage, "skipped") if one.state == "waiting" else one for one in found
        ]
    return EntryState(entry, tuple(found))


def _stage(layout: Layout, plan: Plan, entry: str, stage: str, alive: bool) -> StageState:
    receipt = _json(layout.done(entry, stage))
    seconds = receipt.get("seconds")
    if receipt.get("begun", 0.0) >= plan.begun and seconds is not None:
        return StageState(stage, "done", seconds)
    if _written(layout.done(entry, stage)) >= plan.begun:  # seen in this run to be right
        return StageState(stage, "kept")
    status = _json(layout.status(entry, stage))
    if "error" in status and _written(layout.status(entry, stage)) >= plan.begun:
        return StageState(stage, "failed", reason=str(status["error"]))
    if "process" in status:
        progress = _json(layout.progress(entry))
        own = progress if progress.get("stage") == stage else {}
        # A job of a cluster may have begun before this run, and may outlive it.
        is_recent = time.time() - _written(layout.progress(entry)) < _RECENT
        of_this_run = alive and _written(layout.status(entry, stage)) >= plan.begun
        if of_this_run or (own and is_recent):
            return StageState(stage, "running", progress=own)
    return StageState(stage, "waiting")


def _json(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text("utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def _written(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _rest(plan: Plan, entries: Sequence[EntryState]) -> list[float] | None:
    """Seconds of computing that each entry has before it: what its stages were expected to take,
    corrected by what those that are done have taken; None where that is not known.
    """
    taken = expected = 0.0
    for entry in entries:
        for stage in entry.stages:
            known = plan.seconds.get(f"{stage.stage}@{entry.entry}")
            if stage.state == "done" and stage.seconds is not None and known:
                taken, expected = taken + stage.seconds, expected + known
    slower = taken / expected if expected > 30 else 1.0
    rest = []
    for entry in entries:
        seconds = 0.0
        for stage in entry.stages:
            if stage.state not in ("waiting", "running"):
                continue
            known = plan.seconds.get(f"{stage.stage}@{entry.entry}")
            told = stage.progress.get("seconds_left")
            if isinstance(told, int | float):
                seconds += float(told)
            elif known is None:
                return None
            else:
                seconds += slower * known
        rest.append(seconds)
    return rest
