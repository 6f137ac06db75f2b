"""Processes that are really killed, really orphaned, and really in each other's way."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.errors import Stopped
from genbench.pipeline.stage_runner import call_stage
from genbench.processes.alive import RUN, process_id
from genbench.training.checkpoints import workspace
from tests.params_factory import written_protocol

ENVIRONMENT = os.environ | {"GENBENCH_CHECKPOINT_SECONDS": "0", "OMP_NUM_THREADS": "1"}


def stage(project: Path, verb: str, entry: str) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).with_name("genbench")), verb, entry]
    return subprocess.Popen(
        command, cwd=project, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def work_folder(project: Path, verb: str, entry: str) -> Path | None:
    found = list((project / ".ckpt").glob(f"quick-{entry}-{verb.replace('-', '_')}-*"))
    return found[0] if found else None


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, (
            f"it ended before it could be killed: {process.communicate()[1]}"
        )
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.fixture
def twins(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two equal projects, of which one is left in peace. Training takes long enough to be
    interrupted.
    """
    path = project / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["entries"]["made"]["train"] |= {"steps": 400}
    images = {1: 100, 10: 4, 200: 2}
    raw["protocol"] = written_protocol(samples=60, sample_chunk=5, images=images, references=100)
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    other = tmp_path_factory.mktemp("twin") / "project"
    shutil.copytree(project, other)
    return project, other


def test_a_killed_run_reaches_the_same_bits(twins: tuple[Path, Path]) -> None:
    killed, peaceful = twins

    def checkpoints_after(first: float) -> Callable[[], bool]:
        def ready() -> bool:
            folder = work_folder(killed, "train", "made")
            file = folder / "train.pt" if folder else None
            return bool(file and file.is_file() and file.stat().st_mtime > first)

        return ready

    for _ in range(2):
        kill_when(stage(killed, "train", "made"), checkpoints_after(time.time()))
        assert not (killed / "runs/quick/made/weights.safetensors").exists()
    finish(stage(killed, "train", "made"))
    finish(stage(peaceful, "train", "made"))

    for verb, output, part in (
        ("sample", "samples.npz", "1.npz"),
        ("score-likelihood", "nats.npz", "prepared.pt"),
    ):

        def begun(verb: str = verb, part: str = part) -> bool:
            folder = work_folder(killed, verb, "made")
            return folder is not None and (folder / part).is_file()

        kill_when(stage(killed, verb, "made"), begun)
        assert not (killed / "runs/quick/made" / output).exists()
        finish(stage(killed, verb, "made"))
        finish(stage(peaceful, verb, "made"))

    for name in ("weights.safetensors", "samples.npz", "nats.npz", "likelihood.json"):
        a, b = ((root / "runs/quick/made" / name).read_bytes() for root in twins)
        assert a == b, name
    histories = [
        np.genfromtxt(root / "runs/quick/made/history.csv", delimiter=",", names=True)
        for root in twins
    ]
    for column in histories[0].dtype.names:
        if column not in ("seconds", "images_per_second"):
            assert np.array_equal(histories[0][column], histories[1][column], equal_nan=True), (
                column
            )
    assert not list(killed.rglob("*.tmp")), "a killed process left a partial file"


