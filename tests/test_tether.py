"""Processes that are tied to the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from genbench.processes import tether

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a process cannot ask to end with its parent"
)

PARENT = """
import subprocess, sys, time
from genbench.processes.tether import tethered
command = tethered(sys.argv[1], ["an argument"])
child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""
CHILD = """
import signal, sys, time
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
open(sys.argv[0] + ".begun", "w").write(" ".join(sys.argv))
time.sleep(60)
"""


def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script, begun = tmp_path / "child.py", tmp_path / "child.py.begun"
    script.write_text(CHILD)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(script)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        deadline = time.monotonic() + 120
        while not begun.exists() or not begun.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert begun.read_text() == f"{script} an argument"
        parent.kill()
        deadline = time.monotonic() + 10
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "it sleeps on"
            time.sleep(0.02)


def test_a_child_whose_parent_is_gone_already_does_not_begin(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    # As if that had been its parent.
    command = [sys.executable, "-P", tether.__file__, "1", str(script)]
    assert subprocess.run(command, check=False, timeout=20).returncode == -signal.SIGKILL
    assert not Path(f"{script}.begun").exists()


@pytest.mark.parametrize(("parent", "code"), [("1", -signal.SIGKILL), ("this", 0)])
def test_nor_does_an_import_whose_parent_is_gone_already(parent: str, code: int) -> None:
    """As if that had been its parent; the other one is."""
    environment = os.environ | {tether.PARENT: parent if parent == "1" else str(os.getpid())}
    command = [sys.executable, "-c", "import genbench.processes.with_parent"]
    assert subprocess.run(command, env=environment, check=False, timeout=60).returncode == code


@pytest.mark.parametrize("code", [0, 7])
def test_a_module_or_a_script_runs_as_by_itself(tmp_path: Path, code: int) -> None:
    what = (
        f"import sys; print(__name__, *sys.argv[1:], sys.path[0] == {str(tmp_path)!r}); "
        f"sys.exit({code})\n"
    )
    (tmp_path / "one.py").write_text(what)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "__main__.py").write_text(what)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for target in (str(tmp_path / "one.py"), "two"):
        done = subprocess.run(
            tether.tethered(target, ["a", "b c"]),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.returncode) == ("__main__ a b c True\n", code)
