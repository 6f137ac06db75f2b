"""Bits that flip in DVC's cache or in outputs, with DVC itself: what it takes for right is seen
before it is used, and made or restored.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.cli import main as dvc
from dvc.repo import Repo

from genbench.errors import UserError
from genbench.pipeline import integrity
from genbench.pipeline.integrity import damaged_outputs, mend_outputs

REPOSITORY = Path(__file__).resolve().parents[1]
PIPELINE = """\
stages:
  train:
    foreach: [made]
    do:
      cmd: >-
        echo train >> log; echo weights > weights;
        mkdir -p pictures; echo a > pictures/a; echo b > pictures/b
      deps: [data]
      outs: [weights, pictures]
  sample:
    foreach: [made]
    do:
      cmd: echo sample >> log; cp weights samples
      deps: [weights]
      outs: [samples]
"""
STAGES = ("train@made", "sample@made")
WEIGHTS = "weights\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "data").write_text("data")
    assert dvc(["repro", "-q"]) == 0
    (tmp_path / "log").unlink()
    return tmp_path


def ran(root: Path) -> list[str]:
    """What DVC runs now."""
    assert dvc(["repro", "-q"]) == 0
    log = root / "log"
    lines = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def flip(path: Path) -> None:
    """Another content, of the same size, inode, times and mode: as a disk does it."""
    before = path.stat()
    os.chmod(path, 0o644)
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    os.chmod(path, stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cached(root: Path, path: str) -> Path:
    """The copy of an output in DVC's cache."""
    content = (root / path).read_bytes()
    (found,) = [
        file
        for file in (root / ".dvc" / "cache" / "files" / "md5").rglob("*")
        if file.is_file() and file.read_bytes() == content
    ]
    return found


def test_what_is_right_is_left_alone(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert damaged_outputs(root, "quick", STAGES) == mend_outputs(root, "quick", STAGES) == ([], [])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert ran(root) == []


def test_an_output_that_has_silently_changed_is_restored(root: Path) -> None:
    flip(root / "weights")
    assert ran(root) == []  # DVC does not see it
    assert (root / "weights").read_text() != WEIGHTS
    assert damaged_outputs(root, "quick", STAGES) == ([Path("weights")], [])
    assert mend_outputs(root, "quick", STAGES) == (
        ["weights has changed since it was made: it is restored from the cache"],
        [],
    )
    assert ran(root) == []
    assert (root / "weights").read_text() == WEIGHTS


def test_one_whose_copy_is_damaged_too_is_made_again(root: Path) -> None:
    copy = cached(root, "weights")
    for path in (root / "weights", copy):
        flip(path)
    assert mend_outputs(root, "quick", STAGES)[0] == [
        "weights has changed since it was made, and so has its copy in the cache: it is made again"
    ]
    assert ran(root) == ["train"]  # the samples are of equal weights
    assert (root / "weights").read_text() == copy.read_text() == WEIGHTS


def test_a_damaged_copy_is_not_taken_for_an_absent_output(root: Path) -> None:
    copy = cached(root, "weights")
    flip(copy)
    (root / "weights").unlink()
    ((told,), _) = mend_outputs(root, "quick", STAGES)
    assert (
        told
        == "the copy of weights in the cache was damaged, and is removed: weights is made again"
    )
    assert ran(root) == ["train"]
    assert (root / "weights").read_text() == copy.read_text() == WEIGHTS


def test_by_itself_dvc_would_take_it(root: Path) -> None:
    """The reason for all this; if DVC ever looks, it can go."""
    flip(cached(root, "weights"))
    (root / "weights").unlink()
    assert ran(root) == []
    assert (root / "weights").read_text() != WEIGHTS


def test_a_file_of_a_folder_too(root: Path) -> None:
    copy = cached(root, "pictures/b")
    for path in (root / "pictures" / "b", copy):
        flip(path)
    assert damaged_outputs(root, "quick", STAGES) == ([Path("pictures/b")], [])
    assert len(mend_outputs(root, "quick", STAGES)[0]) == 1
    assert ran(root) == ["train"]
    assert [(root / "pictures" / name).read_text() for name in "ab"] == ["a\n", "b\n"]


@pytest.mark.parametrize("looked", [False, True])
def test_what_was_changed_by_hand_is_for_dvc_to_see(root: Path, looked: bool) -> None:
    """As `genbench train made` does, which is no damage; also if DVC has noted the new hash
    since.
    """
    (root / "weights").write_text("others\n")
    if looked:
        assert dvc(["status", "-q"]) == 1
    assert damaged_outputs(root, "quick", STAGES) == mend_outputs(root, "quick", STAGES) == ([], [])
    assert (root / "weights").read_text() == "others\n"


def test_other_stages_are_left_out(root: Path) -> None:
    flip(root / "weights")
    assert mend_outputs(root, "quick", ["sample@made", "train@other"]) == ([], [])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("stages: ["),
        lambda path: path.write_text("stages: {train@made: 1}"),
    ],
)
def test_without_a_lock_there_is_nothing_to_compare_with(
    root: Path, spoil: Callable[[Path], None]
) -> None:
    flip(root / "weights")
    spoil(root / "dvc.lock")
    assert mend_outputs(root, "quick", STAGES) == ([], [])


