""".dvc/tmp/rwlock: what is removed from it, and never what a living DVC has written."""

from __future__ import annotations

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

from genbench.errors import UserError
from genbench.pipeline import dvc_rwlock
from genbench.pipeline.dvc_files import mend, problems
from tests import dvc_locks


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project without a dvc.lock."""
    return dvc_locks.project(tmp_path)


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
    path = dvc_rwlock.path_of(root)
    path.write_text(json.dumps(content(1, 2))[:damaged] if isinstance(damaged, int) else damaged)
    assert problems(root) == [
        (f"{path} cannot be read", "the next `genbench run` removes it, unless DVC is running now")
    ]
    assert mend(root) == [f"{path} was cut short by a kill, and is removed"]
    assert not path.exists()
    assert problems(root) == mend(root) == []


def test_not_while_dvc_runs_here(root: Path, other: psutil.Process) -> None:
    path = dvc_rwlock.path_of(root)
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
        dvc_rwlock.path_of(root),
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
    path = dvc_rwlock.path_of(root)
    path.write_text(json.dumps(content(os.getpid(), other.pid)))
    assert mend(root) == []
    assert json.loads(path.read_text()) == content(os.getpid(), other.pid)


def test_a_number_that_nobody_else_can_have_written_blocks_nobody(
    root: Path, other: psutil.Process
) -> None:
    path = dvc_rwlock.path_of(root)
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
