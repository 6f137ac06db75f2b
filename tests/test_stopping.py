"""Ctrl-C or SIGTERM while DVC works, more than once: a small process stands for `genbench run`,
another for DVC, a third for a stage.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

RUN = """
import subprocess, sys
from genbench.pipeline import executor

stop = executor._stop
def told(child):
    print("stopping", flush=True)
    stop(child, patience=1)
executor._stop = told
dvc = [sys.executable, "-c", sys.argv[1]]
with (
    subprocess.Popen(dvc, stdout=subprocess.PIPE, text=True) as child,
    executor._stopping(child),
):
    print(child.stdout.readline(), end="", flush=True)
    child.wait()
"""
ALONE = """
import os, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(60)
"""
"""DVC before its first stage, as when it waits for its lock."""
WITH_STAGE = """
import os, subprocess, sys, time
stage = '''
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("begun", flush=True)
time.sleep(60)
'''
with subprocess.Popen([sys.executable, "-c", stage], stdout=subprocess.PIPE, text=True) as stage:
    stage.stdout.readline()
    print(os.getpid(), stage.pid, flush=True)
    time.sleep(60)
"""
"""DVC in a stage that takes its time to end."""


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("first", "second"), [("SIGINT", "SIGTERM"), ("SIGTERM", "SIGTERM"), ("SIGTERM", "SIGINT")]
)
@pytest.mark.parametrize("dvc", [ALONE, WITH_STAGE], ids=["alone", "stage"])
def test_a_second_signal_leaves_no_dvc_behind(first: str, second: str, dvc: str) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, dvc],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    pids = []
    try:
        assert run.stdout is not None
        pids = [int(pid) for pid in run.stdout.readline().split()]
        run.send_signal(signal.Signals[first])
        assert run.stdout.readline() == "stopping\n"
        run.send_signal(signal.Signals[second])
        assert run.wait(120) in (-signal.SIGINT, 128 + signal.SIGTERM)
        assert not lives(pids[0])
    finally:
        run.kill()
        run.communicate()
        for pid in filter(psutil.pid_exists, pids):
            psutil.Process(pid).kill()


AFTERWARDS = """
import os, signal, subprocess, sys
from genbench.pipeline import executor

stop = executor._stop
executor._stop = lambda child: stop(child, patience=0)
both = (signal.SIGINT, signal.SIGTERM)
before = [signal.getsignal(number) for number in both]
with subprocess.Popen([sys.executable, "-c", ""]) as child, executor._stopping(child):
    assert child.wait() == 0
assert [signal.getsignal(number) for number in both] == before
try:
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleeping) as child, executor._stopping(child):
        os.kill(os.getpid(), signal.SIGTERM)
        child.wait()
except SystemExit as stopped:
    assert stopped.code == 143
assert child.returncode == -signal.SIGKILL
assert [signal.getsignal(number) for number in both] == before
"""


def test_afterwards_signals_do_what_they_did_before() -> None:
    assert (
        subprocess.run([sys.executable, "-c", AFTERWARDS], timeout=60, check=False).returncode == 0
    )