def test_dvc_is_asked_for_its_cache_where_it_is_elsewhere(root: Path) -> None:
    copies = {name: cached(root, name) for name in ("weights", "pictures/b")}
    with Repo(str(root)) as repo:
        assert repo.cache.local.oid_to_path(
            copies["weights"].parent.name + copies["weights"].name
        ) == str(copies["weights"])
    (root / "elsewhere").mkdir()
    (root / ".dvc" / "cache").rename(root / "elsewhere" / "cache")
    with (root / ".dvc" / "config").open("a") as config:
        config.write("[cache]\n    dir = ../elsewhere/cache\n")
    for name, copy in copies.items():
        flip(root / "elsewhere" / "cache" / copy.relative_to(root / ".dvc" / "cache"))
        (root / name).unlink()
    assert len(mend_outputs(root, "quick", STAGES)[0]) == 2
    assert ran(root) == ["train"]
    assert (root / "pictures" / "b").read_text() == "b\n"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_an_output_that_cannot_be_read_is_named_and_in_no_others_way(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    flip(root / "weights")
    md5 = integrity._md5

    def fails(path: Path) -> str:
        if path == root / "samples":
            raise OSError(number, os.strerror(number), str(path))
        return md5(path)

    monkeypatch.setattr(integrity, "_md5", fails)
    changed, unreadable = damaged_outputs(root, "quick", STAGES)
    assert changed == [Path("weights")]
    (text,) = unreadable
    assert text.startswith(
        f"cannot read {root / 'samples'}: "
        f"{'no permission' if number == errno.EACCES else 'the disk reports a fault'}"
    )
    assert mend_outputs(root, "quick", STAGES) == (
        ["weights has changed since it was made: it is restored from the cache"],
        [text],
    )
    assert (root / "samples").exists()


def test_a_copy_that_cannot_be_removed_is_named_too(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, unlink = cached(root, "weights"), Path.unlink
    for path in (copy, root / "pictures" / "a"):
        flip(path)
    (root / "weights").unlink()

    def fails(path: Path, missing_ok: bool = False) -> None:
        if path == copy:
            raise PermissionError(errno.EACCES, "denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", fails)
    mended, (text,) = mend_outputs(root, "quick", STAGES)
    assert mended == ["pictures/a has changed since it was made: it is restored from the cache"]
    assert text.startswith(f"cannot use {copy}: no permission")


@pytest.mark.parametrize(
    "config",
    ["[core\n", "[core]\n    hardlink_lock = perhaps\n", "[core]\n    analytics = false\n"],
)
def test_a_project_that_dvc_cannot_open_is_a_mistake_that_says_so(root: Path, config: str) -> None:
    """The last one is valid, but there is no git."""
    flip(root / "weights")
    (root / ".dvc" / "config").write_text(config)
    with pytest.raises(UserError, match=f"DVC cannot open the project in {root}"):
        damaged_outputs(root, "quick", STAGES)
