"""Stages that one process forks behave as if each had been started by itself. The stage is a
stand-in that says what it was given.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from genbench.pipeline import forkserver
from genbench.processes import tether

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere each stage starts by itself"
)

STAGE = """
import json, os, sys, time
BEFORE = sorted(name for name in sys.modules if name.split(".")[0] in ("genbench", "pipelines"))
def main():
    what = sys.argv[1]
    if what == "tell":
        given = {"argv": sys.argv, "folder": os.getcwd(), "input": sys.stdin.read()}
        given |= {"variable": os.environ.get("VARIABLE")}
        print(json.dumps(given | {"modules": BEFORE, "torch": "torch" in sys.modules}))
    if what == "fail":
        sys.exit("no good")
    if what == "raise":
        raise RuntimeError("worse")
    if what == "exit":
        sys.exit(7)
    if what == "mark":
        time.sleep(2)
        open(sys.argv[2], "w").close()
    if what == "wait":
        try:
            print(os.getpid(), flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(130)
"""

CLIENT = """
import sys
from genbench.pipeline.forkserver import delegate
sys.path.insert(0, {stage!r})
code = delegate()
print("by itself") if code is None else sys.exit(code)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """The environment of a running server."""
    with forkserver.forkserver() as environment:
        yield environment


@pytest.fixture
def start(tmp_path: Path, server: dict[str, str]) -> Iterator[Start]:
    """Starts the stage as DVC would."""
    stage = tmp_path / "stage"
    (stage / "genbench").mkdir(parents=True)
    (stage / "genbench" / "__init__.py").touch()
    shutil.copy(tether.__file__, stage / "genbench")
    (stage / "genbench" / "cli.py").write_text(STAGE)
    started = []

    def run(*args: str, **more: str | None) -> subprocess.Popen[str]:
        given = os.environ | server | {"DVC_STAGE": "some stage"} | more
        environment = {name: value for name, value in given.items() if value is not None}
        command = [sys.executable, "-c", CLIENT.format(stage=str(stage)), *args]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(
                command,
                cwd=tmp_path,
                env=environment,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _ended(process: psutil.Process) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def _waiting(client: subprocess.Popen[str]) -> psutil.Process:
    assert client.stdout is not None
    stage = psutil.Process(int(client.stdout.readline()))
    assert stage.pid != client.pid
    return stage


def test_a_stage_gets_what_it_was_started_with_and_libraries_but_no_module_of_ours(
    start: Start, tmp_path: Path
) -> None:
    out, err = start("tell", "all", VARIABLE="a value").communicate("the input\n")
    assert err == ""
    given = json.loads(out)
    assert given["argv"][1:] == ["tell", "all"]
    assert (given["folder"], given["variable"], given["input"]) == (
        str(tmp_path),
        "a value",
        "the input\n",
    )
    assert given["torch"]
    assert given["modules"] == [
        "genbench",
        "genbench.cli.main",
        "genbench.processes.tether",
    ]  # its own; the server's own module would be one of another state of the code


def test_exit_codes_and_errors_arrive(start: Start) -> None:
    for what, code, message in (
        ("tell", 0, ""),
        ("exit", 7, ""),
        ("fail", 1, "no good\n"),
        ("raise", 1, "RuntimeError: worse\n"),
    ):
        client = start(what)
        assert client.communicate()[1].endswith(message)
        assert client.returncode == code


def test_a_killed_stage_is_a_failed_one(start: Start) -> None:
    client = start("wait")
    _waiting(client).kill()
    assert client.wait(20) == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_signals_reach_the_stage(start: Start, number: int, code: int) -> None:
    client = start("wait")
    stage = _waiting(client)
    client.send_signal(number)
    assert client.wait(20) == code
    assert _ended(stage)


def test_the_stage_dies_with_who_asked_for_it(start: Start) -> None:
    client, other = start("wait"), start("wait")
    stage, others = _waiting(client), _waiting(other)
    client.kill()
    assert _ended(stage)
    assert others.is_running()
    assert start("exit").wait(20) == 7  # the server goes on


def test_outside_a_stage_or_without_a_server_the_work_is_done_here(
    start: Start, tmp_path: Path
) -> None:
    assert (
        start("tell", **{forkserver.ADDRESS: str(tmp_path / "gone")}).communicate()[0]
        == "by itself\n"
    )
    assert start("tell", **{forkserver.CLIENT: "1"}).communicate()[0] == "by itself\n"
    assert start("tell", DVC_STAGE=None).communicate()[0] == "by itself\n"


def test_a_server_that_has_died_is_no_obstacle(start: Start) -> None:
    with forkserver.forkserver() as environment:
        client = start("wait", **environment)
        server = _waiting(client).parent()
        assert server is not None
        server.kill()
        assert client.wait(20) == 1
        assert start("tell", **environment).communicate(timeout=20)[0] == "by itself\n"


def test_a_client_that_dies_while_the_server_starts_takes_its_stage_along(
    start: Start, tmp_path: Path
) -> None:
    with forkserver.forkserver() as environment:
        dead = start("mark", str(tmp_path / "mark"), **environment)
        time.sleep(0.5)
        dead.kill()
        assert start("exit", **environment).wait(60) == 7  # the server has gone on
        time.sleep(2.5)
        assert not (tmp_path / "mark").exists()


def test_a_folder_that_takes_no_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with forkserver.forkserver() as environment:
        assert environment == {}


def test_ctrl_z_stops_the_stage_too(start: Start) -> None:
    client = start("wait")
    stage = _waiting(client)
    client.send_signal(signal.SIGTSTP)
    deadline = time.monotonic() + 20
    while stage.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.02)
    assert stage.status() == psutil.STATUS_STOPPED
    client.send_signal(signal.SIGCONT)
    while stage.status() == psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.02)
    assert stage.status() != psutil.STATUS_STOPPED
    client.send_signal(signal.SIGTERM)
    assert client.wait(20) == 128 + signal.SIGTERM


def test_the_server_ends_and_takes_its_stages_along(tmp_path: Path, start: Start) -> None:
    with forkserver.forkserver() as environment:
        client = start("wait", **environment)
        stage = _waiting(client)
        server = stage.parent()
        assert server is not None
    assert _ended(server)
    assert _ended(stage)
    assert client.wait(20) != 0
    assert not Path(environment[forkserver.ADDRESS]).exists()


def test_work_is_orphaned_when_the_parents_of_who_asked_are_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from genbench.training.checkpoints import workspace

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        monkeypatch.setenv("DVC_STAGE", "some stage")
        monkeypatch.setenv(forkserver.CLIENT, str(child.pid))
        with workspace(tmp_path, "made", {}) as work:
            assert [process.split(":")[0] for process in work._watched][:1] == [str(os.getpid())]
    finally:
        child.communicate(b"\n")
