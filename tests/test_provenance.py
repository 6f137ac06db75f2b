"""What a training stage says of the code that it ran, and that neither it nor DVC depends on
git.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.errors import UserError
from genbench.files import read_json
from genbench.pipeline.executor import check_workspace
from genbench.pipeline.stage_runner import call_stage
from pipelines.train import _version


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("genbench/a.py", "reports/quick/index.html", "dvc.lock", "profiles/full/dvc.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_a_clean_tree_is_its_commit(repository: Path) -> None:
    version = _version(repository)
    assert version
    assert git(repository, "rev-parse", "HEAD").startswith(version)


@pytest.mark.parametrize("name", ["reports/quick/index.html", "dvc.lock", "profiles/full/dvc.lock"])
def test_what_a_run_writes_does_not_make_it_dirty(repository: Path, name: str) -> None:
    (repository / name).write_text("second\n")
    assert not (_version(repository) or "").endswith("-dirty")


def test_a_changed_source_makes_it_dirty(repository: Path) -> None:
    (repository / "genbench" / "a.py").write_text("second\n")
    assert (_version(repository) or "").endswith("-dirty")


def test_a_new_source_makes_it_dirty_and_an_ignored_file_does_not(repository: Path) -> None:
    (repository / ".git" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "info" / "exclude").write_text("runs/\n")
    (repository / "runs").mkdir()
    (repository / "runs" / "weights").write_text("x")
    assert not (_version(repository) or "").endswith("-dirty")
    (repository / "genbench" / "new.py").write_text("x = 1\n")
    assert (_version(repository) or "").endswith("-dirty")


def test_outside_of_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert _version(tmp_path) is None


def test_a_repository_of_another_user_is_told_from_none(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to try it
    assert _version(repository) is None
    assert (
        "the commit is not recorded: git does not read a repository of another user; allow it by "
        f"`git config --global --add safe.directory {repository}`" in (capsys.readouterr().err)
    )


def test_without_git_there_is_none_and_the_reason(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert _version(repository) is None
    assert "the commit is not recorded: git cannot be started" in capsys.readouterr().err


def test_a_repository_that_git_cannot_read_is_told(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / ".git" / "index").write_bytes(b"damaged")
    assert _version(repository) is None
    assert "the commit is not recorded: git says: " in capsys.readouterr().err


def test_a_git_that_hangs_is_not_waited_for(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = repository / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(30)\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr("genbench.pipeline.git._PATIENCE", 1.0, raising=False)
    assert _version(repository) is None
    assert (
        "the commit is not recorded: git has not ended within 1 s; try `git status` in"
        in capsys.readouterr().err
    )


def test_a_training_is_not_lost_for_want_of_git(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_stage("fingerprints", params)
    monkeypatch.setenv("PATH", str(params.root))
    call_stage("train", params, "pixel_marginals")
    assert Layout.of(params).run_dir("pixel_marginals").weights.is_file()
    assert read_json(Layout.of(params).run_dir("pixel_marginals").provenance)["git"] is None


# ---------------------------------------------------------------------- what DVC needs of git


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project for DVC, not in git."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (tmp_path / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo 1 > one\n    outs: [one]\n")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return tmp_path


def repro(root: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", "repro"]
    return subprocess.run(
        command, cwd=root, env=os.environ | more, capture_output=True, text=True, check=False
    )


def test_dvc_needs_a_repository_but_neither_git_nor_its_consent(pipeline: Path) -> None:
    git(pipeline, "init", "--quiet")
    check_workspace(pipeline)
    (pipeline / "bin").mkdir()
    (pipeline / "bin" / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    without = repro(
        pipeline, PATH=str(pipeline / "bin"), SHELL="/bin/sh", GIT_TEST_ASSUME_DIFFERENT_OWNER="1"
    )
    assert without.returncode == 0, without.stderr
    assert (pipeline / "one").read_text() == "1\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_dvc_works_in_a_repository_of_another_user(pipeline: Path) -> None:
    git(pipeline, "init", "--quiet")
    for path in (pipeline, *pipeline.rglob("*")):
        os.chown(path, 12345, 12345)
    check_workspace(pipeline)
    done = repro(pipeline, HOME=str(pipeline / "home"))
    assert done.returncode == 0, done.stderr
    assert (pipeline / "one").is_file()


def test_a_folder_outside_of_git_is_refused_with_what_to_do(pipeline: Path) -> None:
    failed = repro(pipeline)
    # So it has to be refused.
    assert failed.returncode != 0 and "is not a git repository" in failed.stderr
    with pytest.raises(
        UserError, match=r"no git repository.*`git init`.*`dvc config --local core.no_scm true`"
    ):
        check_workspace(pipeline)
    command = [sys.executable, "-m", "dvc", "config", "--local", "core.no_scm", "true"]
    assert subprocess.run(command, cwd=pipeline, capture_output=True, check=False).returncode == 0
    check_workspace(pipeline)
    assert repro(pipeline).returncode == 0


def test_a_damaged_configuration_of_dvc_is_named(pipeline: Path) -> None:
    (pipeline / ".dvc" / "config.local").write_text("[core\n")
    with pytest.raises(UserError, match=r"configuration of DVC in .*\.dvc is not valid"):
        check_workspace(pipeline)
