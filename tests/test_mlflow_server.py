"""A place of another kind, or a server, that cannot be used as a store."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from genbench.config.params import Params
from genbench.errors import UserError
from genbench.tracking.mirror import sync
from tests import mlflow_projects
from tests.mlflow_projects import refused


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of one finished entry, without a store."""
    return mlflow_projects.project(tmp_path, monkeypatch)


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
