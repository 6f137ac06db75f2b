"""MLflow's store is made in one piece, and made anew where it was left half made."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from genbench.config.params import Params
from genbench.tracking import store as mlflow_store
from genbench.tracking.mirror import sync
from tests import mlflow_projects
from tests.mlflow_projects import change, database, tables


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of one finished entry, without a store."""
    return mlflow_projects.project(tmp_path, monkeypatch)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> None:
    """A new store is a copy of one that MLflow has made: making one takes it seconds."""
    mlflow_projects.make_stores_of(empty_database, monkeypatch)


def test_a_store_is_made_in_one_piece(project: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """By MLflow itself, beside its place."""
    seen: list[list[str]] = []
    initialise = mlflow_store._initialise

    def watched(path: Path, artifacts: Path) -> None:
        initialise(path, artifacts)
        seen.append(sorted(one.name for one in project.root.glob("*mlflow*")))

    monkeypatch.setattr(mlflow_store, "_initialise", watched)
    assert sync(project).new == ("made",)
    assert seen == [[".mlflow.db.new", "mlflow.db.lock"]]
    assert sorted(one.name for one in project.root.glob("*mlflow*")) == [
        "mlflow.db",
        "mlflow.db.lock",
    ]
    (default,) = [
        one
        for one in MlflowClient(f"sqlite:///{database(project)}").search_experiments()
        if one.name == "Default"
    ]
    assert default.artifact_location.startswith(str(project.root / "mlruns"))


LIMITED = """
import resource, signal, sys
import genbench.tracking
from genbench.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
main()
"""


def test_a_disk_that_is_full_half_way_is_told_and_the_next_run_mends_it(
    project: Params, quickly: None
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", LIMITED, "100000", "track"]
    done = subprocess.run(
        arguments,
        cwd=project.root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: cannot write {database(project)}")
    assert "run this again" in line
    assert [one.name for one in project.root.glob("*mlflow.db*")] == ["mlflow.db.lock"]
    assert sync(project).new == ("made",)


def test_a_killed_initialisation_leaves_nothing_in_the_way(project: Params, quickly: None) -> None:
    for name in (".mlflow.db.new", ".mlflow.db.new-journal"):
        (project.root / name).write_bytes(b"half of it")
    assert sync(project).new == ("made",)
    assert [one.name for one in project.root.glob(".mlflow*")] == []


def _half(path: Path) -> None:
    """What MLflow leaves that was stopped while it made its tables."""
    change(
        path,
        "DROP TABLE alembic_version",
        "CREATE TABLE _alembic_tmp_metrics (x)",
        "DROP TABLE metrics",
        "DELETE FROM experiments",
    )


HALF_MADE: dict[str, Callable[[Path], object]] = {
    "empty file": lambda path: path.write_bytes(b""),
    "no tables": lambda path: (path.unlink(), change(path, "CREATE TABLE x (y)", "DROP TABLE x")),
    "some tables": _half,
    "no version": lambda path: change(path, "DELETE FROM alembic_version"),
    "an earlier version": lambda path: change(
        path, "UPDATE alembic_version SET version_num = '451aebb31d03'"
    ),
    "version alone": lambda path: (
        path.unlink(),
        change(path, "CREATE TABLE alembic_version (version_num)"),
    ),
}


@pytest.mark.parametrize("damage", HALF_MADE.values(), ids=HALF_MADE)
def test_a_store_that_was_left_half_made_is_made_anew(
    project: Params,
    empty_database: Path,
    quickly: None,
    damage: Callable[[Path], object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = database(project)
    shutil.copy(empty_database, path)
    damage(path)
    assert sync(project).new == ("made",)
    assert set(tables(path)) == set(tables(empty_database))
    said = capsys.readouterr().err
    assert ("was left half made" in said) == (damage is not HALF_MADE["empty file"])


def _journal(path: Path) -> bytes:
    """What sqlite leaves beside a database of some letters when it is killed in the midst of a
    change.
    """
    change(
        path,
        "CREATE TABLE letters (text)",
        *[f"INSERT INTO letters VALUES ('{'x' * 3000}')" for _ in range(50)],
    )
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in (
            "PRAGMA cache_size = 1",
            "BEGIN",
            "UPDATE letters SET text = upper(text)",
        ):
            connection.execute(statement)
        return path.with_name(f"{path.name}-journal").read_bytes()


def test_what_was_to_be_undone_in_the_former_file_is_not_undone_in_the_new_one(
    project: Params, empty_database: Path, quickly: None, tmp_path: Path
) -> None:
    journal = _journal(tmp_path / "other.db")
    database(project).write_bytes(b"")
    (project.root / "mlflow.db-journal").write_bytes(journal)
    assert sync(project).new == ("made",)
    assert set(tables(database(project))) == set(tables(empty_database))


def test_a_store_that_is_whole_stays(
    project: Params, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_database, database(project))
    monkeypatch.setattr(mlflow_store, "_initialise", lambda *_: pytest.fail("it was made anew"))
    first = sync(project)
    assert (first.new, sync(project).new) == (("made",), ())


def test_an_interrupted_replacement_keeps_the_store_that_was_there(
    project: Params, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database(project)
    shutil.copy(empty_database, path)
    _half(path)
    before = path.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow_store, "_initialise", killed)
    with pytest.raises(KeyboardInterrupt):
        sync(project)
    assert path.read_bytes() == before
