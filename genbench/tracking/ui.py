"""`genbench ui`: MLflow's web page of the tracked runs."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from genbench.errors import UserError
from genbench.tracking.store import Store, default_uri

__all__ = ["VIEW_PATH", "ui"]

VIEW_PATH = "#/experiments/{}/runs?viewStateShareKey=scores&workflowType=machine_learning"
"""Path of an experiment's table of scores in MLflow's page."""

_LOCAL = ("localhost", "127.0.0.1", "[::1]")


def ui(
    root: Path, port: int = 5000, host: str = "127.0.0.1", allowed_hosts: str | None = None
) -> NoReturn:
    """Become MLflow's web server on the project's store, until Ctrl-C.

    Arguments:
        root: the project.
        port: to listen on.
        host: address to listen on.
        allowed_hosts: names or addresses, with commas between them, by which browsers elsewhere
            call this machine; MLflow answers 403 to others.

    Raises:
        UserError: nothing is tracked yet, the store cannot be used, the runs are on a server of
            their own, or the port cannot be listened on.
    """
    store, names = Store(root, default_uri(root)), _names(allowed_hosts)
    if store.uri.partition(":")[0] in ("http", "https", "databricks"):
        raise UserError(
            "MLFLOW_TRACKING_URI names a server, which has its own web page: open that, or unset "
            "the variable to see mlflow.db"
        )
    if store.database is not None and not store.database.is_file():
        raise UserError(_nothing(store.database))
    _check_address(host, port)
    with store.opened() as client:
        found = [one for one in client.search_experiments() if one.name.startswith("genbench-")]
    if not found:
        raise UserError(_nothing(store.database))
    page = f"http://{_shown(host, names)}:{port}"
    for one in sorted(found, key=lambda one: str(one.name)):
        print(f"{one.name}: {page}/{VIEW_PATH.format(one.experiment_id)}")
    if not _is_loopback(host):
        print(_warning(names), file=sys.stderr)
    print("Ready in some seconds; Ctrl-C stops it.", flush=True)
    # That is a second process of 200 MB that genbench has no use for.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store.uri]
    listening = ["--host", host, "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [*command, *listening, *_options(names, port)])


def _nothing(database: Path | None) -> str:
    where = "" if database is None or database.is_file() else f": there is no {database}"
    return (
        f"nothing is tracked yet{where}. `genbench track` mirrors what is finished (`genbench "
        "run` ends with it)"
    )


# ---------------------------------------------------------------------- where it listens


def _check_address(host: str, port: int) -> None:
    """Raise UserError unless the port can be listened on."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        is_unknown = isinstance(error, socket.gaierror)
        remedy = f"choose another port, e.g. --port {port + 1}"
        if error.errno in (errno.EACCES, errno.EPERM):
            remedy = "ports below 1024 belong to the system; choose another, e.g. --port 5000"
        elif is_unknown or error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            remedy = "--host must be an address of this machine; 0.0.0.0 stands for all of them"
        raise UserError(f"cannot listen on {host}:{port} ({error.strerror}); {remedy}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(host: str, names: Sequence[str]) -> str:
    """The host of the printed links: one that a browser can call."""
    plain = [name for name in names if "*" not in name]
    if plain and not _is_loopback(host):
        return re.sub(r":\d+$", "", plain[0])
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


# ---------------------------------------------------------------------- who may call it


def _names(text: str | None) -> list[str]:
    """The names in ``--allowed-hosts``."""
    if text is None:
        return []
    names = [name.strip() for name in text.split(",")]
    legal = re.compile(r"[\w.*-]+(:\d+)?|\[[0-9a-fA-F:.]+\](:\d+)?")
    wrong = next((name for name in names if not legal.fullmatch(name)), None)
    if wrong is not None:
        raise UserError(
            "--allowed-hosts: must be names or addresses with commas between them, as in "
            f"my.host.org,192.168.0.5, got {wrong!r}"
        )
    return names


def _options(names: Sequence[str], port: int) -> list[str]:
    """Options of `mlflow ui`, whose lists take the place of its defaults: a name counts with and
    without the port, and local ones stay.
    """
    if not names:
        return []
    if "*" in names:
        return ["--allowed-hosts", "*", "--cors-allowed-origins", "*"]
    hosts = []
    for name in (*names, *_LOCAL):
        hosts += [name] if re.search(r":\d+$", name) else [name, f"{name}:{port}"]
    # A browser says where a page came from with each search that the page makes, also of the page's
    # own server.
    origins = [f"{scheme}://{one}" for one in hosts for scheme in ("http", "https")]
    return ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(origins)]


def _warning(names: Sequence[str]) -> str:
    """What to know when other machines can reach the page."""
    text = "Who reaches this port can read, change and delete the runs."
    if names or "MLFLOW_SERVER_ALLOWED_HOSTS" in os.environ:
        return text
    return (
        f"{text} Browsers on other machines get 403 unless MLflow is told how they call this one: "
        f"add --allowed-hosts {socket.gethostname()} (names or addresses, with commas between them)"
    )
