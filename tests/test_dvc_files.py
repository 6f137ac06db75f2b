"""DVC's own files after a kill: cut at every place, and by processes that really die at that
moment. What can be read is decided by DVC itself.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import parse_yaml

from genbench.config.layout import Layout
from genbench.errors import UserError
from genbench.pipeline import dvc_files, rwlock
from genbench.pipeline.dvc_files import copies_kept, mend, problems

REPOSITORY = Path(__file__).resolve().parents[1]
COMMITTED = (REPOSITORY / "dvc.lock").read_bytes()

SMALL = b"""\
schema: '2.0'
stages:
  code:
    cmd: genbench fingerprints --profile quick
    deps:
    - path: genbench
      hash: md5
      md5: c1fc013f063851451c58a7ea203f92bf.dir
      size: 1284977
      nfiles: 130
    params:
      params.yaml:
        entries:
          made:
            note: 'a text that is so long that it goes on in the next line: because of its
              colon it stands in quotes'
    outs:
    - path: runs/quick/code
      hash: md5
      md5: 25bd5dfd929baf0f4bbfd91b1421b8b5.dir
      size: 2374
      nfiles: 3
  train@made:
    cmd: genbench train made --profile quick
    deps:
    - path: runs/quick/fingerprints/made/train.json
      hash: md5
      md5: 28b206a8a9f16075ba7f2734ad195188
      size: 1437832
    outs:
    - path: runs/quick/made/weights.safetensors
      hash: md5
      md5: '11111111111111111111111111111111'
      size: 54880758
"""


def dvc_reads(content: bytes) -> bool:
    """Whether DVC can read a dvc.lock, by DVC."""
    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(content.decode(), "dvc.lock"))
    except Exception:
        return False
    return True


def finished(content: bytes) -> bool:
    """Whether DVC can read a dvc.lock, and its end is one that DVC can have made: an output with
    its size.
    """
    if not dvc_reads(content) or not content.endswith(b"\n"):
        return False
    stages = stages_of(content) if b"stages:" in content else []
    return bool(stages) and "size" in (stages[-1][1].get("outs") or [{}])[-1]


def stages_of(content: bytes) -> list[tuple[str, Any]]:
    return list(yaml.safe_load(content)["stages"].items())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that has what these functions look at."""
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    for profile in ("smoke", "full"):
        (tmp_path / "profiles" / profile).mkdir(parents=True)
        (tmp_path / "profiles" / profile / "params.yaml").touch()
    return tmp_path


# ---------------------------------------------------------------------- dvc.lock


@pytest.mark.parametrize("profile", ["quick", "smoke"])
@pytest.mark.parametrize("part", range(20))
def test_a_committed_lock_that_is_cut_anywhere_is_mended(
    root: Path, profile: str, part: int
) -> None:
    path = Layout(root, profile).dvc_lock
    path.write_bytes(COMMITTED)
    assert mend(root) == []
    cut = COMMITTED[
        : len(COMMITTED) * part // 20 + 7 * (part % 3)
    ]  # within words and at their ends
    path.write_bytes(cut)
    assert not finished(cut)
    assert problems(root) == [(f"{path} is cut short", "the next `genbench run` mends it")]
    assert mend(root) == [f"{path} was cut short by a kill; its last copy is in its place"]
    assert path.read_bytes() == COMMITTED
    assert Layout(root, profile).dvc_lock_copy.with_name("dvc.lock.damaged").read_bytes() == cut
    assert problems(root) == mend(root) == []


def test_every_cut_is_taken_for_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, copy = root / "dvc.lock", Layout(root, "quick").dvc_lock_copy
    monkeypatch.setattr(dvc_files, "in_index", lambda *_: None)
    copy.parent.mkdir(parents=True)
    assert dvc_reads(SMALL)
    ends = [end for end in range(len(SMALL)) if finished(SMALL[:end])]
    assert len(ends) == 2  # of the first stage, and of the line before its last
    first = SMALL[: ends[-1]]
    copy.write_bytes(first)
    for end in range(len(SMALL)):
        if end in ends:
            continue
        path.write_bytes(
            SMALL[:end] + (b"\0" * 3 if end % 2 else b"")
        )  # some file systems fill in what they lost
        mend(root)
        assert path.read_bytes() == first, end


