"""`genbench run`: what it asks of DVC, and runs that fail or are stopped."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from genbench.config.load import load_params
from genbench.errors import UserError
from genbench.pipeline import targets
from tests import shell_stages
from tests.shell_stages import call, log


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stages are shell commands, without DVC."""
    return shell_stages.project(tmp_path, monkeypatch)


@pytest.fixture
def repository(root: Path) -> Path:
    """The same under git and DVC."""
    return shell_stages.repository(root)


def test_entries_are_matched_by_wildcard_in_the_order_of_the_file(root: Path) -> None:
    params = load_params()
    assert targets.match_entries(params, None) == ["made", "pixel_cnn", "pixel_marginals", "vae"]
    assert targets.match_entries(params, "vae, pixel*") == ["pixel_cnn", "pixel_marginals", "vae"]
    with pytest.raises(UserError, match="matches no entry"):
        targets.match_entries(params, "vae,flow*")


def test_targets_of_dvc(root: Path) -> None:
    quick, smoke = load_params("quick"), load_params("smoke")
    assert targets.pipeline_targets(quick, None) == ["dvc.yaml"]
    assert targets.pipeline_targets(smoke, None) == ["profiles/smoke/dvc.yaml"]
    assert targets.pipeline_targets(quick, ["vae"]) == [
        "pictures@vae",
        "score_likelihood@vae",
        "score_samples@vae",
    ]
    assert targets.pipeline_targets(smoke, ["vae"])[0] == "profiles/smoke/dvc.yaml:pictures@vae"


def test_a_run_finishes_the_others_and_reports_when_one_fails(repository: Path) -> None:
    (repository / "broken").write_text("vae")
    (repository / "board").write_text(
        json.dumps({"missing": [{"dataset": "mnist", "entry": "vae", "reason": "train: no good"}]})
    )
    command = [
        sys.executable,
        "-m",
        "genbench",
        "run",
        "--profile",
        "smoke",
        "--device",
        "cpu",
        "--threads",
        "5",
    ]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode not in (0, 1), done.stderr  # DVC's own code
    assert "vae: train: no good" in done.stderr
    lines = log(repository)
    assert {"train vae", "samples made", "likelihood pixel_cnn", "pictures pixel_marginals"} <= set(
        lines
    )
    assert "samples vae" not in lines
    assert lines[-2:] == ["report", "track"]
    assert (repository / "runs" / "smoke" / "made" / "pictures").read_text() == "cpu 5\n"

    (repository / "broken").write_text("none")
    (repository / "board").write_text(json.dumps({"missing": []}))
    (repository / "log").unlink()
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(log(repository)) == [
        "likelihood vae",
        "pictures vae",
        "report",
        "samples vae",
        "track",
        "train vae",
    ]
    assert "missing" not in done.stderr
    assert "reports/smoke/index.html" in done.stdout


def test_a_run_of_some_entries_runs_only_these(repository: Path) -> None:
    command = [sys.executable, "-m", "genbench", "run", "--entries", "pixel_c*"]
    subprocess.run(command, cwd=repository, capture_output=True, check=True)
    once = log(repository)
    assert sorted(once[:-2]) == [
        "likelihood pixel_cnn",
        "pictures pixel_cnn",
        "samples pixel_cnn",
        "train pixel_cnn",
    ]
    assert once[-2:] == ["report", "track"]
    assert (repository / "runs" / "quick" / "pixel_cnn" / "pictures").read_text().strip() == ""
    subprocess.run([*command, "--force"], cwd=repository, capture_output=True, check=True)
    again = log(repository)[len(once) :]
    assert (repository / "runs" / "quick" / "pixel_cnn" / "pictures").read_text().strip() == "1", (
        "checkpoints would be resumed"
    )
    assert "train pixel_cnn" in again
    assert all(line.endswith("pixel_cnn") or line in ("report", "track") for line in again)


def test_forced_work_starts_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = importlib.import_module("genbench.training.checkpoints").workspace
    with workspace(tmp_path, "made", {"a": 1}) as work:
        work.save("train.pt", {"step": 5})
        assert work.chunk("0", lambda: {"x": np.zeros(1)})["x"] == 0
    with workspace(tmp_path, "made", {"a": 1}) as work:
        assert work.load("train.pt") == {"step": 5}
        assert work.chunk("0", lambda: {"x": np.ones(1)})["x"] == 0
    monkeypatch.setenv("GENBENCH_FRESH", "1")
    with workspace(tmp_path, "made", {"a": 1}) as work:
        assert work.load("train.pt") is None
        assert work.chunk("0", lambda: {"x": np.ones(1)})["x"] == 1
        assert (work.folder / "lock").is_file()


