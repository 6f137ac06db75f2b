"""The report of a run while it lasts, outside git: ``.status/<profile>/live/index.html``."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime

from genbench.config.further_seeds import seeds_of
from genbench.config.layout import BEAT, Layout
from genbench.config.params import Params
from genbench.disk import told
from genbench.files import write_text
from genbench.pipeline.board import summary
from genbench.pipeline.watch import EntryState, RunState, look, read_plan
from genbench.processes.tether import tethered

__all__ = ["LivePage", "write_live_page"]

_SHARE = 50
"""Times its own duration that must lie between two pages: 2 % of one core."""


_BEAT = 30.0  # seconds between two words to the page that the run lasts
_OVER = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="20; url={report}">
<title>genbench</title>
<p>{now}: the run is over. Its report: <a href="{report}">{report}</a></p>
"""


class LivePage:
    """Renews the page when entries have finished, by a process of its own. If it cannot, that is
    said once: a run does not end for what is only looked at.

    Arguments:
        params: the profile.
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Layout.of(params).live
        self._begun = self._next = self._next_beat = 0.0
        self._shown = -1
        self._has_told = False

    def renew(self, state: RunState) -> None:
        """Start to write the page anew if there is more to show, and it is time; in between the
        page is told how far the run is, and that it lasts.
        """
        with self._telling_once():
            self._renew(state)

    def close(self) -> None:
        """Stop writing; who looks at the page is led to the report, which is written next."""
        with self._telling_once():
            self._close()

    def _renew(self, state: RunState) -> None:
        now = time.monotonic()
        if now >= self._next_beat and self._folder.is_dir():
            self._next_beat = now + _BEAT
            write_text(self._folder / BEAT, _beat(summary(state)))
        if self._process is not None and self._process.poll() is not None:
            self._next = now + _SHARE * (now - self._begun)
            self._process = None
        finished = sum(entry.state in ("done", "failed") for entry in state.entries)
        if self._process is None and finished != self._shown and now >= self._next:
            self._shown, self._begun = finished, now
            command = tethered("genbench", ["report", "--live", "--profile", self._params.profile])
            self._process = subprocess.Popen(
                command,
                cwd=self._params.root,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def _close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        profile = seeds_of(self._params) or self._params.profile
        report_page = Layout(self._params.root, profile).report.page
        page = self._folder / report_page.name
        if page.is_file():
            report = os.path.relpath(report_page, self._folder)
            write_text(page, _OVER.format(report=report, now=_now()))

    @contextlib.contextmanager
    def _telling_once(self) -> Iterator[None]:
        """Tell the first error of the file system, or of a process that cannot be started."""
        try:
            yield
        except OSError as error:
            if not self._has_told:
                print(f"the live page is not renewed: {told(error)}", file=sys.stderr, flush=True)
            self._has_told = True


def write_live_page(params: Params) -> bool:
    """Write the page of the present run, or of the last one; whether there was any."""
    from genbench.files import replace_directory
    from genbench.report.build import write_report

    plan = read_plan(params)
    if plan is None:
        return False
    state = look(params, plan)
    waiting = {entry.entry: _reason(entry, state) for entry in state.entries}
    reasons = {name: reason for name, reason in waiting.items() if reason}
    with replace_directory(Layout.of(params).live) as folder:
        write_report(params, folder, notice=_notice(state), reasons=reasons)
        write_text(folder / BEAT, _beat(_notice(state)) if state.alive else "")
    return True


def _beat(told: str) -> str:
    """A script that tells the page how far the run is, and when that was."""
    return f"genbenchRuns({time.time():.0f}, {json.dumps(told)})\n"


def _notice(state: RunState) -> str:
    over = state.done == state.total
    return f"{_now()}: {'the run has ended' if over else summary(state)}"


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _reason(entry: EntryState, state: RunState) -> str:
    """Why an entry that is not finished is missing; empty for one that is."""
    if entry.state in ("done", "failed"):
        return ""
    if not state.alive:
        return "interrupted"
    if entry.state == "waiting":
        return "waiting"
    running = [stage.stage for stage in entry.stages if stage.state == "running"]
    return f"running: {running[0]}" if running else "running"
