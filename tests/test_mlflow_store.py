"""A store of MLflow that is past using is refused in one line with the remedy for its case."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genbench.config.params import Params
from genbench.errors import UserError
from genbench.tracking import store as mlflow_store
from genbench.tracking.errors import explanation, of_sqlite
from genbench.tracking.mirror import sync
from genbench.tracking.store import Store
from tests import mlflow_projects
from tests.mlflow_projects import REBUILD, change, command, database, refused


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of one finished entry, without a store."""
    return mlflow_projects.project(tmp_path, monkeypatch)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> None:
    """A new store is a copy of one that MLflow has made: making one takes it seconds."""
    mlflow_projects.make_stores_of(empty_database, monkeypatch)


@pytest.fixture
def tracked(project: Params, empty_database: Path) -> Params:
    """A project whose entry is tracked, without its receipt."""
    shutil.copy(empty_database, database(project))
    sync(project)
    (project.root / ".track" / "quick.json").unlink()
    return project


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _garble(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(len(data) - 4096))


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("no database at all\n" * 100), "is no sqlite database"),
    "short": (lambda path: path.write_bytes(b"SQLite"), "is no sqlite database"),
    "truncated": (_truncate, "is damaged"),
    "garbled": (_garble, "is damaged"),
    "no version": (lambda path: change(path, "DROP TABLE alembic_version"), "is damaged"),
    "a table is gone": (
        lambda path: change(path, "DROP TABLE params"),
        "does not have the tables that MLflow expects",
    ),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_store_is_refused_and_told_how_to_make_it_anew(
    tracked: Params, damage: Callable[[Path], object], said: str
) -> None:
    path = database(tracked)
    damage(path)
    code, text = command("track")
    assert code == 1
    assert f"{path} {said}" in text
    assert REBUILD in text


def test_the_remedy_is_one(project: Params, quickly: None) -> None:
    database(project).write_text("no database")
    (project.root / "mlruns").mkdir()
    refused(project, "is no sqlite database", REBUILD)
    database(project).unlink()
    shutil.rmtree(project.root / "mlruns")
    assert command("track")[0] == 0


def test_a_store_elsewhere_is_not_to_be_deleted(project: Params) -> None:
    path = project.root / "theirs.db"
    path.write_text("no database")
    refused(
        project,
        f"{path} is no sqlite database",
        "restore it from a backup, or name another place",
        uri=f"sqlite:///{path}",
    )


@pytest.mark.parametrize(
    ("version", "parts"),
    [
        ("451aebb31d03", ("older MLflow", "mlflow db upgrade sqlite:///")),
        ("ffffffffffff", ("newer MLflow",)),
    ],
)
def test_a_store_of_another_mlflow_that_holds_runs_is_refused(
    tracked: Params, version: str, parts: tuple[str, ...]
) -> None:
    change(database(tracked), f"UPDATE alembic_version SET version_num = '{version}'")
    before = database(tracked).read_bytes()
    refused(tracked, *parts, version, REBUILD)
    assert database(tracked).read_bytes() == before


def test_an_empty_store_of_a_newer_mlflow_is_left_to_that(
    project: Params, empty_database: Path
) -> None:
    shutil.copy(empty_database, database(project))
    change(database(project), "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    refused(project, "newer MLflow")


def test_another_programs_database_is_left_alone(project: Params) -> None:
    path = project.root / "mine.db"
    change(path, "CREATE TABLE letters (text)", "INSERT INTO letters VALUES ('dear')")
    before = path.read_bytes()
    refused(
        project,
        f"{path} is another program's database (its tables: letters)",
        "name another place",
        uri=f"sqlite:///{path}",
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_locked_store_is_waited_for_and_then_refused(tracked: Params, kind: str) -> None:
    with contextlib.closing(sqlite3.connect(database(tracked), isolation_level=None)) as other:
        other.execute(f"BEGIN {kind}")
        refused(
            tracked,
            f"{database(tracked)} is locked by another process",
            "end it",
            "then run this again",
        )
    assert command("track")[0] == 0


def test_a_store_that_may_not_be_written_names_owner_and_mode(
    tracked: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorname = "SQLITE_READONLY"

    def readonly(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(mlflow_store.sqlite3, "connect", readonly)
    refused(
        tracked,
        f"cannot write {database(tracked)}",
        "change the owner or mode of the file and of its folder",
    )


def test_a_folder_that_may_not_be_written_is_named(
    project: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def denied(self: Path, *args: object, **kwargs: object) -> object:
        if self.name == "mlflow.db.lock":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", denied)
    code, text = command("track")
    assert (code, text.count("\n")) == (1, 1)
    assert (
        f"cannot write {database(project)}.lock: no permission: {project.root} belongs to" in text
    )


def test_a_full_disk_under_the_pictures_is_told_and_the_next_run_logs_the_entry_anew(
    project: Params, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_database, database(project))
    with monkeypatch.context() as patch:

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(shutil, "copyfileobj", full)
        code, text = command("track")
    assert code == 1
    assert f"cannot write {project.root / 'mlruns'}: the disk is full; free some space" in text
    again = sync(project)
    assert (again.new, again.superseded) == (("made",), 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SQLITE_FULL", "the disk is full"),
        ("SQLITE_IOERR_WRITE", "the disk is full or faulty"),
        ("SQLITE_BUSY_SNAPSHOT", "is locked"),
        ("SQLITE_CANTOPEN", "change the owner or mode"),
        ("SQLITE_CORRUPT_VTAB", "is damaged"),
        ("SQLITE_ERROR", "does not have the tables"),
        ("SQLITE_CONSTRAINT_UNIQUE", "if that stays so, REBUILD"),
        (None, "if that stays so, REBUILD"),
    ],
)
def test_each_error_of_sqlite_has_its_remedy(name: str | None, said: str) -> None:
    error = sqlite3.OperationalError("text")
    if name is not None:
        error.sqlite_errorname = name
    assert said in of_sqlite(error, Path("/x/mlflow.db"), "REBUILD")


def test_other_refusals_keep_their_first_line_and_no_password() -> None:
    text = explanation(
        ValueError("to http://ann:secret@host/x\nsecond line"),
        "sqlite:////x.db",
        Path("/x.db"),
        "REBUILD",
    )
    assert "to http://host/x" in text
    assert "second" not in text
    assert "secret" not in text


def test_mistakes_of_our_own_are_not_explained_away(project: Params, empty_database: Path) -> None:
    shutil.copy(empty_database, database(project))
    with pytest.raises(KeyError), Store(project.root, f"sqlite:///{database(project)}").opened():
        raise KeyError("a mistake in genbench")
    with (
        pytest.raises(UserError, match=r"^ours$"),
        Store(project.root, f"sqlite:///{database(project)}").opened(),
    ):
        raise UserError("ours")


def test_another_genbench_in_the_store_is_waited_for_and_named(
    project: Params, empty_database: Path
) -> None:
    shutil.copy(empty_database, database(project))
    store = f"Store(Path({str(project.root)!r}), 'sqlite:///{database(project)}')"
    code = (
        "from pathlib import Path\nfrom genbench.tracking.store import Store\nwith "
        f"{store}.opened():\n    print('in', flush=True); input()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as first:  # type: ignore[call-overload]
        assert first.stdout.readline() == "in\n"
        with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as second:  # type: ignore[call-overload]
            what = f"tracking in {database(project)}"
            assert second.stderr.readline().startswith(
                f"{what}: waiting for {what} (process {first.pid} on "
            )
            first.stdin.write("\n")
            first.stdin.flush()
            assert second.stdout.readline() == "in\n"
            second.send_signal(signal.SIGKILL)
