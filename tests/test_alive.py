"""Who must live for a stage's work to be wanted: DVC as it has noted itself, whatever stands
between it and the stage.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from genbench.processes.alive import RUN, alive, awaited_by, process_id

IDLE = [sys.executable, "-c", "input()"]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The number of a process that stands for a stage, in a project's folder; its parent is this
    one.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "train@made")
    monkeypatch.delenv(RUN, raising=False)
    with subprocess.Popen(IDLE, stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def note(*numbers: int) -> None:
    """As DVC does, an output for each."""
    path = Path(".dvc", "tmp", "rwlock")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = {f"/out/{number}": {"pid": number, "cmd": "dvc repro"} for number in numbers}
    path.write_text(
        json.dumps({"write": written, "read": {"/in": [{"pid": 1, "cmd": "dvc repro"}]}})
    )


def dead() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


def test_the_nearest_parent_that_dvc_has_noted(stage: int) -> None:
    note(os.getppid())
    assert set(awaited_by(stage)) == {process_id(), process_id(os.getppid())}
    note(os.getppid(), os.getpid(), dead())
    assert awaited_by(stage) == [process_id()]


def test_a_noted_process_that_is_gone_is_awaited_in_vain(stage: int) -> None:
    gone = dead()
    note(gone)
    assert set(awaited_by(stage)) == {process_id(), f"{gone}:"}
    assert not all(map(alive, awaited_by(stage)))


def test_a_noted_process_that_lives_elsewhere_is_not_this_stages(stage: int) -> None:
    with subprocess.Popen(IDLE, stdin=subprocess.PIPE) as other:
        note(other.pid)
        assert awaited_by(stage) == [process_id()]
        other.kill()


@pytest.mark.parametrize(
    "content",
    [None, "", '{"write": {"/out": {"pi', "[]", "{}", '{"write": []}', '{"write": {"/out": 3}}'],
)
def test_without_notes_the_parent_counts(stage: int, content: str | None) -> None:
    note(dead())
    path = Path(".dvc", "tmp", "rwlock")
    path.unlink() if content is None else path.write_text(content)
    assert awaited_by(stage) == [process_id()]


def test_the_run_counts_too_and_outside_of_dvc_nobody(
    stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN, "7:8")
    assert awaited_by(stage) == [process_id(), "7:8"]
    monkeypatch.delenv("DVC_STAGE")
    assert awaited_by(stage) == []


@pytest.mark.skipif(
    sys.platform != "linux", reason="the name of a process is that of its file there"
)
@pytest.mark.parametrize("shell", ["bash", "ksh", "mksh", "tcsh", "ash", "nu"])
def test_without_notes_a_shells_parent_counts_too(stage: int, tmp_path: Path, shell: str) -> None:
    path = tmp_path / shell
    path.write_text(
        f"#!/bin/sh\n{sys.executable} -c 'import os; print(os.getpid(), flush=True); "
        "input()'\nexit 0\n"
    )
    path.chmod(0o755)
    with subprocess.Popen(
        [str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as between:
        assert between.stdout is not None
        assert set(awaited_by(int(between.stdout.readline()))) == {
            process_id(between.pid),
            process_id(),
        }
        between.communicate("\n")


def test_no_heavy_library_is_imported() -> None:
    """A stage waits for this before anything else."""
    program = (
        "import sys; from genbench.processes.alive import process_id; process_id(); "
        "print(sys.modules.keys() & {'psutil', 'torch', 'numpy'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    if sys.platform == "linux":
        assert done.stdout == "set()\n"
