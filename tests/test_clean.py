"""`genbench clean` beside stages that are at work. What it keeps and removes otherwise is in
test_clean_unfinished.py.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from genbench.pipeline import clean
from genbench.processes.lock import hold


@pytest.fixture
def root(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, and this process in it."""
    monkeypatch.chdir(project)
    return project


def checkpoint(root: Path) -> Path:
    """A folder of unfinished work with 1000 bytes."""
    folder = root / ".ckpt" / "quick-made-train-aa"
    folder.mkdir(parents=True)
    (folder / "state").write_bytes(b"x" * 998)
    (folder / "identity.json").write_text("{}")
    return folder


def test_a_folder_that_somebody_has_taken_since_it_was_looked_at_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, leftovers = checkpoint(root), clean.leftovers
    with contextlib.ExitStack() as stack, monkeypatch.context() as patched:

        def late(*arguments: Any) -> list[clean.Leftover]:
            found = leftovers(*arguments)
            stack.enter_context(hold(folder / "lock", "a stage"))
            return found

        patched.setattr(clean, "leftovers", late)
        clean.clean(everything=True)
        assert "kept (in use): quick-made-train-aa" in capsys.readouterr().out
        assert (folder / "state").is_file()
    clean.clean(everything=True)
    assert not folder.exists()


def test_who_waits_for_a_folder_that_is_removed_begins_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rmtree = checkpoint(root), shutil.rmtree

    def begun_anew(path: Path) -> None:
        rmtree(path)
        with hold(path / "lock", "a stage"):
            (path / "state").write_bytes(b"new")
        raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))

    monkeypatch.setattr(shutil, "rmtree", begun_anew)
    assert clean.remove_unfinished(folder) == "in use"
    assert (folder / "state").read_bytes() == b"new"
    assert not (folder / "identity.json").exists()


def test_files_that_vanish_while_they_are_counted_are_not_missed(root: Path) -> None:
    folder = checkpoint(root)
    # Listed, and not there when it is looked at.
    (folder / "vanished").symlink_to(folder / "nowhere")
    (found,) = clean.leftovers(root / ".ckpt", [], set())
    assert (found.size, found.kept) == (1000, None)
    assert clean.remove_unfinished(folder) is None
    assert clean.remove_unfinished(folder) is None, "another one has removed it"