@pytest.mark.parametrize("kept", [None, b"stages: [", SMALL[:-20]])
@pytest.mark.parametrize("cut", [b"", SMALL[:100], SMALL[:-9]])
def test_without_a_whole_copy_or_git_it_is_named_and_left_alone(
    root: Path, kept: bytes | None, cut: bytes
) -> None:
    path, copy = root / "dvc.lock", Layout(root, "quick").dvc_lock_copy
    if kept is not None:
        copy.parent.mkdir(parents=True)
        copy.write_bytes(kept)
    path.write_bytes(cut)
    with pytest.raises(UserError) as error:
        mend(root)
    said = (
        f"{path} was cut short by a kill, and there is neither a copy of it nor one in git that "
        "is whole"
    )
    assert str(error.value).startswith(
        f"{said}. `git checkout -- {path}` takes the committed one; or delete it, and what DVC's "
        "cache"
    )
    assert path.read_bytes() == cut
    ((found, remedy),) = problems(root)
    assert found == said
    assert remedy in str(error.value)
    path.unlink()
    assert mend(root) == []


def test_a_copy_that_cannot_be_written_is_no_reason_to_fail(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk `genbench clean` comes by here."""

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    (root / "dvc.lock").write_bytes(SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(dvc_files, "write_bytes", full)
        assert mend(root) == []
        with copies_kept(root):
            (root / "dvc.lock").write_bytes(COMMITTED)
    assert not Layout(root, "quick").dvc_lock_copy.exists()


CONFLICT = SMALL.replace(
    b"      size: 1437832\n",
    b"<<<<<<< HEAD\n      size: 1\n=======\n      size: 2\n>>>>>>> other\n",
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            CONFLICT,
            "holds the marks of a merge conflict, and DVC cannot read it: keep both sides' "
            "entries in params.yaml, take either side",
        ),
        (CONFLICT[: CONFLICT.index(b">>>>>>>")], "holds the marks of a merge conflict"),
        (
            SMALL.replace(b"    cmd: genbench fingerprints", b"    cmd: [genbench fingerprints"),
            "cannot be read by DVC",
        ),
        (SMALL.replace(b"schema: '2.0'", b"schema: '9.0'"), "cannot be read by DVC"),
        (SMALL.replace(b"      hash: md5\n", b"\thash: md5\n", 1), "cannot be read by DVC"),
        (SMALL + b"notes: mine\n", "cannot be read by DVC"),
        (b"\xff" + SMALL, "cannot be read by DVC"),
        (b"[]", "cannot be read by DVC"),
    ],
)
def test_what_is_no_cut_is_named_and_left_alone(root: Path, content: bytes, reason: str) -> None:
    path = root / "profiles" / "full" / "dvc.lock"
    path.write_bytes(SMALL)
    mend(root)
    assert not dvc_reads(content)
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        mend(root)
    assert f"{path} {reason}" in str(error.value)
    assert f"git checkout --{'ours ' if 'merge' in reason else ' '}{path}" in str(error.value)
    assert path.read_bytes() == content
    assert Layout(root, "full").dvc_lock_copy.read_bytes() == SMALL
    (problem,) = problems(root)
    assert problem[0].startswith(f"{path} ")


def test_a_lock_that_was_deleted_stays_so(root: Path) -> None:
    path = root / "dvc.lock"
    path.write_bytes(SMALL)
    mend(root)
    path.unlink()
    assert mend(root) == []
    assert not path.exists()
    path.write_bytes(b"")
    with pytest.raises(
        UserError, match="neither a copy of it nor"
    ):  # the copy was of a state that was given up
        mend(root)


def test_every_whole_lock_is_renewed(root: Path) -> None:
    for content in (SMALL, COMMITTED, SMALL):
        (root / "dvc.lock").write_bytes(content)
        assert mend(root) == []
        assert Layout(root, "quick").dvc_lock_copy.read_bytes() == content


def test_a_lock_with_what_only_other_projects_of_dvc_have_is_no_problem(root: Path) -> None:
    """The quick look must be no stricter than DVC."""
    odd = SMALL.replace(
        b"    cmd: genbench fingerprints --profile quick\n", b"    cmd:\n    - a\n    - b\n"
    ).replace(b"      size: 54880758\n", b"      size: 54880758\n      isexec: true\n")
    assert dvc_reads(odd)
    (root / "dvc.lock").write_bytes(odd)
    assert problems(root) == mend(root) == []


def test_nothing_is_judged_while_dvc_writes(root: Path) -> None:
    """DVC holds its lock when it writes; a file that is empty just then is none of ours."""
    path = root / "dvc.lock"
    writer = (
        "import sys, time, zc.lockfile; from pathlib import Path; held = "
        "zc.lockfile.LockFile(sys.argv[1]); lock = Path(sys.argv[2])\n"
        "content = lock.read_bytes(); lock.write_bytes(b''); print('empty', flush=True); "
        "time.sleep(1); lock.write_bytes(content + b'# new\\n'); held.close()"
    )
    path.write_bytes(SMALL)
    mend(root)
    with subprocess.Popen(
        [sys.executable, "-c", writer, root / ".dvc/tmp/lock", path], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"empty\n"
        assert mend(root) == []
    assert (
        path.read_bytes() == Layout(root, "quick").dvc_lock_copy.read_bytes() == SMALL + b"# new\n"
    )


def test_copies_are_kept_while_dvc_works(root: Path) -> None:
    path, copy = root / "dvc.lock", Layout(root, "quick").dvc_lock_copy
    path.write_bytes(SMALL)
    mend(root)

    def becomes(content: bytes) -> bool:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if copy.read_bytes() == content:
                return True
            time.sleep(0.02)
        return False

    with copies_kept(root, interval=0.05):
        path.write_bytes(COMMITTED)
        assert becomes(COMMITTED)
        path.write_bytes(COMMITTED[:50])
        time.sleep(0.5)
        assert copy.read_bytes() == COMMITTED
        path.write_bytes(SMALL)
        assert becomes(SMALL)
    with copies_kept(root, interval=1000):
        path.write_bytes(COMMITTED)
    assert copy.read_bytes() == COMMITTED, "what DVC wrote last"


def test_copies_are_renewed_between_stages_of_two_seconds(root: Path) -> None:
    path, copy = root / "dvc.lock", Layout(root, "quick").dvc_lock_copy
    with copies_kept(root):
        for stage in range(5):
            path.write_bytes(SMALL + b"# %d\n" % stage)
            time.sleep(2)
            if copy.exists():
                break
        assert copy.read_bytes() == path.read_bytes()


# ---------------------------------------------------------------------- .dvc/tmp/rwlock


@pytest.fixture
def other(root: Path) -> Iterator[psutil.Process]:
    """A process that looks like DVC at work in the project."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()", "dvc", "repro"], cwd=root, stdin=subprocess.PIPE
    ) as process:
        yield psutil.Process(process.pid)
        process.kill()


