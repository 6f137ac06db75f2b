"""A cut dvc.lock beside its copy and what git has: the later one takes its place, with git
itself.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from genbench.config.layout import Layout
from genbench.errors import UserError
from genbench.pipeline import git
from genbench.pipeline.dvc_files import mend, problems

STAGE = """\
  {name}:
    cmd: make {name}
    outs:
    - path: {name}
      hash: md5
      md5: {digit}1111111111111111111111111111111
      size: 5
"""


def lock(**stages: str) -> bytes:
    """A dvc.lock with these stages and the first digits of their outputs' hashes."""
    return (
        "schema: '2.0'\nstages:\n"
        + "".join(STAGE.format(name=name, digit=digit) for name, digit in stages.items())
    ).encode()


FIRST, LATER, OTHER = lock(train="a"), lock(train="b", sample="b"), lock(train="c", sample="c")


class Clone:
    """A project in a git repository."""

    def __init__(self, root: Path) -> None:
        self.root, self.lock, self.copy = (
            root,
            root / "dvc.lock",
            Layout(root, "quick").dvc_lock_copy,
        )

    def git(self, *arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=self.root,
            check=True,
            capture_output=True,
        )

    def commit(self, content: bytes) -> None:
        """Commit a dvc.lock."""
        self.lock.write_bytes(content)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "results")

    def mended(self, cut: bytes = b"") -> tuple[str, bytes]:
        """What is said of a dvc.lock that is cut now, and what takes its place."""
        self.lock.write_bytes(cut)
        assert problems(self.root) == [
            (f"{self.lock} is cut short", "the next `genbench run` mends it")
        ]
        (told,) = mend(self.root)
        return told.partition("; ")[2], self.lock.read_bytes()


COMMITTED, COPY = "what git has of it is in its place", "its last copy is in its place"


@pytest.fixture
def theirs(tmp_path: Path) -> Clone:
    """The repository that others push to; FIRST is committed."""
    root = tmp_path / "theirs"
    (root / "profiles").mkdir(parents=True)
    (root / "profiles" / ".keep").touch()
    (root / ".gitignore").write_text("/.status/\n/.dvc/\n")
    clone = Clone(root)
    clone.git("init", "-q", "-b", "main")
    clone.commit(FIRST)
    return clone


@pytest.fixture
def clone(theirs: Clone, tmp_path: Path) -> Clone:
    """A clone of it, in a folder of another repository."""
    theirs.git("clone", "-q", ".", str(tmp_path / "mine"))
    return Clone(tmp_path / "mine")


@pytest.mark.parametrize("cut", [b"", FIRST[:60], LATER[:-8]])
def test_without_a_copy_the_committed_one_takes_its_place(clone: Clone, cut: bytes) -> None:
    assert clone.mended(cut) == (COMMITTED, FIRST)
    assert clone.copy.with_name("dvc.lock.damaged").read_bytes() == cut


def test_also_that_of_a_profile_and_a_project_below_the_repository(tmp_path: Path) -> None:
    root = tmp_path / "repository" / "größe #1"
    folder = root / "profiles" / "smoke"
    folder.mkdir(parents=True)
    (folder / "params.yaml").touch()
    (folder / "dvc.lock").write_bytes(LATER)
    clone = Clone(root)
    clone.git("init", "-q", "..")
    clone.commit(FIRST)
    (folder / "dvc.lock").write_bytes(b"schema")
    assert mend(root) == [f"{folder / 'dvc.lock'} was cut short by a kill; {COMMITTED}"]
    assert (folder / "dvc.lock").read_bytes() == LATER


def test_a_pull_makes_the_committed_one_the_later(theirs: Clone, clone: Clone) -> None:
    assert mend(clone.root) == []
    assert clone.copy.read_bytes() == FIRST
    theirs.commit(LATER)
    time.sleep(0.05)
    clone.git("pull", "-q")
    assert clone.mended() == (COMMITTED, LATER)
    assert mend(clone.root) == []
    assert clone.copy.read_bytes() == LATER


def test_what_was_run_since_is_the_later(theirs: Clone, clone: Clone) -> None:
    """Also after a commit of other files, and by who has committed results of another branch
    elsewhere meanwhile.
    """
    time.sleep(0.05)
    clone.lock.write_bytes(OTHER)
    assert mend(clone.root) == []
    assert clone.mended() == (COPY, OTHER)
    (clone.root / "README").touch()
    clone.git("add", "README")
    clone.git("commit", "-q", "-m", "words")
    theirs.commit(LATER)
    clone.git("fetch", "-q")
    assert clone.mended() == (COPY, OTHER)


def test_what_dvc_alone_has_run_since_the_copy_and_was_committed_is_the_later(clone: Clone) -> None:
    assert mend(clone.root) == []
    time.sleep(0.05)
    clone.commit(OTHER)
    assert clone.mended() == (COMMITTED, OTHER)


def test_a_committed_one_that_is_not_whole_is_not_taken(clone: Clone) -> None:
    clone.commit(LATER[:-8])
    clone.lock.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"neither a copy of it nor one in git that is whole\. `git checkout"
    ):
        mend(clone.root)
    clone.copy.parent.mkdir(parents=True)
    clone.copy.write_bytes(FIRST)
    os.utime(clone.copy, (1000, 1000))
    assert clone.mended() == (COPY, FIRST)


def test_without_the_program_git_the_copy_is_taken_and_else_the_reason_told(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mend(clone.root) == []
    monkeypatch.setenv("PATH", "/nowhere")
    assert clone.mended() == (COPY, FIRST)
    clone.copy.unlink()
    clone.lock.write_bytes(b"")
    with pytest.raises(
        UserError,
        match=r"nor one in git that is whole \(git cannot be started .*\)\. `git checkout",
    ):
        mend(clone.root)


def test_where_git_does_not_say_when_it_wrote_a_file_the_copy_is_taken(
    theirs: Clone, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mend(clone.root) == []
    theirs.commit(LATER)
    time.sleep(0.05)
    clone.git("pull", "-q")
    run = git._run
    monkeypatch.setattr(
        git, "_run", lambda root, *what: b"dvc.lock" if what[0] == "ls-files" else run(root, *what)
    )
    assert clone.mended() == (COPY, FIRST)
    clone.copy.unlink()
    assert clone.mended() == (COMMITTED, LATER)
