"""Files are whole or absent, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genbench.files import (
    read_json,
    read_npz,
    replace_directory,
    write_bytes,
    write_json,
    write_npz,
)


def test_a_full_disk_leaves_the_old_file_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    write_bytes(path, b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*weights: the disk is full; free some space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["weights"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from genbench.files import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_bytes(Path(sys.argv[1]), bytes(5000))
"""


def test_a_write_that_the_system_refuses_half_way_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "big")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "cannot write" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/proc/sys").is_dir(), reason="root may write anywhere"
)
def test_no_permission_is_named() -> None:
    with pytest.raises(OSError, match=r"cannot write /proc/sys/genbench"):
        write_bytes(Path("/proc/sys/genbench"), b"x")


@pytest.mark.parametrize(
    ("umask", "file", "folder"),
    [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775), (0o077, 0o600, 0o700), (0, 0o666, 0o777)],
)
def test_what_is_written_has_the_rights_that_the_umask_leaves(
    tmp_path: Path, umask: int, file: int, folder: int
) -> None:
    former = os.umask(umask)
    try:
        write_bytes(tmp_path / "below" / "weights", b"x")
        with replace_directory(tmp_path / "report") as new:
            write_bytes(new / "page", b"x")
    finally:
        os.umask(former)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"below": folder, "weights": file, "report": folder, "page": file}


def test_writing_never_changes_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the whole process's: two threads that set it and set it back can leave it at what the
    other one had set.
    """
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was changed"))
    write_bytes(tmp_path / "weights", b"x")
    with replace_directory(tmp_path / "report"):
        pass


WRITES_AND_READS = """
import sys
from pathlib import Path
from genbench.files import read_json, write_text
write_text(Path(sys.argv[1]), '"gr\\u00f6\\u00dfe"')
print(len(read_json(Path(sys.argv[1]))))
"""


def test_text_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", WRITES_AND_READS, str(tmp_path / "a")],
        env=os.environ | plain,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("5\n", "")
    assert (tmp_path / "a").read_bytes() == b'"gr\xc3\xb6\xc3\x9fe"'


def test_json_refuses_what_json_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == []
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json is no valid JSON"):
        read_json(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_bytes(b'"\xe4"')
    with pytest.raises(ValueError, match=r"bad\.json is no valid JSON"):
        read_json(tmp_path / "bad.json")


def test_npz_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    arrays = {"images": np.arange(12, dtype=np.uint8).reshape(3, 4), "nats": np.array([1.5])}
    write_npz(tmp_path / "a.npz", arrays)
    write_npz(tmp_path / "b.npz", arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = read_npz(tmp_path / "a.npz")
    assert all(np.array_equal(back[k], v) and back[k].dtype == v.dtype for k, v in arrays.items())


def test_a_flipped_bit_in_an_npz_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Archives carry a checksum of each array; what they say of their form can be damaged in any
    way.
    """
    path, arrays = (
        tmp_path / "a.npz",
        {"images": np.arange(40, dtype=np.uint8), "nats": np.linspace(0, 1, 7)},
    )
    write_npz(path, arrays)
    content, noticed = path.read_bytes(), []
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            back = read_npz(path)
        except ValueError as error:
            noticed.append(str(error))
            continue
        assert back.keys() == arrays.keys() and all(
            np.array_equal(back[name], arrays[name]) for name in arrays
        ), place
    assert all("a.npz is corrupt or truncated" in text for text in noticed)
    assert len(noticed) > 4 * len(content)