def content(*pids: int) -> dict[str, Any]:
    """A rwlock as DVC writes it: the first one writes a file, all read another."""
    infos = [{"pid": pid, "cmd": "dvc repro"} for pid in pids]
    return {"write": {"/a": infos[0]}, "read": {"/b": infos}}


@pytest.mark.parametrize(
    "damaged",
    [
        *range(0, 100, 5),
        "[]",
        '{"write": {"/a": 1}}',
        '{"other": {}}',
        '{"read": {"/a": [{"pid": "1", "cmd": ""}]}}',
    ],
)
def test_an_unreadable_rwlock_is_removed(root: Path, damaged: int | str) -> None:
    path = rwlock.path_of(root)
    path.write_text(json.dumps(content(1, 2))[:damaged] if isinstance(damaged, int) else damaged)
    assert problems(root) == [
        (f"{path} cannot be read", "the next `genbench run` removes it, unless DVC is running now")
    ]
    assert mend(root) == [f"{path} was cut short by a kill, and is removed"]
    assert not path.exists()
    assert problems(root) == mend(root) == []


def test_not_while_dvc_runs_here(root: Path, other: psutil.Process) -> None:
    path = rwlock.path_of(root)
    path.write_text("")
    with pytest.raises(
        UserError,
        match=(
            rf"rwlock cannot be read, and DVC is running \(process {other.pid}\): wait for it to "
            rf"end"
        ),
    ):
        mend(root)
    assert path.exists()


