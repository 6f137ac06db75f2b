"""Processes that end with the one that started them, so that a killed `genbench run` leaves nothing
behind. Linux alone can promise that.

Run by its path it is a launcher, ``python -P tether.py PARENT TARGET ARGUMENTS...``: it ties itself
to the process PARENT, then becomes the module or the script TARGET. Not a ``preexec_fn`` of
subprocess, which is unsafe in a process with threads. It imports nothing of genbench.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
from collections.abc import Sequence

__all__ = ["PARENT", "end_with", "tethered"]

PARENT = "GENBENCH_PARENT"
"""The variable in which genbench.processes.with_parent finds the process that started it."""

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """From now on this process is killed when its parent ends, or at once if that is no longer
    ``parent``; nothing happens on other systems.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:  # it ended before
        os.kill(os.getpid(), signal.SIGKILL)


def tethered(target: str, arguments: Sequence[str]) -> list[str]:
    """The command line that runs a module, or a script given by its path, as a child which ends
    with this process.
    """
    return [sys.executable, "-P", __file__, str(os.getpid()), target, *arguments]


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    del sys.argv[:2]
    if sys.argv[0].endswith(".py"):
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
