"""How far a run is, from what it leaves on disk, and how that is shown."""

from __future__ import annotations

import io
import os
import shlex
import time
from pathlib import Path

import pytest
from rich.console import Console

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import ENTRY_STAGES
from genbench.errors import UserError
from genbench.files import write_json
from genbench.launchers import slurm_programs
from genbench.pipeline.board import lines, summary, table
from genbench.pipeline.chain import Chain
from genbench.pipeline.watch import EntryState, Plan, RunState, look, read_plan, write_plan

SECONDS = {f"{stage}@made": 100.0 for stage in ENTRY_STAGES} | {"train@vae": 40.0}


@pytest.fixture
def plan(params: Params) -> Plan:
    """`made` as a whole, then the training of `vae`."""
    chains = [Chain("made", ENTRY_STAGES, {}), Chain("vae", ("train",), {})]
    return write_plan(params, chains, SECONDS, where="2 processes", at_once=2)


def finish(
    params: Params, stage: str, entry: str, seconds: float | None, *, before: float = 0.0
) -> None:
    path, later = Layout.of(params).done(entry, stage), time.time() + 1
    receipt = {"stage": stage, "entry": entry, "seconds": seconds, "begun": later - before}
    write_json(path, receipt)
    os.utime(path, (later, later))


def begin(params: Params, stage: str, entry: str) -> None:
    write_json(Layout.of(params).status(entry, stage), {"stage": stage, "process": "1:1"})


def fail(params: Params, stage: str, entry: str) -> None:
    path = Layout.of(params).status(entry, stage)
    write_json(path, {"stage": stage, "error": "no good"})
    later = time.time() + 1
    os.utime(path, (later, later))


def states(state: RunState) -> dict[str, list[str]]:
    return {entry.entry: [stage.state for stage in entry.stages] for entry in state.entries}


def test_a_plan_is_read_as_it_was_written(params: Params, plan: Plan) -> None:
    read = read_plan(params)
    assert read is not None
    assert [tuple(chain) for chain in read.chains] == [
        ("made", list(ENTRY_STAGES)),
        ("vae", ["train"]),
    ]
    assert (read.seconds, read.where, read.at_once) == (SECONDS, "2 processes", 2)
    Layout.of(params).run_plan.write_text("{}")
    assert read_plan(params) is None


def test_at_first_all_waits(params: Params, plan: Plan) -> None:
    state = look(params, plan, alive=True)
    assert states(state) == {"made": ["waiting"] * 6, "vae": ["waiting"]}
    assert (state.done, state.total) == (0, 7)
    assert state.seconds_left == 600.0, "the longer of the two that run side by side"
    assert summary(state) == "0 of 7 stages, about 10 min left"


def test_stages_pass_through_their_states(params: Params, plan: Plan) -> None:
    finish(params, "train", "made", 120.0)
    begin(params, "sample", "made")
    progress = {"stage": "sample", "done": 3, "total": 4, "unit": "chunks", "values": ""}
    write_json(Layout.of(params).progress("made"), {**progress, "seconds_left": 25.0})
    fail(params, "train", "vae")
    state = look(params, plan, alive=True)
    assert states(state) == {
        "made": ["done", "running", *["waiting"] * 4],
        "vae": ["failed"],
    }
    assert (state.entries[0].state, state.entries[1].state) == ("running", "failed")
    # Stages take 1.2 times as long as expected; the running one says itself how long.
    assert state.seconds_left == pytest.approx(25.0 + 4 * 120.0)
    assert lines(state) == [
        "on 2 processes: 2 of 7 stages, about 8 min left",
        "  sample made: 3/4 chunks, about 25 s left",
        "  train vae failed: no good",
    ]


def test_what_reads_a_failed_stage_is_skipped(params: Params, plan: Plan) -> None:
    fail(params, "train", "made")
    state = look(params, plan, alive=True)
    assert states(state)["made"] == ["failed", *["skipped"] * 5]
    assert state.done == 6


def test_a_stage_that_was_right_is_kept(params: Params, plan: Plan) -> None:
    finish(params, "train", "made", 90.0)
    finish(params, "sample", "made", None)
    finish(params, "pictures", "made", 7.0, before=1000.0)
    state = look(params, plan, alive=True)
    assert states(state)["made"][:3] == ["done", "kept", "kept"]
    assert state.done == 3