HOLD = """
import sys, time
from pathlib import Path
from genbench.training.checkpoints import workspace
with workspace(Path(sys.argv[1]), "made", {"a": 1}) as work:
    work.save("train.pt", 5)
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_waits_says_for_whom_and_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with workspace(tmp_path, "made", {"a": 2}):
        assert capsys.readouterr().err == ""  # other work is not in the way
    threading.Timer(2, holder.kill).start()
    with workspace(tmp_path, "made", {"a": 1}) as work:
        assert holder.wait(120) == -signal.SIGKILL, "it did not wait"
        assert work.load("train.pt") == 5
    assert (
        f"made: waiting for made (process {holder.pid} on {platform.node()}, since "
        in capsys.readouterr().err
    )


def test_who_waits_ends_with_who_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    starter = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        monkeypatch.setenv("DVC_STAGE", "train@made")
        monkeypatch.setenv(RUN, process_id(starter.pid))
        threading.Timer(1, starter.kill).start()
        with (
            pytest.raises(Stopped, match="the process that started this work has died"),
            workspace(tmp_path, "made", {"a": 1}),
        ):
            pass
    finally:
        for process in (holder, starter):
            process.kill()
            process.communicate()


HERE = {"device": "cpu", "threads": 2, "precision": "float32"} | {
    "kind": {
        "machine": "x86_64",
        "vendor": "AuthenticAMD",
        "isa": "AVX2",
        "libraries": {"torch": "2"},
        "limits": {},
    }
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"precision": "bfloat16"},
            (
                "begun in bfloat16 on AMD, AVX2, with 2 threads",
                "not continued in float32 on AMD, AVX2, with 2 threads",
            ),
        ),
        (
            {"kind": HERE["kind"] | {"vendor": "GenuineIntel"}},
            ("begun in float32 on Intel, AVX2", "not continued in float32 on AMD, AVX2"),
        ),
        (
            {"kind": HERE["kind"] | {"libraries": {"torch": "3"}}},
            ("begun in float32 on AMD, AVX2", ", with torch 2 instead of 3, since"),
        ),
        (
            {"kind": HERE["kind"] | {"limits": {"MKL_CBWR": "AVX"}}},
            ("AMD, AVX2 (limited)", ", with MKL_CBWR None instead of AVX, since"),
        ),
        ({"threads": 1}, ("with 1 thread is not continued", "with 2 threads, since")),
        ({"arch": {"width": 9}}, None),  # other work: nothing to say
        ({"arch": {"width": 9}, "threads": 1}, None),
        ({}, None),  # the same work goes on
    ],
)
def test_work_of_another_kind_is_never_continued_and_said_so(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, object],
    told: tuple[str, ...] | None,
) -> None:
    mine = {"arch": {"width": 8}, **HERE}
    with (
        contextlib.suppress(KeyboardInterrupt),
        workspace(tmp_path, "quick-made-train", mine | change) as work,
    ):
        work.save("train.pt", 7)
        other = work.folder
        raise KeyboardInterrupt
    with workspace(tmp_path, "quick-made-train", mine) as work:
        assert work.load("train.pt") == (7 if not change else None)
    assert (other / "train.pt").is_file(), "what was begun elsewhere must stay"
    said = capsys.readouterr().err
    if told is None:
        assert said == ""
    else:
        assert said.startswith("quick-made-train: work that was begun ")
        assert all(part in said for part in told), said
        assert str(other) in said


def test_a_finished_or_empty_folder_of_another_kind_is_not_mentioned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        contextlib.suppress(KeyboardInterrupt),
        workspace(tmp_path, "quick-made-train", HERE | {"threads": 1}),
    ):
        raise KeyboardInterrupt
    with workspace(tmp_path, "quick-made-train", HERE | {"threads": 3}) as work:
        work.save("train.pt", 1)
    with (
        contextlib.suppress(KeyboardInterrupt),
        workspace(tmp_path, "quick-made-train-more", HERE | {"threads": 1}) as work,
    ):
        work.save("train.pt", 1)  # another entry, whose name begins alike
        raise KeyboardInterrupt
    with workspace(tmp_path, "quick-made-train", HERE):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="limits an x86-64 processor")
def test_training_starts_anew_on_another_kind(project: Path) -> None:
    """The work folder depends on the processor's kind, and what another kind left in its own is
    named (the other stages: test_unfinished_work).
    """
    finish(stage(project, "train", "made"))
    first = work_folder(project, "train", "made")
    assert first is not None and (first / "train.pt").is_file()
    (first / "done").unlink()  # as if it had been killed at the end
    command = [str(Path(sys.executable).with_name("genbench")), "train", "made"]
    limited = ENVIRONMENT | {"ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run(
        command, cwd=project, env=limited, capture_output=True, text=True, check=True
    )
    assert "quick-made-train: work that was begun" in done.stderr
    assert "DEFAULT (limited)" in done.stderr
    assert len(list((project / ".ckpt").glob("quick-made-train-*"))) == 2
    again = subprocess.run(
        command, cwd=project, env=limited, capture_output=True, text=True, check=True
    )
    assert "work that was begun" not in again.stderr


ORPHAN = """
import os, sys, time
from pathlib import Path
from genbench.training.checkpoints import workspace
with workspace(Path(sys.argv[1]), "made", {}) as work:
    for step in range(600):
        work.save("train.pt", step)
        if step == 0:
            Path(sys.argv[1], "pid").write_text(str(os.getpid()))
        time.sleep(0.05)
