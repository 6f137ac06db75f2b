"""A lock that is waited for as long as its holder lives, with processes that really die; one on
another machine is played by a thread.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genbench.cli.scaffold import add_seeds, new_model
from genbench.config.load import load_params
from genbench.errors import UserError
from genbench.pipeline.stage_runner import call_stage
from genbench.processes.lock import claim, hold, in_use

HOLD = """
import sys, time
from pathlib import Path
from genbench.processes.lock import hold
with hold(Path(sys.argv[1]), "the first", interval=0.05):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until it is sent a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
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


def test_waits_as_long_as_the_holder_lives_and_says_for_whom(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lock"
    with holder(path) as first:
        assert not tries(path, 1.5, patience=0.5)
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1  # its heart beats, so nothing is said of silence
        assert said[0].startswith(
            f"the second: waiting for the first (process {first.pid} on {platform.node()}, since "
        )
        assert in_use(path)
        assert first.stdin is not None
        first.stdin.write("\n")
        first.stdin.flush()
        assert tries(path, 20)
        assert first.wait(400) == 0
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


def test_a_holder_that_is_stopped_is_waited_for_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lock"
    with holder(path) as first:
        first.send_signal(signal.SIGSTOP)
        assert not tries(path, 1.5, patience=0.5)
        assert "has shown no sign of life for 0 s; continue or end it" in capsys.readouterr().err
        first.send_signal(signal.SIGCONT)


def test_a_holder_on_another_machine_is_waited_for_while_its_heart_beats(tmp_path: Path) -> None:
    """Over a network file system that keeps locks to one machine: only the file and its time are
    seen.
    """
    path = tmp_path / "lock"
    path.write_text(
        json.dumps({"pid": 1, "host": "elsewhere", "what": "the first", "since": "then"})
    )
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
        deadline = time.monotonic() + 120
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


def test_a_folder_that_is_removed_before_the_lock_is_made_in_it_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = tmp_path / "folder" / "lock", Path.open
    removed = []

    def late(self: Path, *arguments: object, **options: object) -> object:
        if not removed:
            removed.append(1)
            self.parent.rmdir()
        return opened(self, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", late)
    with hold(path, "me"):
        assert path.is_file()
    assert removed


@pytest.mark.parametrize(
    "content",
    ["process 1 on here, since then", "[]", '{"pid": 1}', "\x00\x00", '{"pid": 1, "host"'],
)
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


@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/proc/sys").is_dir(), reason="root may write anywhere"
)
def test_a_place_that_cannot_be_written_is_named() -> None:
    with (
        pytest.raises(OSError, match=r"cannot write /proc/sys/genbench\.lock"),
        hold(Path("/proc/sys/genbench.lock"), "me"),
    ):
        pass


# ---------------------------------------------------------------------- what is done under it


def seeds() -> None:
    add_seeds("quick", 2, ["pixel_marginals"])


def model() -> None:
    Path("genbench", "models").mkdir(parents=True)
    with pytest.raises(UserError, match="there is a model 'made' already"):
        new_model("made")


def fingerprints() -> None:
    call_stage("fingerprints", load_params("quick"))


@pytest.mark.parametrize(
    ("work", "lock", "what"),
    [
        (seeds, "params.lock", "genbench seeds 2"),
        (model, "params.lock", "genbench new-model made"),
        (fingerprints, "quick-fingerprints.lock", "quick-fingerprints"),
    ],
)
def test_whoever_waits_says_for_whom(
    project: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None], lock: str, what: str
) -> None:
    monkeypatch.chdir(project)
    (project / ".ckpt").mkdir(exist_ok=True)
    with holder(project / ".ckpt" / lock) as first:

        class Errors(io.StringIO):
            """Who is told that it is waited for ends."""

            def write(self, text: str) -> int:
                if "waiting" in text:
                    first.kill()
                return super().write(text)

        monkeypatch.setattr(sys, "stderr", Errors())
        in_any_case = threading.Timer(10, first.kill)
        in_any_case.start()
        work()
        in_any_case.cancel()
        assert (
            f"{what}: waiting for the first (process {first.pid} on {platform.node()}, since "
            in sys.stderr.getvalue()
        )  # type: ignore[attr-defined]


# ---------------------------------------------------------------------- without waiting


def test_a_lock_is_claimed_only_if_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, "me"), claim(path) as free:
        assert not free
    with claim(path) as free:
        assert free
        assert not tries(path, 0.5)
    assert tries(path, 20)


def test_a_lock_that_was_replaced_is_not_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock = tmp_path / "lock", fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        path.unlink()
        path.write_text("")
        flock(descriptor, operation)

    path.write_text("")
    monkeypatch.setattr(fcntl, "flock", late)
    with claim(path) as free:
        assert not free


@pytest.mark.parametrize(("hours", "used"), [(-3, True), (0, True), (3, True), (48, False)])
def test_a_holder_elsewhere_is_taken_for_alive_for_a_day_whatever_its_clock(
    tmp_path: Path, hours: float, used: bool
) -> None:
    path = tmp_path / "lock"
    path.write_text(
        json.dumps({"pid": 1, "host": "elsewhere", "what": "the first", "since": "then"})
    )
    os.utime(path, (time.time() - 3600 * hours,) * 2)
    assert in_use(path) is used


# ---------------------------------------------------------------------- errors

FULL = """
import resource, signal, sys
from pathlib import Path
from genbench.processes.lock import hold
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
with hold(Path(sys.argv[1]), "me"):
    pass
"""


def test_a_full_disk_names_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (
        f"cannot write {path}: the file would be larger than the system allows"
        in done.stderr.splitlines()[-1]
    )
    assert not in_use(path)


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOLCK, "file locks"),
        (errno.ENOSYS, "file locks"),
        (errno.EOPNOTSUPP, "file locks"),
        (errno.ESTALE, "mount"),
        (errno.ENXIO, ""),
    ],
)
def test_no_error_of_a_lock_is_a_bare_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fails)
    with (
        pytest.raises(OSError, match=rf"^cannot write {tmp_path / 'lock'}: .*{hint}"),
        hold(tmp_path / "lock", "me"),
    ):
        pass


def test_a_lock_with_too_long_a_name_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(
            OSError, match=r"^cannot write .*: the path is longer than its file system allows"
        ),
        hold(tmp_path / ("x" * 300), "me"),
    ):
        pass
