"""`genbench run`: what runs, in which order and how often, what DVC knows of it afterwards, and
runs that fail, are stopped or killed. The stages are stand-ins.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from genbench.config.layout import Layout
from genbench.config.stages import ENTRY_STAGES, STAGES
from genbench.pipeline.receipts import Receipt, content_of, publish
from genbench.pipeline.stage_runner import stage_places
from tests.params_factory import dump
from tests.projects import GENBENCH, environment
from tests.stand_ins import StandIns, make

SHARED = ["prepare mnist", "features mnist"]
WHOLE = {f"{stage} {entry}" for stage in ENTRY_STAGES for entry in ("one", "two", "three")}
LAST = ["report", "track"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> StandIns:
    """A project that was run whole."""
    project = make(tmp_path_factory.mktemp("run"))
    done = project.genbench("run", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    ran = project.log()
    assert ran[:2] == SHARED
    assert ran[-2:] == LAST
    assert sorted(ran[2:-2]) == sorted(WHOLE)
    for entry in ("one", "two", "three"):
        own = [line.split()[0] for line in ran if line.endswith(f" {entry}")]
        assert own == list(ENTRY_STAGES)
    (project.root / "finished").write_text(done.stdout)
    return project


@pytest.fixture
def project(finished: StandIns, tmp_path: Path) -> Iterator[StandIns]:
    """A copy of it."""
    root = tmp_path / "project"
    shutil.copytree(finished.root, root, symlinks=True)
    yield StandIns(root, environment(root))
    (root / "pause").unlink(missing_ok=True)  # for which processes of a failed test would wait


def test_events_are_told_without_a_terminal(finished: StandIns) -> None:
    said = (finished.root / "finished").read_text()
    assert "train one: done in " in said
    assert "; 18 of 18 stages" in said
    assert "report: reports/quick/index.html" in said.splitlines()[-1]


def test_nothing_is_left_to_do_for_a_run_or_for_dvc(project: StandIns) -> None:
    done = project.genbench("run")
    assert done.returncode == 0, done.stderr
    assert "quick: everything is up to date" in done.stdout
    assert "up to date" in project.dvc("status")
    project.dvc("repro")
    assert project.log() == []


def test_dvc_and_a_run_give_the_same(project: StandIns, tmp_path: Path) -> None:
    """Of one entry, since DVC starts a process for each stage."""
    other = make(tmp_path / "other", ("one",))
    other.dvc("repro")
    given = project.outputs().items()
    assert other.outputs() == {k: v for k, v in given if k.split("/")[0] not in ("two", "three")}
    assert set(other.log()) == {*SHARED, *(f"{stage} one" for stage in ENTRY_STAGES), *LAST}
    assert "everything is up to date" in other.genbench("run").stdout
    assert other.log() == []


def test_what_an_edit_can_change_runs_again(project: StandIns) -> None:
    before = project.outputs()
    path = project.root / "params.yaml"
    written = path.read_text()
    params = yaml.safe_load(written)
    params["protocol"]["likelihood_images"][0]["images"] -= 1
    path.write_text(dump(params))
    assert project.genbench("run").returncode == 0
    ran = {line for line in project.log() if " " in line}
    stages = ("score_likelihood", "probe")
    assert ran == {f"{s} {entry}" for s in stages for entry in ("one", "two", "three")}
    path.write_text(written)
    # What it was is in DVC's cache of runs.
    done = project.genbench("run")
    assert "6 stages are taken from DVC's cache" in done.stdout
    assert set(project.log()) <= set(LAST)
    assert project.outputs() == before


def test_a_damaged_copy_in_the_cache_is_not_taken(project: StandIns) -> None:
    """Before the run nothing tells that it will be taken."""
    before = project.outputs()
    lock = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]["train@one"]
    md5 = next(out["md5"] for out in lock["outs"] if out["path"].endswith("weights.safetensors"))
    project.edit("one", seed=75)
    project.genbench("run")
    copy = project.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    copy.chmod(0o644)
    copy.write_bytes(b"damaged")
    copy.chmod(0o444)  # by which DVC knows that it need not look
    project.log()
    project.edit("one", seed=0)
    done = project.genbench("run")
    assert done.returncode == 0
    assert "runs/quick/one/weights.safetensors" in done.stderr
    assert "train one" in project.log()
    assert project.outputs() == before
    assert "up to date" in project.dvc("status")


def test_equal_weights_spare_what_is_made_from_them(project: StandIns) -> None:
    """The source of train changes, and what it gives does not."""
    path = project.root / "pipelines" / "train.py"
    source = path.read_text()
    path.write_text(source + "\nUNUSED = 1\n")
    assert project.genbench("run").returncode == 0
    ran = project.log()
    assert {line for line in ran if " " in line} == {f"train {e}" for e in ("one", "two", "three")}
    assert "up to date" in project.dvc("status")


def test_by_force_all_runs_again_from_its_beginning(project: StandIns) -> None:
    unfinished = [
        project.root / ".ckpt" / f"quick-{entry}-train-{16 * '0'}" for entry in ("one", "two")
    ]
    for folder in unfinished:
        folder.mkdir(parents=True)
        (folder / "train.pt").touch()
    assert project.genbench("run", "--force", "--entries", "one").returncode == 0
    lines = (project.root / "log").read_text().splitlines()
    assert {line for line in lines if " one " in line} == {f"{s} one 1" for s in ENTRY_STAGES}
    assert not any(" two" in line or " three" in line for line in lines)
    assert [folder.exists() for folder in unfinished] == [False, True]
    shutil.rmtree(unfinished[1])


def test_a_failing_stage_stops_no_other_entry_and_is_told(project: StandIns) -> None:
    (project.root / "broken").write_text("sample two")
    for entry in ("one", "two"):
        project.edit(entry, seed=70)
    done = project.genbench("run", "--jobs", "2")
    ran = project.log()
    assert done.returncode == 1
    assert "sample two: failed: no good" in done.stdout
    assert {"score_samples one", "pictures two", "score_likelihood two", *LAST} <= set(ran)
    assert "score_samples two" not in ran
    status = json.loads((project.root / ".status/quick/two-sample.json").read_text())
    assert status["error"] == "no good"
    said = project.genbench("status").stdout
    assert "sample two failed: no good" in said
    (project.root / "broken").unlink()
    assert project.genbench("run").returncode == 0
    assert [line for line in project.log() if " " in line] == [
        "sample two",
        "score_samples two",
        "probe two",
    ]


def test_a_broken_model_is_named_and_the_others_go_on(project: StandIns) -> None:
    path = project.root / "genbench" / "models" / "broken.py"
    path.write_text("import nothing_of_the_kind\n")
    project.edit("one", seed=79)
    project.edit("two", model="broken")
    done = project.genbench("run")
    assert done.returncode == 1
    told = "/models/broken.py:1: No module named 'nothing_of_the_kind' (model 'broken')"
    assert told in done.stderr
    ran = project.log()
    assert "score_samples one" in ran
    assert not any(line.endswith(" two") for line in ran)


def test_without_its_data_an_entry_is_left_out(project: StandIns) -> None:
    path = project.root / "pipelines" / "features.py"
    source = path.read_text()
    path.write_text(source + "\nEDITED = True\n")
    (project.root / "broken").write_text("features mnist")
    project.edit("one", seed=76)
    done = project.genbench("run")
    assert done.returncode != 0
    assert "features@mnist failed; entries that need it are left out" in done.stderr
    assert not any(line.endswith(" one") for line in project.log())


def test_what_is_edited_after_the_run_began_is_not_run_under_the_former_name(
    project: StandIns,
) -> None:
    (project.root / "pause").write_text("train one")
    for entry in ("one", "two"):
        project.edit(entry, seed=77)
    run = project.start(GENBENCH, "run", "--jobs", "1", "--entries", "one,two")
    wait_for(project.root / "log", "train one")
    project.edit("two", seed=78)
    (project.root / "pause").unlink()
    said = run.communicate(timeout=400)[0]
    assert run.returncode == 1
    assert "train of two: parameter seed changed since the run began" in said
    assert "train two" not in project.log()
    assert project.genbench("run").returncode == 0
    assert "train two" in project.log()


def test_a_process_that_dies_has_a_reason(project: StandIns) -> None:
    (project.root / "deadly").write_text("train three")
    project.edit("three", seed=71)
    assert project.genbench("run").returncode == 1
    status = json.loads((project.root / ".status/quick/three-train.json").read_text())
    assert status["error"].startswith("killed by signal 9 (SIGKILL)")


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 300
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_nobody_and_loses_nothing(project: StandIns, number: int) -> None:
    (project.root / "pause").write_text("sample one")
    project.edit("one", seed=100 + number)
    run = project.start(GENBENCH, "run", "--entries", "one")
    wait_for(project.root / "log", "sample one")
    below = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, number)
    assert run.wait(120) in (130, 143, -number)
    _, alive = psutil.wait_procs(below, timeout=30)
    assert not alive
    assert not (project.root / ".status/quick/one-sample.json").exists()
    assert "train one" in project.log()
    (project.root / "pause").unlink()
    assert project.genbench("run").returncode == 0
    assert "train one" not in project.log(), "what was done is noted"


def publish_elsewhere(project: StandIns, stage: str, entry: str) -> None:
    """As a process of another machine does that has run a stage, with other bits."""
    params, table = project.params, STAGES[stage]
    places = stage_places(params, table, entry)
    own = content_of(Layout.of(params).fingerprint(entry, stage))
    reads = {part: content_of(places[part]) for part in table.reads}
    staged = {part: project.root / f"others-{part}" for part in table.writes}
    for part, path in staged.items():
        path.write_text(f"other {part}")
    receipt = Receipt(stage, entry, own, reads, {}, "elsewhere", 1.0, 2.0)
    publish(params, receipt, staged, {part: places[part] for part in staged})


def test_other_bits_are_an_error_though_no_result_is_missing(project: StandIns) -> None:
    (project.root / "pause").write_text("score_samples one")
    project.edit("one", seed=80)
    run = project.start(GENBENCH, "run", "--entries", "one")
    wait_for(project.root / "log", "score_samples one")
    publish_elsewhere(project, "score_samples", "one")
    (project.root / "pause").unlink()
    said = run.communicate(timeout=400)[0]
    assert run.returncode == 1
    assert "score_samples of one has results, but was also run where it failed" in said
    assert "and on elsewhere, and quality.json differs; that of elsewhere stays" in said
    assert (project.root / "runs/quick/one/quality.json").read_text() == "other quality"
    assert "up to date" in project.dvc("status")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot ask for that")
def test_a_killed_run_takes_its_stages_along_and_what_was_done_is_found(project: StandIns) -> None:
    (project.root / "pause").write_text("sample one")
    project.edit("one", seed=73)
    run = project.start(GENBENCH, "run", "--entries", "one")
    wait_for(project.root / "log", "sample one")
    below = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert not alive
    said = project.genbench("status").stdout
    assert "1 of 6 stages, interrupted" in said
    project.log()
    (project.root / "pause").unlink()
    assert project.genbench("run").returncode == 0
    assert "train one" not in project.log(), "its receipt says that it was run"
    assert "up to date" in project.dvc("status")


def test_a_run_refuses_to_do_what_jobs_of_slurm_do(project: StandIns, tmp_path: Path) -> None:
    project.edit("one", seed=76)
    kept = project.root / ".status" / "quick" / "slurm" / "jobs.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps({"one": {"job": "7_0", "work": ""}}))
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\necho '7_0|PENDING|'\n")
    squeue.chmod(0o755)
    path = f"{squeue.parent}{os.pathsep}{project.env['PATH']}"
    refused = project.genbench("run", PATH=path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: quick: 1 job of it is queued or running on Slurm")
    assert project.log() == []
    squeue.write_text("#!/bin/sh\n")  # it is over
    assert project.genbench("run", PATH=path).returncode == 0
    assert "train one" in project.log()


def test_threads_are_part_of_what_a_result_depends_on(project: StandIns) -> None:
    before = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    done = project.genbench("run", "--entries", "two", "--threads", "3")
    assert "to run" in done.stdout.splitlines()[0]
    ran = project.log()
    assert "train two" in ran
    assert "train one" not in ran
    project.genbench("run")
    assert set(project.log()) <= set(LAST), "the cache has what it was with one thread"
    now = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    assert now["train@two"] == before["train@two"]
    refused = project.run(
        sys.executable, "-m", "dvc", "repro", "-f", "-s", "train@one", GENBENCH_THREADS="3"
    )
    assert refused.returncode != 0
    assert "is for 1 threads of the CPU" in refused.stderr


def test_two_runs_at_once_do_their_work_one_after_the_other(project: StandIns) -> None:
    for entry in ("one", "two"):
        project.edit(entry, seed=74)
    (project.root / "pause").write_text("train one")
    first = project.start(GENBENCH, "run", "--entries", "one")
    wait_for(project.root / "log", "train one")
    second = project.start(GENBENCH, "run", "--entries", "two")
    assert second.stdout is not None
    told = second.stdout.readline()
    now = json.loads((project.root / ".status" / "run.lock").read_text())
    assert now["pid"] == first.pid
    assert told.endswith(
        f": waiting for genbench run --profile quick (process {first.pid} on {now['host']}, "
        f"since {now['since']}) to end\n"
    )
    assert "train two" not in (project.root / "log").read_text()
    (project.root / "pause").unlink()
    assert (first.wait(400), second.wait(400)) == (0, 0)
    ran = project.log()
    assert ran.index("report") < ran.index("train two")


def test_a_run_mends_what_a_kill_left_of_dvcs_files_and_says_so(project: StandIns) -> None:
    path, rwlock = project.root / "dvc.lock", project.root / ".dvc" / "tmp" / "rwlock"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"md5: ", len(whole) // 2) + 3])
    rwlock.write_text('{"wri')
    checked = project.genbench("doctor")
    assert checked.returncode == 1
    found = [line for line in checked.stdout.splitlines() if line.startswith("fail  dvc files")]
    assert len(found) == 2
    again = project.genbench("run")
    assert again.returncode == 0, again.stderr
    assert "dvc.lock was cut short by a kill; its last copy is in its place" in again.stderr
    assert "rwlock was cut short by a kill, and is removed" in again.stderr
    assert set(project.log()) <= set(LAST)
    assert path.read_bytes() == whole

    path.write_bytes(b"<<<<<<< HEAD\n" + whole)
    refused = project.genbench("run")
    path.write_bytes(whole)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {path} holds the marks of a merge conflict")