"""
PARENT = "import subprocess, sys; subprocess.run(sys.argv[1], shell=True)"


@pytest.mark.parametrize("shell_stays", [False, True])
def test_an_orphan_stops_at_its_next_checkpoint(tmp_path: Path, shell_stays: bool) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    command = f"{sys.executable} {script} {tmp_path}" + (" ; true" if shell_stays else "")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, command], env=os.environ | {"DVC_STAGE": "train@made"}
    )
    while not (tmp_path / "pid").exists():
        assert parent.poll() is None
        time.sleep(0.01)
    trainer = psutil.Process(int((tmp_path / "pid").read_text()))
    assert trainer.is_running()
    parent.kill()
    parent.wait()
    assert psutil.wait_procs([trainer], timeout=20)[1] == [], "the orphan goes on working"


def damages(content: bytes) -> Iterator[bytes]:
    """A bit of every byte but of every 7th in long files, every length of the beginning and the
    end, and some other contents.
    """
    for i in range(0, len(content), 1 if len(content) < 500 else 7):
        flipped = bytearray(content)
        flipped[i] ^= 1 << (i % 8)
        yield bytes(flipped)
    ends = {*range(0, min(40, len(content))), *range(max(0, len(content) - 100), len(content))}
    yield from (content[:end] for end in ends)
    yield from (bytes(len(content)), b"garbage " * 20, content + b"\n", content + content)


def test_damaged_checkpoints_count_as_absent_and_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with workspace(tmp_path, "made", {}) as work:
        work.save("train.pt", {"step": 1, "weights": torch.arange(5)})
        path = work.folder / "train.pt"
        content = path.read_bytes()
        for number, damaged in enumerate(damages(content)):
            path.write_bytes(damaged)
            assert work.load("train.pt") is None, number
            assert (
                capsys.readouterr().err
                == f"{path} is damaged, or of a version without checksums: its work is done anew\n"
            )
        path.write_bytes(content)
        assert work.load("train.pt")["step"] == 1
        path.unlink()
        assert work.load("train.pt") is None
        assert capsys.readouterr().err == ""


def test_damaged_chunks_are_computed_again_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with workspace(tmp_path, "made", {}) as work:
        path = work.folder / "0.npz"
        work.chunk("0", lambda: {"x": np.arange(40)})
        content = path.read_bytes()
        for number, damaged in enumerate(damages(content)):
            path.write_bytes(damaged)
            assert work.chunk("0", lambda: {"x": np.arange(40)})["x"].tolist() == list(range(40))
            assert path.read_bytes() == content, number
            assert (
                capsys.readouterr().err
                == f"{path} is damaged, or of a version without checksums: its work is done anew\n"
            )


def test_work_of_a_version_without_checksums_counts_as_absent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with workspace(tmp_path, "made", {}) as work:
        torch.save({"step": 1}, work.folder / "train.pt")
        np.savez(work.folder / "0.npz", x=np.zeros(3))
        assert work.load("train.pt") is None
        assert work.chunk("0", lambda: {"x": np.ones(3)})["x"].tolist() == [1, 1, 1]
    assert capsys.readouterr().err.count("of a version without checksums") == 2


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00", '{"kind": 5}', '{"threads": 1}'])
def test_a_damaged_identity_stops_nobody_and_is_written_anew(tmp_path: Path, content: str) -> None:
    with (
        contextlib.suppress(KeyboardInterrupt),
        workspace(tmp_path, "quick-made-train", HERE) as work,
    ):
        work.save("train.pt", 7)
        raise KeyboardInterrupt
    (work.folder / "identity.json").write_text(content)
    with workspace(tmp_path, "quick-made-train", HERE | {"threads": 1}):
        pass
    with workspace(tmp_path, "quick-made-train", HERE) as work:
        assert work.load("train.pt") == 7
    assert json.loads((work.folder / "identity.json").read_text()) == HERE


@pytest.mark.parametrize("lost", range(0, 300, 9))
def test_a_flipped_identity_of_other_work_stops_nobody(tmp_path: Path, lost: int) -> None:
    with (
        contextlib.suppress(KeyboardInterrupt),
        workspace(tmp_path, "quick-made-train", HERE | {"threads": 1}) as work,
    ):
        work.save("train.pt", 7)
        raise KeyboardInterrupt
    path = work.folder / "identity.json"
    content = bytearray(path.read_bytes())
    content[lost % len(content)] ^= 1
    path.write_bytes(content)
    with workspace(tmp_path, "quick-made-train", HERE) as work:
        assert work.load("train.pt") is None


def test_a_training_whose_checkpoint_is_damaged_begins_anew(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where a model counts in the data before its first step, which a resumed training leaves
    out.
    """
    call_stage("fingerprints", params)
    for entry in ("made", "pixel_marginals"):
        call_stage("train", params, entry)
        weights = Layout.of(params).run_dir(entry).weights
        whole = weights.read_bytes()
        (folder,) = Layout.of(params).unfinished.glob(f"quick-{entry}-train-*")
        kept = folder / "train.pt"
        assert kept.is_file() == (entry == "made")
        kept.write_bytes(b"damaged")
        weights.unlink()
        call_stage("train", params, entry)
        assert weights.read_bytes() == whole
        assert f"{kept} is damaged" in capsys.readouterr().err


def test_chunks_are_computed_once(tmp_path: Path) -> None:
    calls = []

    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"x": np.arange(3)}

    for _ in range(2):
        with workspace(tmp_path, "made", {}) as work:
            assert work.chunk("0", compute)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 1
