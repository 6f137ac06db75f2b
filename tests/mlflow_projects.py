"""A project whose entry is to be mirrored, and what is asked of its store: for tests of MLflow."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genbench.cli.main import app
from genbench.config.params import Params
from genbench.tracking import store as mlflow_store
from genbench.tracking import ui
from tests.entries import finished_project

__all__ = [
    "REBUILD",
    "change",
    "command",
    "database",
    "make_stores_of",
    "project",
    "refused",
    "tables",
]


def project(root: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Write a project of one finished entry, without a store, and go there."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_SERVER_ALLOWED_HOSTS", "GENBENCH_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(mlflow_store, "PATIENCE", 0.2)
    # As under DVC, which writes the fingerprints in a stage of its own.
    monkeypatch.setenv("DVC_STAGE", "track")
    monkeypatch.chdir(root)
    return finished_project(root, ["made"])


def make_stores_of(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new store is a copy of one that MLflow has made: making one takes it seconds."""
    monkeypatch.setattr(
        mlflow_store,
        "_initialise",
        lambda database, artifacts: shutil.copy(empty, database),
    )


REBUILD = "delete mlflow.db and mlruns/ and run `genbench track`"


def database(params: Params) -> Path:
    return params.root / "mlflow.db"


def change(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def tables(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]


def command(*arguments: str) -> tuple[int, str]:
    """Exit code and error text of a command; fails if that has more than one line, as a traceback
    has.
    """
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    lines = [line for line in result.stderr.splitlines() if not line.startswith("track: done")]
    assert len(lines) <= 1, result.stderr
    return result.exit_code, result.stderr


def refused(params: Params, *parts: str, uri: str | None = None) -> None:
    """`genbench track` and `genbench ui` both give one line that holds all ``parts``."""
    with pytest.MonkeyPatch.context() as patch:
        if uri is not None:
            patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setattr(ui, "_check_address", lambda host, port: None)
        patch.setattr(os, "execv", lambda *_: pytest.fail("the web server was started"))
        commands = (
            [("track",), ("ui",)] if uri is None or not uri.startswith("http") else [("track",)]
        )
        for arguments in commands:
            code, text = command(*arguments)
            assert code == 1
            assert text.startswith("error: ")
            for part in parts:
                assert part in text, (arguments, text)
    assert not (params.root / ".track" / "quick.json").exists()
