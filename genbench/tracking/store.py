"""MLflow's store, opened: a sqlite database is made whole or not at all, and one that was left half
made is made anew.

A store that cannot be used is an error of one line with the remedy for that case
(:mod:`genbench.tracking.errors`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

# Before mlflow is imported, which sends at once. By its own defaults it waits four minutes for a
# server that is not there, and two minutes, each time, for one that says nothing.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from genbench.config.layout import Layout
from genbench.disk import explained
from genbench.errors import UserError
from genbench.processes.lock import hold
from genbench.tracking.errors import explanation, is_failure, of_sqlite, shown

__all__ = ["Store", "default_uri"]

PATIENCE = 10.0
"""Seconds to wait for another process that holds the database."""

_BESIDE = ("-journal", "-wal", "-shm")
_ALWAYS_FILLED = {
    "alembic_version": "0",
    "workspaces": "name <> 'default'",
    "experiments": "experiment_id <> 0",
}
"""Tables that have rows in a database that holds nothing yet → which of their rows are something.
"""


def default_uri(root: Path) -> str:
    """Where runs are tracked: MLFLOW_TRACKING_URI, else the database ``mlflow.db`` in the project.

    Raises:
        UserError: an address cannot hold the project's path.
    """
    given, path = os.environ.get("MLFLOW_TRACKING_URI"), str(Layout(root).database)
    if given:
        return given
    # MLflow makes folders by the address as it stands, and opens the database by what it decodes
    # from it: the two must be the same.
    if "?" in path or unquote(path) != path or not _is_unicode(path):
        raise UserError(
            f"MLflow cannot keep its database in {path!r}: an address cannot hold '?', '%' before "
            "two hexadecimal digits, or letters that the locale cannot (LC_ALL, PYTHONUTF8); "
            "rename the folder, or set MLFLOW_TRACKING_URI to another place"
        )
    return f"sqlite:///{path}"


def _is_unicode(text: str) -> bool:
    """Whether the locale could decode it: a path that it could not holds lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Store:
    """A place where MLflow keeps runs.

    Attributes:
        root: the project.
        uri: any MLflow tracking URI.
    """

    root: Path
    uri: str

    @property
    def database(self) -> Path | None:
        """The file of a sqlite URI."""
        found = re.fullmatch(r"sqlite(?:\+\w+)?:///(?!:memory:)([^?]+)(?:\?.*)?", self.uri)
        return Path(found.group(1)).resolve() if found else None

    @property
    def rebuild(self) -> str:
        """How to mend a database that is past using."""
        if self.database == Layout(self.root).database.resolve():
            return (
                "delete mlflow.db and mlruns/ and run `genbench track`, since they only mirror "
                "what is in runs/"
            )
        return "restore it from a backup, or name another place by --uri or MLFLOW_TRACKING_URI"

    @contextlib.contextmanager
    def opened(self) -> Iterator[MlflowClient]:
        """A client, for one process at a time: two that initialise one new sqlite database destroy
        it.

        Raises:
            UserError: the store is damaged, locked, of another version or kind, or does not answer;
                says which, and how to mend it.
            OSError: a full disk, or no permission; names the file and how to mend it.
        """
        if self.uri in ("sqlite://", "sqlite:///", "sqlite:///:memory:"):
            raise UserError(
                f"{self.uri} keeps nothing when the command ends: name a file, as in "
                "sqlite:///runs.db"
            )
        database, layout = self.database, Layout(self.root)
        lock = layout.tracking_lock
        if database is not None:
            lock = database.with_name(f"{database.name}.lock")
        with _quiet(), hold(lock, f"tracking in {database or shown(self.uri)}"):
            try:
                if database is not None:
                    self._prepare(database)
                with explained((database or layout.database).with_name("mlruns")):
                    yield MlflowClient(self.uri)
            except Exception as error:
                if is_failure(error):
                    raise UserError(explanation(error, self.uri, database, self.rebuild)) from error
                raise

    def _prepare(self, database: Path) -> None:
        """Make the database if it is not there, or holds nothing and is not whole; UserError if
        this MLflow cannot use it.
        """
        with explained(database):
            if not database.exists() or database.stat().st_size == 0:
                _make(database)
                return
        revision, holds = _looked_into(database, self.rebuild)
        known, newest = _revisions()
        if revision == newest:
            return
        if not holds and (revision is None or revision in known):
            told = "was left half made, by a full disk or a kill, and holds nothing"
            print(f"{database} {told}: making it anew", file=sys.stderr, flush=True)
            with explained(database):
                _make(database)
        elif revision is None:
            raise UserError(
                f"{database} is damaged: it has no version of MLflow's tables; {self.rebuild}"
            )
        elif revision in known:
            raise UserError(
                f"{database} is of an older MLflow (version {revision} of its tables): `mlflow db "
                f"upgrade {self.uri}` brings it to MLflow {mlflow.__version__}; or {self.rebuild}"
            )
        else:
            raise UserError(
                f"{database} is of a newer MLflow than {mlflow.__version__}, which does not know "
                f"version {revision} of its tables: install that one; or {self.rebuild}"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what MLflow and its libraries log of an error, tracebacks among it: the error itself
    says it in a line.
    """
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
    levels = [logger.level for logger in loggers]
    if os.environ.get("GENBENCH_DEBUG") != "1":
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@cache
def _revisions() -> tuple[frozenset[str], str]:
    """The versions of its tables that this MLflow knows, and the one that it uses."""
    # By which MLflow moves its tables from one version to the next.
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    known = frozenset(one.revision for one in script.walk_revisions())
    return known, str(script.get_current_head())


def _looked_into(database: Path, rebuild: str) -> tuple[str | None, bool]:
    """The version of MLflow's tables in a sqlite file, and whether it holds anything else than an
    empty store does.

    Raises:
        UserError: it is no sqlite file, damaged, locked, not to be written, or some other
            program's.
    """
    address = f"{database.as_uri()}?mode=rw"
    try:
        found = sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)
        with contextlib.closing(found) as connection:
            # Whether it can be written, and nobody else is about to.
            connection.execute("BEGIN IMMEDIATE")
            ours = {name for name in _tables(connection) if not name.startswith("sqlite_")}
            if ours and "experiments" not in ours and not ours <= {"alembic_version"}:
                listed = ", ".join(sorted(ours)[:5])
                raise UserError(
                    f"{database} is another program's database (its tables: {listed}); name "
                    "another place by --uri or MLFLOW_TRACKING_URI"
                )
            version = None
            if "alembic_version" in ours:
                version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            holds = any(_filled(connection, name) for name in ours)
            return None if version is None else str(version[0]), holds
    except sqlite3.Error as error:
        raise UserError(of_sqlite(error, database, rebuild)) from error


def _tables(connection: sqlite3.Connection) -> set[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    return {str(name) for (name,) in connection.execute(query)}


def _filled(connection: sqlite3.Connection, table: str) -> bool:
    condition = _ALWAYS_FILLED.get(table, "1")
    query = f'SELECT 1 FROM "{table}" WHERE {condition} LIMIT 1'
    return connection.execute(query).fetchone() is not None


def _make(database: Path) -> None:
    """A new empty store, which takes the file's place when it is whole."""
    database.parent.mkdir(parents=True, exist_ok=True)
    new = database.with_name(f".{database.name}.new")
    _remove(new, "", *_BESIDE)
    try:
        _initialise(new, database.parent / "mlruns")
        # sqlite would undo in the new file what a journal says of the old one.
        _remove(database, *_BESIDE)
        os.replace(new, database)
    finally:
        _remove(new, "", *_BESIDE)


def _remove(path: Path, *suffixes: str) -> None:
    for suffix in suffixes:
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _initialise(database: Path, artifacts: Path) -> None:
    """Let MLflow make its tables in a new file; takes seconds."""
    SqlAlchemyStore(f"sqlite:///{database}", str(artifacts)).engine.dispose()
