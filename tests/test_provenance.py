"""What a training stage says of the code that it ran."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipelines.train import _version


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("genbench/a.py", "reports/quick/index.html", "dvc.lock", "profiles/full/dvc.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_a_clean_tree_is_its_commit(project: Path) -> None:
    version = _version(project)
    assert version
    assert git(project, "rev-parse", "HEAD").startswith(version)


@pytest.mark.parametrize("name", ["reports/quick/index.html", "dvc.lock", "profiles/full/dvc.lock"])
def test_what_a_run_writes_does_not_make_it_dirty(project: Path, name: str) -> None:
    (project / name).write_text("second\n")
    assert not (_version(project) or "").endswith("-dirty")


def test_a_changed_source_makes_it_dirty(project: Path) -> None:
    (project / "genbench" / "a.py").write_text("second\n")
    assert (_version(project) or "").endswith("-dirty")


def test_a_new_source_makes_it_dirty_and_an_ignored_file_does_not(project: Path) -> None:
    (project / ".git" / "info").mkdir(exist_ok=True)
    (project / ".git" / "info" / "exclude").write_text("runs/\n")
    (project / "runs").mkdir()
    (project / "runs" / "weights").write_text("x")
    assert not (_version(project) or "").endswith("-dirty")
    (project / "genbench" / "new.py").write_text("x = 1\n")
    assert (_version(project) or "").endswith("-dirty")


def test_outside_of_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert _version(tmp_path) is None
