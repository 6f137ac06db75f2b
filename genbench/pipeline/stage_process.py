"""The process of a stage that DVC starts, and the one that waits for it.

A stage that is killed, as when memory runs out, cannot say why it ended, and one whose DVC is
killed would go on unattended. So the process that DVC starts forks: the fork is the stage, and the
first one waits, forwards signals, notes how the fork ended if that has not told itself, and ends
the fork when DVC or `genbench run` is gone, for which it looks twice a second, whatever stands
between.

`genbench run` starts the stages of entries otherwise (:mod:`genbench.launchers`).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path
from types import FrameType

__all__ = ["WAITING", "wait_for_stage"]

WAITING = "GENBENCH_WAITING"
"""Environment variable of a forked stage: the process that waits for it, whose parents are the ones
that wait for that.
"""
_SECONDS = 0.5  # between two looks at whether DVC and `genbench run` still live


def wait_for_stage() -> int | None:
    """Fork; returns None in the fork, which is to do the work, and the exit code in the process
    that has waited for it. Where there is no DVC above, and where processes are not forked, this
    process is to do the work itself, and None is returned.
    """
    # A shell that a stage has started may hold DVC's variable too.
    if WAITING in os.environ or "DVC_STAGE" not in os.environ:
        return None
    from genbench.processes.alive import alive, awaited_by, process_id
    from genbench.processes.tether import end_with

    end_with(os.getppid())
    watched = awaited_by(os.getpid())
    if not all(map(alive, watched)):
        print(
            "error: the `genbench run` or `dvc repro` that this stage belongs to was killed; run "
            "again, and the work resumes",
            file=sys.stderr,
        )
        return 1
    if sys.platform != "linux":
        return None
    waiting = os.getpid()
    child = os.fork()
    if child == 0:
        end_with(waiting)
        # A terminal's signals come through the process that waits, and only once.
        os.setsid()
        os.environ[WAITING] = str(waiting)
        return None
    process = process_id(child)
    _pass_signals_to(child)
    _await(child, watched)
    return _ended(process, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _await(child: int, watched: list[str]) -> None:
    """Wait until the fork has ended; end with those who want its work."""
    from genbench.processes.alive import alive

    def over() -> bool:
        try:
            descriptor = os.pidfd_open(child)
        except (AttributeError, OSError):  # an old kernel
            time.sleep(_SECONDS)
            return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        with contextlib.closing(os.fdopen(descriptor, "rb", buffering=0)):
            return bool(select.select([descriptor], [], [], _SECONDS)[0])

    while not over():
        if not all(map(alive, watched)):
            os.kill(os.getpid(), signal.SIGKILL)  # the fork is tied to this process


def _ended(process: str, code: int) -> int:
    """The exit code for that of a fork, which is negative after a signal; its status file gets the
    reason if it left none itself.
    """
    from genbench.results.status import bury

    told = bury(Path.cwd(), process, code)
    return code if code > 0 else 128 - code if code < 0 else int(told)


def _pass_signals_to(child: int) -> None:
    """From now on the fork gets the signals that this process is sent; a terminal's Ctrl-Z stops
    both.
    """

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGSTOP if number == signal.SIGTSTP else number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT):
        signal.signal(number, forward)
