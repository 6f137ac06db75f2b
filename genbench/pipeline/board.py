"""What `genbench run` and `genbench status` show: on a terminal a table that lives, elsewhere a
line for each event and each minute.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import ENTRY_STAGES
from genbench.errors import UserError
from genbench.files import read_json
from genbench.pipeline.estimate import duration
from genbench.pipeline.watch import (
    EntryState,
    Plan,
    RunState,
    StageState,
    is_at_work,
    look,
    read_plan,
)

__all__ = ["Board", "lines", "show_status", "summary", "table"]

_HEADS = {
    "train": "train",
    "sample": "sample",
    "pictures": "pictures",
    "score_likelihood": "likelihood",
    "score_samples": "samples",
    "probe": "probes",
}
_EVERY = 60.0  # seconds between two lines that only say how far it is
_REFRESH = 1.0  # seconds between two looks at the disk, at least
_SHARE = 20  # times its own duration that lie between two looks


class Board:
    """Shows a run while it lasts.

    Arguments:
        params: the profile.
        plan: what the run is to do.
    """

    def __init__(self, params: Params, plan: Plan) -> None:
        self._params, self._plan = params, plan
        self._console = Console()
        self._live: Live | None = None
        self._next, self._told = 0.0, time.monotonic()
        self._done: dict[str, EntryState] = {}
        self._known: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Board:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.show(at_once=True)
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def show(self, *, at_once: bool = False) -> RunState | None:
        """Look how far it is, not more than once a second, and show what is new."""
        now = time.monotonic()
        if not at_once and now < self._next:
            return None
        state = look(self._params, self._plan, alive=True, known=self._done)
        lasted = time.monotonic() - now
        self._next = now + max(_REFRESH, _SHARE * lasted)
        if self._live is not None:
            self._live.update(table(self._params, state), refresh=True)
            return state
        for told in self._events(state):
            print(told, flush=True)
            self._told = now
        if now - self._told >= _EVERY:
            self._told = now
            for told in lines(state):
                print(told, flush=True)
        return state

    def _events(self, state: RunState) -> list[str]:
        """What has happened since the last look, a line each."""
        found = []
        for entry in state.entries:
            for stage in entry.stages:
                key = entry.entry, stage.stage
                before = self._known.get(key, "waiting")
                self._known[key] = stage.state
                if stage.state not in (before, "running", "waiting"):
                    told = f"{stage.stage} {entry.entry}: {_outcome(stage)}"
                    found.append(f"{told}; {summary(state)}")
        return found


def _outcome(stage: StageState) -> str:
    if stage.state == "done":
        return "done" if stage.seconds is None else f"done in {stage.seconds:.0f} s"
    return f"{stage.state}: {stage.reason}" if stage.reason else stage.state


def summary(state: RunState) -> str:
    """``37 of 155 stages, about 12 min left``; where a cluster decides how many entries run at
    once, with how many do now.
    """
    told = f"{state.done} of {state.total} stages"
    if state.done == state.total:
        return told
    if not state.alive:
        jobs = state.jobs.told()
        left = f"; {jobs}" if jobs else ""
        return f"{told}, interrupted{left}: `{state.plan.command}` goes on from there"
    if state.seconds_left is not None:
        shared = "" if state.plan.at_once else f" with {state.at_once} at once"
        return f"{told}, {duration(state.seconds_left)} left{shared}"
    if state.rest is not None:
        return f"{told}, {duration(sum(state.rest))} of computing left"
    return told


def lines(state: RunState) -> list[str]:
    """How far a run is, in plain lines: each entry that is running, and the whole."""
    running = [
        f"  {stage.stage} {entry.entry}{_progress(stage)}"
        for entry in state.entries
        for stage in entry.stages
        if stage.state == "running"
    ]
    failed = [
        f"  {stage.stage} {entry.entry} failed: {stage.reason}"
        for entry in state.entries
        for stage in entry.stages
        if stage.state == "failed"
    ]
    whose = f"on {state.plan.where}: " if state.alive else ""
    return [f"{whose}{summary(state)}", *running, *failed]


def _progress(stage: StageState) -> str:
    told = stage.progress
    if not told:
        return ""
    values = f", {told['values']}" if told.get("values") else ""
    left = told.get("seconds_left")
    rest = f", {duration(left)} left" if isinstance(left, int | float) else ""
    return f": {told.get('done')}/{told.get('total')} {told.get('unit')}{values}{rest}"


def table(params: Params, state: RunState, *, height: int | None = None) -> Table:
    """How far a run is: a row for each entry, as many as the terminal has room for.

    Arguments:
        params: the profile.
        state: of the run.
        height: rows of the terminal; None asks it.
    """
    room = (height or shutil.get_terminal_size((80, 40)).lines) - 6
    caption = escape(summary(state))  # the command in it may have brackets
    shown = Table(box=None, caption=caption, caption_justify="left", pad_edge=False)
    shown.add_column("entry", no_wrap=True)
    for stage in ENTRY_STAGES:
        shown.add_column(_HEADS[stage], justify="right", no_wrap=True)
    shown.add_column("bits/dim", justify="right", no_wrap=True, min_width=len("bits/dim"))
    shown.add_column("FID", justify="right", no_wrap=True, min_width=5)
    shown.add_column("now", no_wrap=True, overflow="ellipsis", ratio=1)
    chosen = _chosen(state.entries, room)
    for entry in chosen:
        by_stage = {stage.stage: stage for stage in entry.stages}
        cells = [_cell(by_stage.get(stage)) for stage in ENTRY_STAGES]
        shown.add_row(entry.entry, *cells, *_scores(params, entry), _now(entry))
    if len(chosen) < len(state.entries):
        shown.add_row(f"… {len(state.entries) - len(chosen)} more", style="dim")
    return shown


def _chosen(entries: Sequence[EntryState], room: int) -> list[EntryState]:
    """The entries that there is room for: those that are running or failed before those that are
    done, the last of these before the others, and then those that wait; in their order.
    """
    if len(entries) <= room:
        return list(entries)
    importance = {"running": 0, "failed": 1, "done": 2, "waiting": 3}
    numbered = list(enumerate(entries))
    numbered.sort(
        key=lambda pair: (
            importance[pair[1].state],
            -pair[0] if pair[1].state == "done" else pair[0],
        )
    )
    return [entry for _, entry in sorted(numbered[: max(1, room - 1)], key=lambda pair: pair[0])]


def _cell(stage: StageState | None) -> str:
    if stage is None or stage.state == "kept":
        return "[dim]kept[/dim]"
    if stage.state == "running":
        total = stage.progress.get("total")
        share = f"{100 * stage.progress['done'] // total} %" if total else "running"
        return f"[yellow]{share}[/yellow]"
    if stage.state == "done":
        seconds = stage.seconds
        return "[green]done[/green]" if seconds is None else f"[green]{seconds:.0f} s[/green]"
    return {"failed": "[red]failed[/red]", "skipped": "[dim]–[/dim]"}.get(stage.state, "")


def _now(entry: EntryState) -> str:
    for stage in entry.stages:
        if stage.state == "running":
            return f"{stage.stage}{_progress(stage)}".replace("[", r"\[")
        if stage.state == "failed":
            return f"[red]{stage.reason}[/red]" if "[" not in stage.reason else stage.reason
    return ""


def _scores(params: Params, entry: EntryState) -> tuple[str, str]:
    """Bits per dimension and FID of an entry whose stages have run, or need not run."""
    run_dir, over = Layout.of(params).run_dir(entry.entry), {s.stage: s.state for s in entry.stages}
    return (
        _metric(run_dir.likelihood, "bits_per_dim", over.get("score_likelihood"), "{:.3f}"),
        _metric(run_dir.quality, "fid_mnist", over.get("score_samples"), "{:.2f}"),
    )


def _metric(path: Any, key: str, state: str | None, form: str) -> str:
    if state not in (None, "done", "kept"):
        return ""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return form.format(float(read_json(path)["metrics"][key]["value"]))
    return ""


def show_status(params: Params, *, watch: bool = False) -> None:
    """Print how far the present run of a profile is, or how far the last one got.

    Arguments:
        params: the profile.
        watch: go on until it has ended.

    Raises:
        UserError: there was none.
    """
    plan = read_plan(params)
    if plan is None:
        raise UserError(
            f"{params.profile} has not been run here; genbench run --profile {params.profile}"
        )
    state = look(params, plan)
    if watch and state.alive:
        with Board(params, plan) as board:
            while is_at_work(params):
                board.show()
                time.sleep(_REFRESH)
        return
    console = Console()
    if console.is_terminal:
        console.print(table(params, state))
        return
    for told in lines(state):
        print(told)
