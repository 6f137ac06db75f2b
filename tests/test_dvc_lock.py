"""A dvc.lock that a kill has cut short is mended by its copy, and nothing else is taken for one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genbench.config.layout import Layout
from genbench.errors import UserError
from genbench.pipeline import dvc_files
from genbench.pipeline.dvc_files import copies_kept, mend, problems
from tests import dvc_locks
from tests.dvc_locks import COMMITTED, SMALL, dvc_reads, finished


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project without a dvc.lock."""
    return dvc_locks.project(tmp_path)


@pytest.mark.parametrize("profile", ["quick", "smoke"])
@pytest.mark.parametrize("part", range(20))
def test_a_committed_lock_that_is_cut_anywhere_is_mended(
    root: Path, profile: str, part: int
) -> None:
    path = Layout(root, profile).dvc_lock
    path.write_bytes(COMMITTED)
    assert mend(root) == []
    # Within words and at their ends.
    cut = COMMITTED[: len(COMMITTED) * part // 20 + 7 * (part % 3)]
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
        # Some file systems fill in what they lost.
        path.write_bytes(SMALL[:end] + (b"\0" * 3 if end % 2 else b""))
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
        deadline = time.monotonic() + 120
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
