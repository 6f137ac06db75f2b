"""DVC's own lock, taken by DVC and by genbench in turn, in both ways in which DVC can be set to
take it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dvc.lock
import psutil
import pytest
from dvc.repo import Repo

from genbench.errors import UserError
from genbench.pipeline.dvc_config import is_set, mentions
from genbench.pipeline.dvc_files import problems
from genbench.pipeline.dvc_quiet import dvc_is_quiet

HOLDER = (
    "from dvc.repo import Repo; repo = Repo('.'); repo.lock.lock(); print('held', "
    "flush=True); input()"
)


@pytest.fixture(params=[False, True], ids=["flock", "hardlink"])
def links(request: pytest.FixtureRequest) -> bool:
    """Whether DVC is set to take hard links."""
    return bool(request.param)


@pytest.fixture
def root(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of DVC."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setattr(dvc.lock, "DEFAULT_TIMEOUT", 0.05)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / "profiles").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        f"[core]\n    no_scm = true\n{'    Hardlink_Lock = true' if links else ''}\n"
    )
    return tmp_path


@pytest.fixture
def holder(root: Path) -> Iterator[psutil.Process]:
    """Another process, in which DVC holds its lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, "dvc"],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield psutil.Process(process.pid)
        process.kill()


def dvc_can_lock(root: Path) -> bool:
    """Whether DVC can, by DVC."""
    with Repo(str(root)) as repo:
        try:
            with repo.lock:
                return True
        except dvc.lock.LockError:
            return False


def test_dvc_is_kept_away_and_can_work_afterwards(root: Path, links: bool) -> None:
    for _ in range(2):
        with dvc_is_quiet(root):
            assert not dvc_can_lock(root)
        assert (root / ".dvc" / "tmp" / "lock").exists() != links
        assert dvc_can_lock(root)


def test_dvc_is_waited_for_and_named(root: Path, links: bool, holder: psutil.Process) -> None:
    named = rf"tmp/lock is held by process {holder.pid} \({sys.executable} -c from dvc.*\)"
    with pytest.raises(UserError, match=f"{named}$"):
        problems(root, patience=0.3)
    holder.send_signal(signal.SIGSTOP)
    while holder.status() != psutil.STATUS_STOPPED:
        pass
    with pytest.raises(
        UserError,
        match=(
            f"{named}, which is stopped: continue it .`fg`, or `kill -CONT {holder.pid}`. or end "
            "it$"
        ),
    ):
        problems(root, patience=0.3)
    holder.kill()
    holder.wait()
    if links:  # then it blocks DVC too
        with pytest.raises(
            UserError,
            match=r"is held by no DVC that is to be seen: delete it, unless one runs elsewhere$",
        ):
            problems(root, patience=0.3)
        (root / ".dvc" / "tmp" / "lock").unlink()
    assert problems(root, patience=0.3) == []
    assert dvc_can_lock(root)


def test_who_waits_without_end_says_for_whom(root: Path, holder: psutil.Process) -> None:
    program = "from pathlib import Path; from genbench.pipeline.dvc_files import mend; mend(Path())"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        assert (
            f"waiting, for .dvc/tmp/lock is held by process {holder.pid} ("
            in waiting.stderr.readline()
        )
        holder.kill()
        if not is_set(root, "hardlink_lock"):
            assert waiting.wait(120) == 0
        waiting.kill()


def test_a_full_disk_is_no_reason_not_to_hold_it(
    root: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    if links:
        pytest.skip("a link needs room")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with dvc_is_quiet(root):
            assert not dvc_can_lock(root)


@pytest.mark.parametrize(
    "place", ["config", "config.local", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"]
)
def test_every_file_of_dvcs_configuration_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / ".dvc").mkdir()
    path = tmp_path / ".dvc" / place
    if place.startswith("DVC_"):
        monkeypatch.setenv(place, str(tmp_path / "elsewhere"))
        path = tmp_path / "elsewhere" / "config"
        path.parent.mkdir()
    assert not mentions(tmp_path, "hardlink_lock")
    path.write_text("[core]\n    Hardlink_Lock = true\n[cache]\n    dir = /x\n")
    assert is_set(tmp_path, "hardlink_lock")
    assert not is_set(tmp_path, "no_scm")
    assert mentions(tmp_path, "hardlink_lock")
    assert mentions(tmp_path, "cache")
    path.write_text("[core]\n    hardlink_lock = false\n")
    assert not is_set(tmp_path, "hardlink_lock")
    path.write_text("[core]\n    hardlink_lock = perhaps\n")
    with pytest.raises(UserError, match=r"configuration of DVC in .* is not valid"):
        is_set(tmp_path, "hardlink_lock")
