"""What a stage's status file says while it runs, and after each way to end. The real processes are
in test_kills.py.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from genbench.errors import Stopped, UserError
from genbench.processes import alive as processes
from genbench.processes.alive import RUN, alive, awaited_by, process_id
from genbench.results.status import bury, in_words, recorded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".status" / "quick" / "made-train.json"


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def left_by(path: Path, process: str, host: str | None = None) -> None:
    """The status of a stage that a process is at, or was when it died."""
    path.parent.mkdir(parents=True, exist_ok=True)
    status = {
        "stage": "train",
        "entry": "made",
        "process": process,
        "host": host or platform.node(),
        "time": "2026-01-01T00:00:00+00:00",
    }
    path.write_text(json.dumps(status))


def test_a_running_stage_is_not_finished_and_a_finished_one_leaves_nothing(path: Path) -> None:
    with recorded(path, "train", "made"):
        assert in_words(path).startswith(f"is not finished (process {os.getpid()}, begun 20")
    assert not path.exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Stopped("nobody waits")])
def test_a_stage_that_is_stopped_leaves_nothing(path: Path, stop: BaseException) -> None:
    with pytest.raises(type(stop)), recorded(path, "train", "made"):
        raise stop
    assert not path.exists()


def test_an_error_is_kept_until_the_next_start(path: Path) -> None:
    with pytest.raises(UserError), recorded(path, "train", "made"):
        raise UserError("no good")
    assert in_words(path) == f"failed: no good (log: {path})"
    assert "raise UserError" in json.loads(path.read_text())["log"]
    with recorded(path, "train", "made"):
        assert "no good" not in in_words(path)


@pytest.mark.parametrize("code", [0, 3, None, "a reason"])
def test_sys_exit_is_no_success(path: Path, code: object) -> None:
    with (
        pytest.raises(RuntimeError, match=r"train made: its code called sys\.exit"),
        recorded(path, "train", "made"),
    ):
        sys.exit(code)  # type: ignore[arg-type]
    assert in_words(path) == f"failed: its code called sys.exit({code!r}) (log: {path})"


def test_a_full_disk_hides_neither_the_error_nor_keeps_an_old_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError), recorded(path, "train", "made"):
        raise UserError("old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="new"), recorded(path, "train", "made"):
        raise UserError("new")
    assert not path.exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            -signal.SIGKILL,
            (
                "killed by signal 9 (SIGKILL), by hand or by the system, which does so when memory "
                "runs out"
            ),
        ),
        (-signal.SIGSEGV, "killed by signal 11 (SIGSEGV)"),
        (-200, "killed by signal 200"),
        (3, "its process ended with exit code 3 before it was done, without a word"),
        (0, "its process ended with exit code 0 before it was done, without a word"),
    ],
)
def test_who_waits_says_how_it_ended(tmp_path: Path, path: Path, code: int, said: str) -> None:
    left_by(path, "77:5")
    assert bury(tmp_path, "77:5", code)
    assert in_words(path) == f"failed: {said}; run again: it goes on from what was kept"
    assert not bury(tmp_path, "77:5", code)  # told once


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_waits_does_not_call_a_stop_a_failure(tmp_path: Path, path: Path, number: int) -> None:
    left_by(path, "77:5")
    assert bury(tmp_path, "77:5", -number)
    assert not path.exists()


def test_who_waits_touches_no_other_status(tmp_path: Path, path: Path) -> None:
    left_by(path, "77:51")
    left_by(path.with_name("vae-train.json"), "77:5", host="elsewhere")
    path.with_name("rbm-train.json").write_text(
        json.dumps({"error": "no good", "process": "77:5", "host": platform.node()})
    )
    for i, content in enumerate(["", "[]", "5", "{", '{"process": 77}', "\x00"]):
        path.with_name(f"{i}-train.json").write_text(content)
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    assert not bury(tmp_path, "77:5", -9)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_process_that_is_gone_has_a_reason_of_its_own(
    path: Path, other: subprocess.Popen[bytes]
) -> None:
    process = process_id(other.pid)
    left_by(path, process)
    who = f"(process {other.pid}, begun 2026-01-01T00:00:00+00:00)"
    assert in_words(path) == f"is not finished {who}"
    other.kill()
    other.wait()
    gone = (
        f"ended without a word {who}: it was killed, perhaps for lack of memory, or the machine "
        "went down; run again: it goes on from what was kept"
    )
    assert in_words(path) == gone
    left_by(path, f"{os.getpid()}:1")  # a number that another process has by now
    assert in_words(path).startswith("ended without a word")
    left_by(path, process, host="elsewhere")  # of which nothing is known here
    assert (
        in_words(path)
        == f"is not finished (process {other.pid} on elsewhere, begun 2026-01-01T00:00:00+00:00)"
    )


@pytest.mark.parametrize(
    "content", ["", "[]", "5", '"text"', "{", "\x00", '{"error": 5}', '{"process": 5}', "{}"]
)
def test_a_damaged_status_is_named(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert in_words(path).startswith("failed: ") and str(path) in in_words(path)


def test_a_zombie_is_no_living_process(other: subprocess.Popen[bytes]) -> None:
    process = process_id(other.pid)
    assert alive(process)
    assert alive(process_id())
    assert not alive(f"{other.pid}:1")
    other.kill()
    # It has ended, and is not asked for yet.
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert not alive(process)
    assert process_id(other.pid) == process
    other.wait()
    assert not alive(process)
    assert process_id(other.pid) == f"{other.pid}:"
    assert not alive(f"{other.pid}:") and not alive("") and not alive("x:1")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil is asked")
def test_where_nothing_is_told_of_processes_nobody_counts_as_dead(
    path: Path, tmp_path: Path, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sandbox without /proc."""
    seen = process_id(other.pid)
    with monkeypatch.context() as blind:
        blind.setattr(processes, "_PROC", tmp_path / "proc")
        unseen = process_id(other.pid)
        blind.setenv("DVC_STAGE", "train@made")
        for run in (seen, unseen):
            blind.setenv(RUN, run)
            assert all(map(alive, awaited_by(os.getpid())))
        with recorded(path, "train", "made"):
            assert in_words(path).startswith("is not finished")
    assert alive(unseen)  # of a run that is not told when it began, to a stage that is
    other.kill()
    other.wait()
    assert not alive(unseen)