@pytest.mark.parametrize("keep", [0, 10, 200, 400])
def test_a_truncated_npz_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, {"x": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.npz is corrupt or truncated"):
        read_npz(path)


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "report"
    with replace_directory(target) as new:
        (new / "a").write_text("1")
    with pytest.raises(FileNotFoundError), replace_directory(target) as new:
        (new / "a").write_text((new / "missing").read_text())
    assert (target / "a").read_text() == "1"
    with replace_directory(target) as new:
        (new / "b").write_text("3")
    assert os.listdir(target) == ["b"]
    assert os.listdir(tmp_path) == ["report"]


def test_a_swap_that_fails_half_way_leaves_the_former_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, replace = tmp_path / "report", os.replace
    with replace_directory(target) as new:
        (new / "a").write_text("1")

    def second_fails(source: Path, destination: Path) -> None:
        if destination == target and source.suffix == ".tmp":
            raise OSError(errno.EIO, "Input/output error")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(OSError, match="the disk reports a fault"), replace_directory(target) as new:
        (new / "b").write_text("2")
    assert os.listdir(tmp_path) == ["report"]
    assert os.listdir(target) == ["a"]


def test_a_writer_that_comes_between_is_replaced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, replace = tmp_path / "report", os.replace
    with replace_directory(target) as new:
        (new / "a").write_text("1")
    came = []

    def another_comes(source: Path, destination: Path) -> None:
        if destination == target and not came:
            came.append(1)
            target.mkdir()
            (target / "theirs").write_text("x")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", another_comes)
    with replace_directory(target) as new:
        (new / "b").write_text("2")
    assert came
    assert os.listdir(tmp_path) == ["report"]
    assert os.listdir(target) == ["b"]


WRITER = """
import os, platform, signal, sys
from pathlib import Path
path, host, moment = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if host:
    platform.node = lambda: host
from genbench.files import replace_directory, write_bytes

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "renames":
    replace = os.replace
    os.replace = lambda a, b: replace(a, b) if b != path else die()
    with replace_directory(path) as new:
        (new / "new").write_text("")
else:
    os.fsync = die
    write_bytes(path, b"half")
"""


def killed(path: Path, moment: str, host: str = "") -> tuple[int, list[Path]]:
    """The number of a process that was killed while it wrote ``path``, and what it has left."""
    before = set(path.parent.iterdir())
    dead = subprocess.Popen([sys.executable, "-c", WRITER, str(path), host, moment])
    assert dead.wait() == -signal.SIGKILL
    return dead.pid, sorted(set(path.parent.iterdir()) - before)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A folder with one file."""
    with replace_directory(tmp_path / "report") as new:
        (new / "old").write_text("")
    return tmp_path / "report"


def fails(path: Path) -> None:
    """Try to replace a folder."""
    with pytest.raises(RuntimeError), replace_directory(path):
        raise RuntimeError


def days_later(days: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + days * 86400)


def test_a_folder_survives_a_kill_between_its_renames(report: Path) -> None:
    killed(report, "renames")
    assert not report.exists()
    fails(report)
    assert os.listdir(report.parent) == ["report"]
    assert os.listdir(report) == ["old"]


def test_also_if_the_number_of_the_killed_process_is_another_ones_by_now(report: Path) -> None:
    pid, left = killed(report, "renames")
    for path in left:
        path.rename(
            path.with_name(re.sub(rf"(?<![0-9a-f]){pid}(?![0-9a-f])", str(os.getpid()), path.name))
        )
    fails(report)
    assert os.listdir(report.parent) == ["report"]
    assert os.listdir(report) == ["old"]


def test_what_a_killed_process_left_is_swept_at_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    assert len(killed(path, "write")[1]) == 1
    write_bytes(path, b"new")
    assert os.listdir(tmp_path) == ["weights"]


def test_what_another_thread_is_writing_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fsync, first = tmp_path / "weights", os.fsync, []

    def another_comes(handle: int) -> None:
        if not first:
            first.append(1)
            write_bytes(path, b"another's")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", another_comes)
    write_bytes(path, b"mine")
    assert path.read_bytes() == b"mine"


def test_what_another_machine_writes_is_left_alone_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    _, left = killed(path, "write", host="elsewhere")
    write_bytes(path, b"new")
    assert left[0].exists()
    days_later(0.9, monkeypatch)
    write_bytes(path, b"new")
    assert left[0].exists()
    days_later(0.2, monkeypatch)
    write_bytes(path, b"new")
    assert os.listdir(tmp_path) == ["weights"]


def test_a_folder_that_another_machine_has_moved_aside_is_put_back_after_a_day(
    report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(report, (1000, 1000))  # made long ago, and moved now
    killed(report, "renames", host="elsewhere")
    fails(report)
    assert not report.exists()
    days_later(1.1, monkeypatch)
    fails(report)
    assert os.listdir(report.parent) == ["report"]
    assert os.listdir(report) == ["old"]


def test_what_a_former_version_left_goes_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".weights.77.abc.tmp").write_bytes(b"half")
    other = tmp_path / ".weights.json.77.abc.tmp"  # of a file whose name begins alike
    other.write_bytes(b"half")
    write_bytes(tmp_path / "weights", b"new")
    assert len(os.listdir(tmp_path)) == 3
    days_later(1.1, monkeypatch)
    write_bytes(tmp_path / "weights", b"new")
    assert sorted(os.listdir(tmp_path)) == [other.name, "weights"]


def test_names_beside_a_place_leave_room_for_its_own(tmp_path: Path) -> None:
    """Most file systems allow 255 bytes, and names of entries and profiles have up to 64 each."""
    path = tmp_path / ("x" * 180)
    write_bytes(path, b"new")
    with replace_directory(tmp_path / ("y" * 180)) as new:
        (new / "file").write_text("")
    with replace_directory(tmp_path / ("y" * 180)) as new:
        (new / "file").write_text("")