def test_ctrl_c_stops_the_whole_run(repository: Path) -> None:
    (repository / "pause").write_text("")
    command = [sys.executable, "-m", "genbench", "run"]
    process = subprocess.Popen(
        command,
        cwd=repository,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        while not log(repository):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        # Ends when nobody holds the pipe any more; a stage sleeps for 60 seconds.
        output, _ = process.communicate(timeout=50)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "goes on from the last checkpoint" in output
    assert len(log(repository)) <= 2, "with --keep-going DVC went on with further stages"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere DVC goes on with the stages")
def test_a_killed_run_takes_dvc_along_and_the_next_one_works(repository: Path) -> None:
    (repository / "pause").write_text("")
    command = [sys.executable, "-m", "genbench", "run", "--entries", "made"]
    process = subprocess.Popen(
        command, cwd=repository, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not log(repository):
        assert process.poll() is None
        time.sleep(0.05)
    below = {child: child.name() for child in psutil.Process(process.pid).children(recursive=True)}
    (dvc,) = [child for child in psutil.Process(process.pid).children() if "dvc" in child.cmdline()]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and dvc.is_running() and dvc.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    assert not dvc.is_running() or dvc.status() == psutil.STATUS_ZOMBIE
    for child, name in below.items():  # the stand-in's stage is no stage of ours and watches nobody
        if name in ("sh", "sleep") and child.is_running():
            child.kill()
    (repository / "pause").unlink()
    assert subprocess.run(command, cwd=repository, capture_output=True, check=False).returncode == 0
    assert log(repository)[-1] == "track"


def test_two_runs_at_once_do_their_work_one_after_the_other(repository: Path) -> None:
    (repository / "pause").write_text("")
    command = [sys.executable, "-m", "genbench", "run"]
    with (
        subprocess.Popen(
            [*command, "--entries", "made"], cwd=repository, stderr=subprocess.PIPE, text=True
        ) as first,
        subprocess.Popen(
            [*command, "--profile", "smoke", "--entries", "vae"],
            cwd=repository,
            stderr=subprocess.PIPE,
            text=True,
        ) as second,
    ):
        runs = {"quick": first, "smoke": second}
        while not log(repository):
            assert first.poll() is second.poll() is None
            time.sleep(0.05)
        now = json.loads((repository / ".status" / "run.lock").read_text())
        profile = "quick" if now["pid"] == first.pid else "smoke"
        earlier, later = runs.pop(profile), *runs.values()
        assert later.stderr is not None
        expected = (
            f": waiting for genbench run --profile {profile} (process {earlier.pid} on "
            f"{now['host']}, since {now['since']}) to end"
        )
        assert later.stderr.readline().endswith(expected + "\n")
        assert len(log(repository)) == 1, "the second one did not wait"
        (repository / "pause").unlink()
        for process in psutil.Process(earlier.pid).children(recursive=True):
            if process.name() == "sleep":
                process.kill()
        assert (earlier.wait(120), later.wait(120)) == (0, 0)
    lines = log(repository)
    assert lines.index("report") < lines.index(f"train {'vae' if profile == 'quick' else 'made'}")


def test_a_run_mends_what_a_kill_left_of_dvcs_files_and_says_so(repository: Path) -> None:
    command = [sys.executable, "-m", "genbench", "run", "--entries", "made"]
    assert subprocess.run(command, cwd=repository, capture_output=True, check=False).returncode == 0
    path, rwlock = repository / "dvc.lock", repository / ".dvc" / "tmp" / "rwlock"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"md5: ", len(whole) // 2) + 3])
    smoke = repository / "profiles" / "smoke" / "dvc.lock"
    smoke.write_bytes(whole)
    subprocess.run(["git", "add", smoke], cwd=repository, check=True)
    smoke.write_bytes(b"")
    rwlock.write_text('{"wri')
    (repository / "log").unlink()
    code, stdout, _ = call("doctor", "--profile", "smoke")
    assert code == 1
    assert len([line for line in stdout.splitlines() if line.startswith("fail  dvc files")]) == 3
    again = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "dvc.lock was cut short by a kill; its last copy is in its place" in again.stderr
    assert (
        "smoke/dvc.lock was cut short by a kill; what git has of it is in its place" in again.stderr
    )
    assert smoke.read_bytes() == whole
    assert "rwlock was cut short by a kill, and is removed" in again.stderr
    assert set(log(repository)) <= {"report", "track"}
    assert path.read_bytes() == whole

    path.write_bytes(b"<<<<<<< HEAD\n" + whole)
    refused = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {path} holds the marks of a merge conflict")
