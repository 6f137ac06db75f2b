"""MLflow's store, whatever state it is in: made whole, mended, or refused in one line with the
remedy for that case.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from genbench.cli.main import app
from genbench.config.params import Params
from genbench.errors import UserError
from genbench.tracking import store as mlflow_store
from genbench.tracking import ui
from genbench.tracking.errors import explanation, of_sqlite
from genbench.tracking.mirror import sync
from genbench.tracking.store import Store
from tests.entries import finished_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of one finished entry, without a store."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_SERVER_ALLOWED_HOSTS", "GENBENCH_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(mlflow_store, "PATIENCE", 0.2)
    monkeypatch.setenv(
        "DVC_STAGE", "track"
    )  # as under DVC, which writes the fingerprints in a stage of its own
    monkeypatch.chdir(tmp_path)
    return finished_project(tmp_path, ["made"])


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> None:
    """A new store is a copy of one that MLflow has made: making one takes it seconds."""
    monkeypatch.setattr(
        mlflow_store,
        "_initialise",
        lambda database, artifacts: shutil.copy(empty_database, database),
    )


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


REBUILD = "delete mlflow.db and mlruns/ and run `genbench track`"

# ---------------------------------------------------------------------- made whole, and made anew


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


# ---------------------------------------------------------------------- past using


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


# ---------------------------------------------------------------------- of another kind

KINDS = {
    "postgresql://ann:secret@db.example/runs": (
        "postgresql://db.example/runs needs the Python package psycopg",
        "which is not installed: `pip install",
    ),
    "postgres://ann:secret@db.example/runs": (
        "'postgres' is no kind of store that MLflow has; did you mean 'postgresql'?",
    ),
    "sqllite:///runs.db": (
        "sqllite:///runs.db: 'sqllite' is no kind of store that MLflow has; did you mean 'sqlite'",
    ),
    "nothing://at/all": ("'nothing' is no kind of store that MLflow has",),
    "sqlite://runs.db": ("names no file: a sqlite database is sqlite:/// and its path",),
    "sqlite:///:memory:": ("keeps nothing when the command ends",),
    "localhost:5000": ("is no address", "http://"),
    "runs": ("runs is a folder, in which MLflow keeps runs no longer", "sqlite:///PATH"),
    "file:///tmp/runs": ("is a folder, in which MLflow keeps runs no longer",),
    "http://[::1": ("does not answer",),
}


@pytest.mark.parametrize(("uri", "parts"), KINDS.items(), ids=KINDS)
def test_a_place_of_another_kind_is_refused_with_what_is_wrong_with_it(
    project: Params, uri: str, parts: tuple[str, ...]
) -> None:
    refused(project, *parts, uri=uri)
    with pytest.raises(UserError) as caught:
        sync(project, tracking_uri=uri)
    assert "secret" not in str(caught.value)
    assert not (project.root / "mlflow.db").exists()
    assert not (project.root / ":memory:").exists()


# ---------------------------------------------------------------------- servers


@contextlib.contextmanager
def server(status: int, body: str) -> Iterator[str]:
    """The address of a server that always gives the same answer."""

    class Always(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Always) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()


ANSWERS = {
    "an error": (500, "broken", "fails with 500 Internal Server Error: see the server's log"),
    "an error in JSON": (
        500,
        json.dumps({"error_code": "INTERNAL_ERROR", "message": "m"}),
        "fails with 500",
    ),
    "busy": (503, "busy", "fails with 503"),
    "a web page": (200, "<html>hello</html>", "answers, but not as an MLflow server does"),
    "another program": (404, "not found", "answers, but not as an MLflow server does"),
    "a password": (
        401,
        "who are you",
        "asks for a user and a password (401): set MLFLOW_TRACKING_USERNAME",
    ),
    "another name": (
        403,
        "Invalid Host header - possible DNS rebinding attack detected",
        "mlflow server --allowed-hosts",
    ),
    "not allowed": (
        403,
        json.dumps({"error_code": "PERMISSION_DENIED", "message": "m"}),
        "refuses this user (403)",
    ),
    "odd": (418, "teapot", "refuses with 418"),
    "a list": (200, "[]", "answers, but not as an MLflow server does"),
}


@pytest.mark.parametrize(("status", "body", "said"), ANSWERS.values(), ids=ANSWERS)
def test_a_server_that_answers_otherwise(
    project: Params, status: int, body: str, said: str
) -> None:
    with server(status, body) as address:
        refused(project, f"{address} ", said, uri=address)


def test_a_dead_server(project: Params) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    refused(
        project,
        f"http://{address} does not answer",
        "refused",
        "start the server (`mlflow server`)",
        uri=f"http://{address}",
    )
    with pytest.raises(UserError, match=f"http://{address} does not answer") as caught:
        sync(project, tracking_uri=f"http://ann:secret@{address}")
    assert "secret" not in str(caught.value)


def test_a_server_that_knows_no_http(project: Params) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with listening.accept()[0] as connection:
                        connection.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=answer, daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        refused(project, f"{address} does not answer", uri=address)


# ---------------------------------------------------------------------- what errors mean


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