def test_results_of_an_earlier_run_are_not_of_this_one(params: Params, plan: Plan) -> None:
    for stage in ("train", "sample"):
        path = Layout.of(params).done("made", stage)
        finish(params, stage, "made", 1.0, before=1000.0)
        os.utime(path, (plan.begun - 10, plan.begun - 10))
    assert look(params, plan, alive=True).done == 0


def test_a_run_that_nobody_holds_is_interrupted(params: Params, plan: Plan) -> None:
    begin(params, "train", "made")
    state = look(params, plan)
    assert not state.alive
    assert states(state)["made"][0] == "waiting"
    told = "0 of 7 stages, interrupted: `genbench run --profile quick` goes on from there"
    assert summary(state) == told


@pytest.mark.parametrize(
    ("arguments", "told", "command"),
    [
        (
            "run -e 'vae,pixel*' --launcher slurm --launcher-options slurm.yaml",
            {},
            "genbench run -e 'vae,pixel*' --launcher slurm --launcher-options slurm.yaml",
        ),
        ("run --force --jobs 2", {}, "genbench run --jobs 2"),
        ("run -fp quick", {"ISA": "avx2"}, "GENBENCH_ISA=avx2 genbench run -p quick"),
        # An option sets the variable, too.
        (
            "run -f --threads=3",
            {"THREADS": "3", "DEVICE": "cuda:1"},
            "GENBENCH_DEVICE=cuda:1 genbench run --threads=3",
        ),
        ("tests/test_watch.py", {}, "genbench run --profile quick"),
    ],
)
def test_a_run_goes_on_by_the_command_that_began_it(
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    told: dict[str, str],
    command: str,
) -> None:
    for name in ("DEVICE", "THREADS", "ISA"):
        monkeypatch.setenv(f"GENBENCH_{name}", told.get(name, ""))
    monkeypatch.setattr("sys.argv", ["genbench", *shlex.split(arguments)])
    plan = write_plan(params, [Chain("made", ("train",), {})], {}, where="Slurm", at_once=0)
    read = read_plan(params)
    assert read is not None
    assert read.command == command
    assert summary(look(params, plan)).endswith(f"interrupted: `{command}` goes on from there")


def test_what_a_cluster_still_runs_is_running_though_the_run_is_gone(
    params: Params, plan: Plan
) -> None:
    begin(params, "train", "made")
    progress = {"stage": "train", "done": 3, "total": 4, "unit": "steps", "values": ""}
    path = Layout.of(params).progress("made")
    write_json(path, progress)
    state = look(params, plan)
    assert states(state)["made"][:2] == ["running", "waiting"]
    # What one stage says of its progress is no news of another, and no news after a while.
    begin(params, "sample", "made")
    assert states(look(params, plan))["made"][:2] == ["running", "waiting"]
    os.utime(path, (time.time() - 300, time.time() - 300))
    assert states(look(params, plan))["made"][:2] == ["waiting", "waiting"]


def leave_jobs(
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    queue: dict[str, str] | None,
    **jobs: str,
) -> None:
    """What a killed run has left of its jobs, and what Slurm has in its queue: their states; None
    if it does not answer.
    """
    kept = {entry: {"job": job, "work": ""} for entry, job in jobs.items()}
    write_json(Layout.of(params).slurm / "jobs.json", kept)

    def answer() -> dict[str, tuple[str, str]]:
        if queue is None:
            raise UserError("squeue does not answer")
        return {job: (state, "n1") for job, state in queue.items()}

    monkeypatch.setattr(slurm_programs, "queue", answer)


@pytest.mark.parametrize(
    ("queue", "told"),
    [
        ({}, ""),
        ({"8_0": "RUNNING"}, ""),
        ({"7_0": "PENDING", "7_1": "COMPLETING"}, "; 1 job of it is queued or running"),
        ({"7_0": "RUNNING", "7_1": "PENDING"}, "; 2 jobs of it are queued or running"),
    ],
)
def test_of_jobs_that_are_left_slurms_queue_is_asked(
    params: Params,
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
    queue: dict[str, str],
    told: str,
) -> None:
    leave_jobs(params, monkeypatch, queue, made="7_0", vae="7_1")
    assert summary(look(params, plan)).startswith(f"0 of 7 stages, interrupted{told}: `")


