"""`genbench clean`: which folders of unfinished work it keeps."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from genbench.config.load import load_params
from genbench.files import write_bytes
from genbench.pipeline import clean
from tests import shell_stages
from tests.shell_stages import call


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stages are shell commands, without DVC."""
    return shell_stages.project(tmp_path, monkeypatch)


@pytest.fixture
def repository(root: Path) -> Path:
    """The same under git and DVC."""
    return shell_stages.repository(root)


def checkpoint(root: Path, name: str, age: float) -> Path:
    folder = root / ".ckpt" / name
    folder.mkdir(parents=True)
    (folder / "state").write_bytes(b"x" * 998)
    (folder / "identity.json").write_text("{}")
    for path in (folder / "state", folder / "identity.json", folder):
        os.utime(path, (time.time() - age, time.time() - age))
    return folder


def test_checkpoints_are_kept_for_unfinished_stages_alone(root: Path) -> None:
    names = [
        "quick-made-train-aa",
        "quick-made-train-bb",
        "quick-vae-train-cc",
        "quick-gone-train-dd",
        "smoke-made-train-ee",
        "quick-made-sample-ff",
    ]
    for age, name in enumerate(names):
        checkpoint(root, name, age)
    loaded = [load_params("quick"), load_params("smoke")]
    unfinished = {"quick-made-train", "quick-gone-train", "smoke-made-train"}
    found = clean.leftovers(root / ".ckpt", loaded, unfinished)
    assert {leftover.path.name: leftover.kept for leftover in found} == {
        "quick-made-train-aa": "unfinished",  # the newest
        "quick-made-train-bb": None,
        "quick-vae-train-cc": None,  # up to date
        "quick-gone-train-dd": None,  # no entry
        "smoke-made-train-ee": "unfinished",
        "quick-made-sample-ff": None,
    }
    assert all(leftover.size == 1000 for leftover in found)


def test_the_newest_checkpoint_of_each_kind_of_processor_is_kept(root: Path) -> None:
    """A project that two kinds of machines work in by turns: each goes on with its own."""
    for age, (name, kind) in enumerate(
        {"aa": "AVX2", "bb": "AVX512", "cc": "AVX2", "dd": None}.items()
    ):
        folder = checkpoint(root, f"quick-made-train-{name}", age)
        if kind:
            (folder / "identity.json").write_text(
                json.dumps({"kind": {"isa": kind}, "threads": 2, "arch": name})
            )
            for path in (folder / "identity.json", folder):
                os.utime(path, (time.time() - age, time.time() - age))
        else:  # of a version that kept no identity: nothing goes on from it
            (folder / "identity.json").unlink()
    found = clean.leftovers(root / ".ckpt", [load_params("quick")], {"quick-made-train"})
    assert {leftover.path.name[-2:]: leftover.kept for leftover in found} == {
        "aa": "unfinished",
        "bb": "unfinished",
        "cc": None,
        "dd": None,
    }


def test_clean_works_after_a_kill_that_hit_dvc_while_it_wrote(repository: Path) -> None:
    stale = checkpoint(repository, "quick-gone-train-aa", 5)
    unfinished = checkpoint(repository, "quick-made-train-bb", 5)
    (repository / "dvc.lock").write_bytes(b"schema: '2.0'\nsta")
    code, _, stderr = call("clean")
    assert code == 1
    assert (
        "dvc.lock was cut short by a kill, and there is neither a copy of it nor one in git that "
        "is whole" in stderr
    )
    assert not stale.exists()
    write_bytes(repository / ".status" / "quick" / "dvc.lock.copy", b"schema: '2.0'\nstages: {}\n")
    code, _, stderr = call("clean")
    assert code == 0, stderr
    assert "dvc.lock was cut short by a kill; its last copy is in its place" in stderr
    assert unfinished.exists()


def test_clean_removes_and_counts_and_never_what_is_in_use(repository: Path) -> None:
    stale, used = (
        checkpoint(repository, "quick-gone-train-aa", 5),
        checkpoint(repository, "quick-made-train-bb", 5),
    )
    unfinished = checkpoint(repository, "quick-vae-train-cc", 5)
    with (used / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, stdout, stderr = call("clean")
        assert code == 0, stderr
        assert not stale.exists()
        assert unfinished.exists()
        assert "freed 0.0 MB" in stdout
        assert call("clean", "--all")[0] == 0
        assert not unfinished.exists()
        assert used.exists()
