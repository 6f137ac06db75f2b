"""`genbench ui`: what it becomes, where it listens, and by which names other machines may call
it.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest
from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request
from typer.testing import CliRunner

from genbench.cli.main import app
from genbench.config.params import Params
from genbench.errors import UserError
from genbench.tracking.mirror import sync
from genbench.tracking.ui import ui
from tests.entries import finished_project


class Became(Exception):
    """The process became another one."""


@pytest.fixture
def tracked(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project whose entry is tracked."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_SERVER_ALLOWED_HOSTS"):
        monkeypatch.delenv(name, raising=False)
    # So that what the command sets is undone after the test.
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "true")
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    params = finished_project(tmp_path, ["made"])
    sync(params)
    monkeypatch.chdir(tmp_path)
    return params


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def became(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[list[str], str]:
    """The command that `genbench ui` with some arguments is replaced by, and what is printed
    before.
    """
    seen: list[list[str]] = []

    def execv(program: str, command: list[str]) -> None:
        assert program == sys.executable
        seen.append(command)
        raise Became

    monkeypatch.setattr(os, "execv", execv)
    result = CliRunner().invoke(app, ["ui", *arguments])
    assert isinstance(result.exception, Became), result.output
    return seen[0], result.output + result.stderr


def option(command: list[str], name: str) -> list[str]:
    return command[command.index(name) + 1].split(",")


def test_it_becomes_mlflows_server_on_the_projects_store(
    tracked: Params, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, printed = became(monkeypatch, "--port", str(port))
    assert command == [
        *(
            sys.executable,
            "-m",
            "mlflow",
            "ui",
            "--backend-store-uri",
            f"sqlite:///{tracked.root / 'mlflow.db'}",
        ),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    assert f"genbench-quick-mnist: http://127.0.0.1:{port}/#/experiments/" in printed
    assert "403" not in printed


def test_beyond_this_machine_it_says_what_mlflow_needs(
    tracked: Params, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, printed = became(monkeypatch, "--host", "0.0.0.0", "--port", str(port))
    assert command[command.index("--host") + 1] == "0.0.0.0"
    assert "--allowed-hosts" not in command
    assert (
        "get 403 unless MLflow is told how they call this one: add --allowed-hosts "
        f"{socket.gethostname()}" in printed
    )
    assert "can read, change and delete the runs" in printed
    assert f"http://127.0.0.1:{port}/" in printed, "0.0.0.0 is no address that a browser can call"


def test_named_hosts_are_passed_on_so_that_the_page_works_there_and_here(
    tracked: Params, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by MLflow's own rules, for the names that a browser sends."""
    names = "my.host.org, 192.168.0.5,[fd00::1],*.lab.org,behind.proxy.org:443"
    command, printed = became(
        monkeypatch, "--host", "0.0.0.0", "--port", str(port), "--allowed-hosts", names
    )
    hosts, origins = option(command, "--allowed-hosts"), option(command, "--cors-allowed-origins")
    called = [
        f"my.host.org:{port}",
        "my.host.org",
        f"192.168.0.5:{port}",
        f"[fd00::1]:{port}",
        f"a.lab.org:{port}",
        "behind.proxy.org:443",
    ]
    for host in (*called, f"localhost:{port}", f"127.0.0.1:{port}"):
        assert is_allowed_host_header(hosts, host), host
        assert not should_block_cors_request(f"http://{host}", "POST", origins), host
    assert not should_block_cors_request("https://my.host.org", "POST", origins)
    for host in (f"evil.org:{port}", f"my.host.org.evil.org:{port}", "my.host.org:1"):
        assert not is_allowed_host_header(hosts, host), host
        assert should_block_cors_request(f"http://{host}", "POST", origins), host
    assert f"http://my.host.org:{port}/" in printed
    assert "403" not in printed


def test_all_hosts(tracked: Params, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    command, _ = became(
        monkeypatch, "--host", "0.0.0.0", "--port", str(port), "--allowed-hosts", "*"
    )
    assert (option(command, "--allowed-hosts"), option(command, "--cors-allowed-origins")) == (
        ["*"],
        ["*"],
    )


@pytest.mark.parametrize("names", ["http://my.host.org", "a,,b", "a b", "", "a;b", "host:port"])
def test_names_that_are_none_are_refused(tracked: Params, names: str) -> None:
    with pytest.raises(UserError, match="--allowed-hosts: must be names or addresses"):
        ui(tracked.root, allowed_hosts=names)


def test_without_runs_or_on_a_busy_port_it_says_so(tracked: Params, empty_database: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"cannot listen on 127\.0\.0\.1:{taken}.*--port {taken + 1}"
        ):
            ui(tracked.root, taken)
    (tracked.root / "mlflow.db").unlink()
    with pytest.raises(UserError, match=r"nothing is tracked yet: there is no .*mlflow\.db"):
        ui(tracked.root)


def test_a_store_without_runs_of_genbench_is_nothing_tracked(
    tmp_path: Path, port: int, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    with pytest.raises(UserError, match=r"^nothing is tracked yet\. `genbench track`"):
        ui(tmp_path, port)


@pytest.mark.parametrize(
    ("host", "remedy"),
    [("192.0.2.1", "must be an address of this machine"), ("no.such.host.invalid", "must be an")],
)
def test_an_address_of_another_machine_is_refused(tracked: Params, host: str, remedy: str) -> None:
    with pytest.raises(UserError, match=f"cannot listen on {host}.*{remedy}"):
        ui(tracked.root, host=host)


def test_a_server_that_is_already_there_has_its_own_page(
    tracked: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@tracking.example")
    with pytest.raises(UserError, match="its own web page") as caught:
        ui(tracked.root)
    assert "secret" not in str(caught.value)
