"""What MLflow and the libraries below it raise for a store that cannot be used, each case in one
line with its remedy.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import sqlite3
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from genbench.errors import near

__all__ = ["explanation", "is_failure", "of_server", "of_sqlite", "shown"]

_LIBRARIES = ("mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "sqlite3")
_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
_PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""Module of a database driver → the package that has it, where that has another name."""
_PLACE = "correct --uri or MLFLOW_TRACKING_URI, or leave both out to use mlflow.db in the project"
_SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
_SECONDS = 10.0


def is_failure(error: Exception) -> bool:
    """Whether an error is MLflow's or one of the libraries below it, or says that one of these is
    not there: what :func:`explanation` explains.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [type(error).__module__, *(frame.f_globals.get("__name__", "") for frame in frames)]
    packages = {str(module).partition(".")[0] for module in modules}
    return isinstance(error, ImportError) or not packages.isdisjoint(_LIBRARIES)


def explanation(error: BaseException, uri: str, database: Path | None, rebuild: str) -> str:
    """What is wrong with a store and how to mend it.

    Arguments:
        error: a failure.
        uri: the tracking URI; a user name and a password in it are not told.
        database: the file of a sqlite URI, else None.
        rebuild: how to mend a database that is past using.
    """
    behind = list(_behind(error))
    if database is not None:
        in_file = next((one for one in behind if isinstance(one, sqlite3.Error)), None)
        if in_file is not None:
            return of_sqlite(in_file, database, rebuild)
        reason = _first_line(error)
        return f"MLflow refuses what {database} was to hold ({reason}); if that stays so, {rebuild}"
    absent = next((one for one in behind if isinstance(one, ImportError)), None)
    if absent is not None:
        return f"{shown(uri)} needs {_package(absent)}; or {_PLACE}"
    if uri.startswith(("http://", "https://")):
        return (
            of_server(uri) or f"{shown(uri)} refuses ({_first_line(error)}); see the server's log"
        )
    cannot = f"MLflow cannot use {shown(uri)} ({_first_line(behind[-1])})"
    return f"{_wrong_kind(uri) or cannot}; {_PLACE}"


def _package(absent: ImportError) -> str:
    """``the Python package psycopg, which is not installed: `pip install psycopg[binary]```."""
    name = absent.name or "that its driver is in"
    install = f"pip install '{_PACKAGES.get(name, name)}'"
    return f"the Python package {name}, which is not installed: `{install}`"


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, the outermost first; of a database's also the driver's
    own.
    """
    seen: list[BaseException | None] = [None]
    while error not in seen:
        seen.append(error)
        yield error
        inner = getattr(error, "orig", None) or error.__cause__ or error.__context__
        if isinstance(inner, BaseException):
            error = inner


def _first_line(error: object) -> str:
    """The first line of an error's text, without the statement that SQLAlchemy adds, and without
    passwords.
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    return re.sub(r"//[^/@\s]*@", "//", line)


# ---------------------------------------------------------------------- addresses


def shown(uri: str) -> str:
    """An address without user, password and query."""
    return re.sub(r"//[^/@\s]*@", "//", uri).partition("?")[0]


def _wrong_kind(uri: str) -> str | None:
    """Why an address names no kind of store that MLflow has, or None."""
    scheme = uri.partition(":")[0].partition("+")[0] if ":" in uri else ""
    address = shown(uri)
    if scheme in ("", "file"):
        return (
            f"{address} is a folder, in which MLflow keeps runs no longer: sqlite:///PATH names "
            "a database"
        )
    if "://" not in uri:
        return (
            f"{address} is no address: that of a server begins with http:// or https://, that "
            "of a database with sqlite:///"
        )
    if scheme == "sqlite":
        return f"{address} names no file: a sqlite database is sqlite:/// and its path"
    if scheme not in _SCHEMES:
        return f"{address}: {scheme!r} is no kind of store that MLflow has{near(scheme, _SCHEMES)}"
    return None


# ---------------------------------------------------------------------- sqlite


def of_sqlite(error: sqlite3.Error, database: Path, rebuild: str) -> str:
    """What an error of sqlite means for the file of a store."""
    code = getattr(error, "sqlite_errorname", None) or ""
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return (
            f"{database} is locked by another process, one that is writing to it for long: end it "
            f"(a sqlite shell, `mlflow`, `genbench ui`; `fuser {database}` names it), then run "
            "this again"
        )
    if code == "SQLITE_NOTADB":
        return f"{database} is no sqlite database, or its beginning is damaged; {rebuild}"
    if code.startswith("SQLITE_CORRUPT"):
        return f"{database} is damaged ({error}); {rebuild}"
    if code == "SQLITE_FULL":
        return (
            f"cannot write {database}: the disk is full; free some space, then run this again: "
            "it mends what was left unfinished"
        )
    if code.startswith("SQLITE_IOERR"):
        return (
            f"cannot write {database} ({error}): the disk is full or faulty, or the file larger "
            "than the system allows; mend that, then run this again: it mends what was left "
            "unfinished"
        )
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return (
            f"cannot write {database} ({error}): change the owner or mode of the file and of "
            "its folder, and see that the disk is not read-only"
        )
    if code == "SQLITE_ERROR":
        return f"{database} does not have the tables that MLflow expects ({error}); {rebuild}"
    return f"cannot use {database} ({error}); if that stays so, {rebuild}"


# ---------------------------------------------------------------------- servers


def of_server(uri: str) -> str | None:
    """What is wrong with a tracking server, by asking it for its experiments; None if it answers as
    one does.
    """
    address = shown(uri)
    try:
        with urllib.request.urlopen(_request(uri), timeout=_SECONDS) as answer:
            return None if isinstance(json.loads(answer.read()), dict) else _no_mlflow(address)
    except urllib.error.HTTPError as error:
        return _of_status(error, address)
    except (UnicodeDecodeError, json.JSONDecodeError):
        return _no_mlflow(address)
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        reason = _first_line(getattr(error, "reason", None) or error)
        return (
            f"{address} does not answer ({reason}): start the server (`mlflow server`), or {_PLACE}"
        )


def _request(uri: str) -> urllib.request.Request:
    address, parts = f"{shown(uri).rstrip('/')}{_SEARCH}", urlsplit(uri)
    request = urllib.request.Request(address, headers={"User-Agent": "genbench"})
    if parts.username is not None:
        pair = base64.b64encode(f"{parts.username}:{parts.password or ''}".encode()).decode()
        request.add_header("Authorization", f"Basic {pair}")
    return request


def _no_mlflow(address: str) -> str:
    return f"{address} answers, but not as an MLflow server does; {_PLACE}"


def _of_status(error: urllib.error.HTTPError, address: str) -> str:
    body = error.read(1000).decode(errors="replace")
    if error.code == 401:
        return (
            f"{address} asks for a user and a password (401): set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if error.code == 403 and "Host header" in body:
        return (
            f"{address} does not know that name of itself (403): start it with `mlflow server "
            "--allowed-hosts` and that name, or use its address"
        )
    if error.code == 403:
        return (
            f"{address} refuses this user (403): ask for the permission to write there, or {_PLACE}"
        )
    if error.code == 404:
        return _no_mlflow(address)
    if error.code >= 500:
        return (
            f"{address} fails with {error.code} {error.reason}: see the server's log, mend or "
            "restart it, then run this again"
        )
    return f"{address} refuses with {error.code} {error.reason}; {_PLACE}"