def test_where_slurm_cannot_be_asked_jobs_of_entries_that_have_ended_are_gone(
    params: Params, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_jobs(params, monkeypatch, None, made="7_0", vae="7_1")
    told = "; 2 jobs of it may be queued or running (squeue does not answer): `"
    assert f"0 of 7 stages, interrupted{told}" in summary(look(params, plan))
    finish(params, "train", "vae", 3.0)
    assert "; 1 job of it may be queued or running" in summary(look(params, plan))
    fail(params, "train", "made")
    assert look(params, plan).jobs.numbers == {}


def test_what_a_killed_run_has_left_is_not_running_in_the_next(params: Params, plan: Plan) -> None:
    begin(params, "sample", "made")
    assert states(look(params, plan, alive=True))["made"][1] == "running"
    path = Layout.of(params).status("made", "sample")
    os.utime(path, (plan.begun - 10, plan.begun - 10))
    assert states(look(params, plan, alive=True))["made"][1] == "waiting"


def test_what_was_seen_done_is_not_looked_at_again(params: Params, plan: Plan) -> None:
    finish(params, "train", "vae", 3.0)
    known: dict[str, EntryState] = {}
    assert look(params, plan, alive=True, known=known).done == 1
    assert list(known) == ["vae"]
    Layout.of(params).done("vae", "train").unlink()
    assert look(params, plan, alive=True, known=known).done == 1


def test_unknown_costs_make_no_time(params: Params) -> None:
    chains = [Chain("made", ("train",), {})]
    plan = write_plan(params, chains, {}, where="one process", at_once=1)
    assert look(params, plan, alive=True).seconds_left is None
    assert summary(look(params, plan, alive=True)) == "0 of 1 stages"


def test_where_a_cluster_decides_the_time_is_that_of_as_many_as_run_now(params: Params) -> None:
    names = [f"e{number}" for number in range(6)]
    seconds = {f"train@{name}": 600.0 for name in names}
    chains = [Chain(name, ("train",), {}) for name in names]
    plan = write_plan(params, chains, seconds, where="Slurm", at_once=0)
    state = look(params, plan, alive=True)
    assert state.seconds_left is None
    assert summary(state) == "0 of 6 stages, about 60 min of computing left"
    for name in names[:2]:
        begin(params, "train", name)
    state = look(params, plan, alive=True)
    assert state.seconds_left == 1800.0
    assert summary(state) == "0 of 6 stages, about 30 min left with 2 at once"


def shown(params: Params, state: RunState, height: int) -> str:
    console = Console(file=io.StringIO(), width=140, force_terminal=False)
    console.print(table(params, state, height=height))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_table_has_states_scores_and_what_is_running(
    params: Params, plan: Plan, tmp_path: Path
) -> None:
    finish(params, "train", "made", 12.0)
    finish(params, "score_likelihood", "made", 3.0)
    metric = {"value": 1.23456, "stderr": None, "n": 1, "higher_is_better": False}
    write_json(Layout.of(params).run_dir("made").likelihood, {"metrics": {"bits_per_dim": metric}})
    begin(params, "sample", "made")
    progress = {"stage": "sample", "done": 1, "total": 4, "unit": "chunks", "values": "[a]"}
    write_json(Layout.of(params).progress("made"), {**progress, "seconds_left": None})
    text = shown(params, look(params, plan, alive=True), 40)
    (row,) = [line for line in text.splitlines() if line.startswith("made")]
    assert row.split()[:5] == ["made", "12", "s", "25", "%"]
    assert "1.235" in row
    assert "sample: 1/4 chunks, [a]" in row
    (other,) = [line for line in text.splitlines() if line.startswith("vae")]
    assert other.split().count("kept") == 5
    assert text.splitlines()[-1].startswith("2 of 7 stages")


def test_brackets_in_a_command_are_no_markup(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["genbench", "run", "-e", "vae[x]"])
    plan = write_plan(params, [Chain("made", ("train",), {})], {}, where="here", at_once=1)
    assert "'vae[x]'" in shown(params, look(params, plan), 40)


def test_a_low_terminal_shows_what_is_running_first(params: Params) -> None:
    names = [f"e{number:02d}" for number in range(20)]
    chains = [Chain(name, ("train",), {}) for name in names]
    plan = write_plan(params, chains, {}, where="2 processes", at_once=2)
    for name in names[:8]:
        finish(params, "train", name, 1.0)
    begin(params, "train", "e08")
    fail(params, "train", "e03")
    Layout.of(params).done("e03", "train").unlink()
    text = shown(params, look(params, plan, alive=True), 12)
    found = [line.split()[0] for line in text.splitlines() if line.startswith("e")][1:]
    assert found == ["e03", "e05", "e06", "e07", "e08"]
    assert "… 15 more" in text