def test_nor_while_another_users_dvc_may(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where that works the system does not tell; of what is no DVC it does not matter."""
    path, seen = (
        rwlock.path_of(root),
        {4242: ["/usr/bin/python3", "/usr/bin/dvc", "repro"], 4243: ["/usr/sbin/sshd"]},
    )
    path.write_text("")
    processes = [
        SimpleNamespace(pid=pid, info={"cmdline": command, "cwd": None})
        for pid, command in seen.items()
    ]
    monkeypatch.setattr(psutil, "process_iter", lambda _: processes)
    with pytest.raises(UserError, match=r"DVC is running \(process 4242\)"):
        mend(root)


def test_whoever_can_have_written_a_number_keeps_it_whatever_it_is_called(
    root: Path, other: psutil.Process
) -> None:
    """DVC may be a part of a notebook, as it is of this process."""
    path = rwlock.path_of(root)
    path.write_text(json.dumps(content(os.getpid(), other.pid)))
    assert mend(root) == []
    assert json.loads(path.read_text()) == content(os.getpid(), other.pid)


def test_a_number_that_nobody_else_can_have_written_blocks_nobody(
    root: Path, other: psutil.Process
) -> None:
    path = rwlock.path_of(root)
    ended = [subprocess.Popen([sys.executable, "-c", ""]) for _ in range(2)]
    ended[0].wait()
    while psutil.Process(ended[1].pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    path.write_text(json.dumps(content(ended[0].pid, ended[1].pid, other.pid)))
    mend(root)
    assert json.loads(path.read_text()) == {
        "write": {},
        "read": {"/b": [{"pid": other.pid, "cmd": "dvc repro"}]},
    }
    ended[1].wait()
    # A process that was started after the file was written is another one too.
    os.utime(path, (1000, 1000))
    mend(root)
    assert json.loads(path.read_text()) == {"write": {}, "read": {}}


# ---------------------------------------------------------------------- real kills


@pytest.fixture
def project(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of DVC whose dvc.lock is as long as that of `quick`, so that it takes DVC its time
    to write it.
    """
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    (root / "dvc.yaml").write_text("stages:\n  one:\n    cmd: date +%N > one\n    outs: [one]\n")
    (root / "dvc.lock").write_bytes(COMMITTED)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(root / "site"))
    return root


def dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_kill_while_dvc_writes_its_lock(project: Path) -> None:
    path = project / "dvc.lock"
    mend(project)
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while path.stat().st_size >= len(COMMITTED):
        assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.wait()
    assert not dvc_reads(path.read_bytes())
    assert dvc(project, "status").returncode != 0  # so something has to be done
    assert mend(project) == [f"{path} was cut short by a kill; its last copy is in its place"]
    assert path.read_bytes() == COMMITTED
    again = dvc(project, "repro")
    assert again.returncode == 0, again.stderr
    assert stages_of(path.read_bytes())[-1][0] == "one"


def test_a_kill_while_dvc_writes_its_rwlock(project: Path) -> None:
    """What another stage has noted there is long, so that it takes DVC its time to write it."""
    path = rwlock.path_of(project)
    path.write_text(
        json.dumps({"write": {}, "read": {"/elsewhere": [{"pid": 1, "cmd": "x" * 2**20}] * 20}})
    )
    long = path.stat().st_size
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while path.stat().st_size >= long:
        assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.wait()
    assert path.stat().st_size < long
    assert (
        "Unable to read RWLock-file" in dvc(project, "repro").stderr
    )  # so something has to be done
    assert mend(project) == [f"{path} was cut short by a kill, and is removed"]
    assert dvc(project, "repro").returncode == 0


def test_a_reused_number_in_rwlock_stops_dvc_until_it_is_mended(project: Path) -> None:
    path = rwlock.path_of(project)
    path.write_text(
        json.dumps(
            {"write": {str(project / "one"): {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}
        )
    )
    assert "is busy" in dvc(project, "repro").stderr  # so something has to be done
    os.utime(path, (1000, 1000))  # it is older than the process that has the number now
    mend(project)
    assert dvc(project, "repro").returncode == 0
