"""`dvc repro` in a process of its own, which ends when this one is stopped or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, MappingProxyType

import psutil

from genbench.errors import UserError
from genbench.pipeline.dvc_config import is_set
from genbench.processes.alive import RUN, process_id
from genbench.processes.tether import tethered

__all__ = ["check_workspace", "repro"]


def check_workspace(root: Path) -> None:
    """Raise UserError unless DVC can work in ``root``. It needs a git repository around it, but
    neither git itself nor its consent.
    """
    config = root / ".dvc" / "config"
    if not config.is_file():
        raise UserError(
            f"{root} is not set up for DVC (no .dvc/config): restore that file from the "
            "repository, or run `dvc init` there"
        )
    has_git = any((folder / ".git").exists() for folder in (root, *root.parents))
    if not has_git and not is_set(root, "no_scm"):
        raise UserError(
            f"{root} is no git repository, and DVC wants one: clone the project with git, or run "
            "`git init` there; to work without, run `dvc config --local core.no_scm true`"
        )


def repro(
    root: Path, arguments: Sequence[str], more: Mapping[str, str] = MappingProxyType({})
) -> int:
    """Exit code of ``dvc repro`` with the programs of this environment first on PATH, and ``more``
    in its environment.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, RUN: process_id()} | dict(more)
    sys.stdout.flush()
    # If this run is killed, so is DVC: else it would go on with the other entries, unattended. For
    # its lock it waits, as somebody else may use DVC at the same time, if only to look.
    command = tethered("dvc", ["--wait-for-lock", "repro", *arguments])
    with subprocess.Popen(command, cwd=root, env=environment) as child, _stopping(child):
        return child.wait()


@contextmanager
def _stopping(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """On Ctrl-C or SIGTERM stop DVC and its stage too; further ones while that is done are
    ignored.
    """

    def terminated(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        for number in previous:
            signal.signal(number, signal.SIG_IGN)
        _stop(child)
        raise
    finally:
        # If it lives, then halted or with all its work before it, and who started it would wait for
        # that.
        child.kill()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(child: subprocess.Popen[bytes], patience: float = 10.0) -> None:
    """End DVC without hurting dvc.lock, and its stage before it, in order.

    While a stage runs, DVC ignores Ctrl-C and writes nothing, and with --keep-going it would go on
    with the next stage: it is halted, so that the stage can end and say so. Between stages it may
    be writing, and Ctrl-C ends it in order: it is given time. Afterwards it is killed.
    """
    deadline = time.monotonic() + patience
    stages: list[psutil.Process] = []
    while child.poll() is None and not stages and time.monotonic() < deadline:
        with suppress(psutil.NoSuchProcess):
            stages = psutil.Process(child.pid).children(recursive=True)
        time.sleep(0.02)
    if stages:
        child.send_signal(signal.SIGSTOP)
    for process in stages:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    while any(_runs(process) for process in stages) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.wait()


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
