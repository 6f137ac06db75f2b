"""A lock that is waited for as long as its holder lives, with processes that really die; one on another machine is played by a thread."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genbench.heartbeat import hold, in_use

HOLD = """
import sys, time
from pathlib import Path
from genbench.heartbeat import hold
with hold(Path(sys.argv[1]), "the first", interval=0.05):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until it is sent a line."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


class GaveUp(Exception):
    """What a test raises in the place of waiting on."""


def tries(path: Path, seconds: float, **options: float) -> bool:
    """Whether the lock is free within so many seconds."""
    deadline = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > deadline:
            raise GaveUp

    try:
        with hold(path, "the second", check=check, **options):
            return True
    except GaveUp:
        return False


def test_waits_as_long_as_the_holder_lives_and_says_for_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lock"
    with holder(path) as first:
        assert not tries(path, 1.5, patience=0.5)
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1  # its heart beats, so nothing is said of silence
        assert said[0].startswith(f"the second: waiting for the first (process {first.pid} on {platform.node()}, since ")
        assert in_use(path)
        assert first.stdin is not None
        first.stdin.write("\n")
        first.stdin.flush()
        assert tries(path, 20)
        assert first.wait(20) == 0
    assert not in_use(path)
    assert path.read_text() == ""


def test_takes_over_at_once_from_a_killed_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as first:
        first.kill()
        first.wait()
        assert json.loads(path.read_text())["pid"] == first.pid  # it could not tidy up
        assert not in_use(path)
        assert tries(path, 20, patience=1000)


def test_a_holder_that_is_stopped_is_waited_for_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lock"
    with holder(path) as first:
        first.send_signal(signal.SIGSTOP)
        assert not tries(path, 1.5, patience=0.5)
        assert "has shown no sign of life for 0 s; continue or end it" in capsys.readouterr().err
        first.send_signal(signal.SIGCONT)


def test_a_holder_on_another_machine_is_waited_for_while_its_heart_beats(tmp_path: Path) -> None:
    """Over a network file system that keeps locks to one machine: only the file and its time are seen."""
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "what": "the first", "since": "then"}))
    ended = threading.Event()

    def beat() -> None:
        clock = 1000.0  # of a machine whose clock is wrong
        while not ended.wait(0.05):
            clock += 1
            os.utime(path, (clock, clock))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        assert not tries(path, 2, patience=0.7)
    finally:
        ended.set()
        thread.join()
    assert not tries(path, 0.3, patience=5)  # it may beat again
    assert tries(path, 20, patience=0.7)


def test_the_holder_beats_and_stops_when_it_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, "me", interval=0.05):
        os.utime(path, (1000, 1000))
        deadline = time.monotonic() + 20
        while path.stat().st_mtime < 2000:
            assert time.monotonic() < deadline, "no sign of life"
            time.sleep(0.02)
    os.utime(path, (1000, 1000))
    time.sleep(0.2)
    assert path.stat().st_mtime == 1000


def test_a_lock_file_that_is_removed_under_its_holder_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    with holder(path):
        path.unlink()
        path.parent.rmdir()  # as `genbench clean` does
        with hold(path, "me"):
            assert json.loads(path.read_text())["what"] == "me"


@pytest.mark.parametrize("content", ["process 1 on here, since then", "[]", '{"pid": 1}', "\x00\x00", '{"pid": 1, "host"'])
def test_a_damaged_lock_file_stops_nobody(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lock"
    path.write_text(content)
    assert not in_use(path)
    assert tries(path, 20, patience=1000)
    assert path.read_text() == ""


def test_an_error_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(KeyError), hold(path, "me"):
        raise KeyError
    assert not in_use(path)


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/sys").is_dir(), reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_named() -> None:
    with pytest.raises(OSError, match=r"cannot write /proc/sys/genbench\.lock"), hold(Path("/proc/sys/genbench.lock"), "me"):
        pass
