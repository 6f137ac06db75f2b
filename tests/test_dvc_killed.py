"""DVC killed for real while it writes its files, and what `genbench run` makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genbench.pipeline import dvc_rwlock
from genbench.pipeline.dvc_files import mend
from tests import dvc_locks
from tests.dvc_locks import COMMITTED, dvc_reads, stages_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project without a dvc.lock."""
    return dvc_locks.project(tmp_path)


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
    path = dvc_rwlock.path_of(project)
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
    # So something has to be done.
    assert "Unable to read RWLock-file" in dvc(project, "repro").stderr
    assert mend(project) == [f"{path} was cut short by a kill, and is removed"]
    assert dvc(project, "repro").returncode == 0


def test_a_reused_number_in_rwlock_stops_dvc_until_it_is_mended(project: Path) -> None:
    path = dvc_rwlock.path_of(project)
    path.write_text(
        json.dumps(
            {"write": {str(project / "one"): {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}
        )
    )
    assert "is busy" in dvc(project, "repro").stderr  # so something has to be done
    os.utime(path, (1000, 1000))  # it is older than the process that has the number now
    mend(project)
    assert dvc(project, "repro").returncode == 0
