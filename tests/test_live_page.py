"""The page of a run that lasts: what is missing says why, it is renewed when entries finish but not
too often, tells that the run lasts, leads to the report afterwards, and never ends the run.
"""

from __future__ import annotations

import errno
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from genbench.config.layout import BEAT, Layout
from genbench.config.params import Params
from genbench.files import write_json
from genbench.pipeline import live_page
from genbench.pipeline.chain import Chain
from genbench.pipeline.live_page import LivePage, write_live_page
from genbench.pipeline.watch import EntryState, RunState, StageState, run_name, write_plan
from genbench.processes.lock import hold


@pytest.fixture
def written(params: Params, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the report was last asked to say; its page is a line."""
    said: dict[str, Any] = {}

    def report(params: Params, folder: Path, **options: Any) -> None:
        said.clear()
        said.update(options)
        (folder / "index.html").write_text("a page")

    monkeypatch.setattr("genbench.report.build.write_report", report)
    return said


def begin(params: Params) -> None:
    chains = [Chain(name, ("train",), {}) for name in ("made", "vae", "lstm")]
    write_plan(params, chains, {}, where="2 processes", at_once=2)
    layout = Layout.of(params)
    receipt = {"begun": time.time() + 1, "seconds": 3.0}
    write_json(layout.done("made", "train"), receipt)
    write_json(layout.status("vae", "train"), {"process": "1:2"})


def test_what_is_missing_is_running_or_waiting(params: Params, written: dict[str, Any]) -> None:
    begin(params)
    with hold(Layout.of(params).run_lock, run_name(params.profile)):
        assert write_live_page(params)
    assert written["reasons"] == {"vae": "running: train", "lstm": "waiting"}
    assert "1 of 3 stages" in written["notice"]
    said = (Layout.of(params).live / BEAT).read_text()
    found = re.fullmatch(r"genbenchRuns\((\d+), (.*)\)\n", said)
    assert found
    assert abs(int(found[1]) - time.time()) < 10
    assert "1 of 3 stages" in json.loads(found[2])


def test_once_no_run_is_at_work_it_is_interrupted(params: Params, written: dict[str, Any]) -> None:
    begin(params)
    assert write_live_page(params)
    assert written["reasons"] == {"vae": "interrupted", "lstm": "interrupted"}
    assert "interrupted" in written["notice"]
    # A run of another profile is none of this one's.
    with hold(Layout.of(params).run_lock, run_name("smoke")):
        assert write_live_page(params)
    assert written["reasons"] == {"vae": "interrupted", "lstm": "interrupted"}


def test_there_is_none_before_the_first_run(params: Params, written: dict[str, Any]) -> None:
    assert not write_live_page(params)
    assert not written


class Finished:
    """A process of the page that has ended at once."""

    def __init__(self, *_: Any, **__: Any) -> None:
        started.append(self)

    def poll(self) -> int:
        return 0

    def kill(self) -> None:
        pass

    def wait(self) -> int:
        return 0


started: list[Finished] = []


def state(params: Params, done: int) -> RunState:
    chains = [Chain(name, ("train",), {}) for name in ("a", "b", "c")]
    plan = write_plan(params, chains, {}, where="here", at_once=1)
    entries = tuple(
        EntryState(chain.entry, (StageState("train", "done" if i < done else "waiting"),))
        for i, chain in enumerate(chains)
    )
    return RunState(plan, True, entries, None)


def test_it_is_renewed_when_there_is_more_to_show_and_not_too_often(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(live_page.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(live_page.subprocess, "Popen", Finished)
    started.clear()
    page = LivePage(params)
    page.renew(state(params, 1))
    assert len(started) == 1
    now[0] += 4  # so long the writing took
    page.renew(state(params, 1))
    page.renew(state(params, 2))
    now[0] += 4 * 50 - 1
    page.renew(state(params, 2))
    assert len(started) == 1
    now[0] += 2
    page.renew(state(params, 1))
    assert len(started) == 1, "there is nothing new"
    page.renew(state(params, 2))
    assert len(started) == 2


def test_it_leads_to_the_report_when_the_run_is_over(params: Params) -> None:
    layout = Layout.of(params)
    layout.live.mkdir(parents=True)
    page = layout.live / "index.html"
    page.write_text("a page")
    LivePage(params).close()
    found = re.search(r'href="([^"]*)"', page.read_text())
    assert found
    assert (layout.live / found[1]).resolve() == layout.report.page.resolve()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.ENOMEM])
def test_what_cannot_be_written_or_started_is_said_once(
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    now = [1000.0]

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(number, "what the system says")

    monkeypatch.setattr(live_page.time, "monotonic", lambda: now[0])
    failing = "subprocess.Popen" if number == errno.ENOMEM else "write_text"
    monkeypatch.setattr(f"genbench.pipeline.live_page.{failing}", fails)
    layout = Layout.of(params)
    layout.live.mkdir(parents=True)
    (layout.live / "index.html").write_text("a page")
    page = LivePage(params)
    for done in (1, 2, 3):
        page.renew(state(params, done))
        now[0] += 60
    page.close()
    said = capsys.readouterr().err
    assert said.count("the live page is not renewed: ") == 1
    assert "what the system says" in said
