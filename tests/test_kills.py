"""`genbench run` with DVC and real stages, killed from outside at several moments, or killing
itself from inside: who is left, and what is said.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

from genbench.config.load import load_params
from genbench.data.splits import Dataset
from genbench.pipeline.dvc_files import mend
from genbench.results.entry import read_entries
from genbench.results.status import in_words

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a process cannot ask to end with its parent"
)

REPOSITORY = Path(__file__).resolve().parents[1]
GENBENCH = str(Path(sys.executable).parent / "genbench")

# Ends its process in the middle of training.
BOMB = '''
import os, signal, sys
from genbench.models.pixel_marginals import PixelMarginals

__all__ = ["Bomb"]

class Bomb(PixelMarginals):
    """P(x) is whatever."""

    def __init__(self, spec, *, how: str) -> None:
        super().__init__(spec)
        self.how = how

    def init_from_data(self, x, y, *, rng):
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how.startswith("exit"):
            os._exit(int(self.how[-1]))
        sys.exit(0)
'''
ENDLESS = {
    "model": "made",
    "dataset": "mnist",
    "seed": 0,
    "arch": {"hidden": [8], "head": "logistic_mixture", "mixtures": 1},
    "train": {
        "steps": 10_000_000,
        "batch_size": 8,
        "optim": {"loss": {"lr": 1.0e-3}},
        "validations": 1,
        "validate_images": 8,
    },
    "sample": {},
    "score": {},
}


# Python reads it before anything else: the stage's own code begins a second after its process.
SLOW_START = """
import os, sys, time
if "train" in sys.orig_argv:
    open(os.environ["GENBENCH_TEST_STARTING"], "w").close()
    time.sleep(1)
"""

KILLED = (
    "killed by signal 9 (SIGKILL), by hand or by the system, which does so when memory runs out"
)
REASONS = {
    "kill": f"train failed: {KILLED}; run again: it goes on from what was kept",
    "exit3": (
        "train failed: its process ended with exit code 3 before it was done, without a word; "
        "run again: it goes on from what was kept"
    ),
    "exit0": (
        "train failed: its process ended with exit code 0 before it was done, without a word; "
        "run again: it goes on from what was kept"
    ),
    "quit": "train failed: its code called sys.exit(0) (log: .status/quick/quit-train.json)",
}


def bomb(how: str) -> dict[str, object]:
    return {
        "model": "bomb",
        "dataset": "mnist",
        "seed": 0,
        "arch": {"how": how},
        "train": {},
        "sample": {},
        "score": {},
    }


@dataclass(frozen=True)
class Clone:
    """A copy of the sources as a project, outside of git, with prepared data."""

    root: Path
    env: dict[str, str]

    def start(self, *command: str, **more: str) -> subprocess.Popen[str]:
        """Start a program here, in a session of its own; no work has begun before."""
        shutil.rmtree(self.root / ".ckpt", ignore_errors=True)
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            command, cwd=self.root, env=self.env | more, text=True, start_new_session=True, **pipes
        )  # type: ignore[call-overload]

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program here."""
        return subprocess.run(
            command, cwd=self.root, env=self.env | more, capture_output=True, text=True, check=False
        )

    def tidy(self) -> None:
        """What `genbench run` does before DVC starts: a zombie that nobody asks for, as there are
        in containers, is no holder of a lock.
        """
        mend(self.root)

    def trains(self) -> bool:
        """Whether a training has begun."""
        return any(
            lock.read_text() for lock in self.root.glob(".ckpt/*-train-????????????????/lock")
        )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, mnist: Dataset) -> Clone:
    """A project with an entry that trains for ever, and some whose training ends its process."""
    folder = tmp_path_factory.mktemp("kills")
    root = folder / "project"
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("genbench", "pipelines"):
        shutil.copytree(REPOSITORY / package, root / package, ignore=ignore)
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(REPOSITORY / name, root / name)
    (root / "profiles").mkdir()
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n    no_scm = true\n"
    )
    (root / "genbench" / "models" / "bomb.py").write_text(BOMB)
    raw = yaml.safe_load((REPOSITORY / "profiles" / "smoke" / "params.yaml").read_text())
    raw |= {
        "root": ".",
        "profile": "quick",
        "params_file": "params.yaml",
        "datasets": ["mnist"],
        "metrics": ["class_shares"],
    }
    raw["compute"] = {"device": "cpu", "threads": 1}
    raw["defaults"] = {}
    raw["entries"] = {"made": ENDLESS} | {how: bomb(how) for how in REASONS}
    (root / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "DVC_", "MLFLOW_TRACKING"))
    }
    if env.get("GENBENCH_MIRROR") and Path(env["GENBENCH_MIRROR"]).is_dir():
        env["GENBENCH_MIRROR"] = str(Path(env["GENBENCH_MIRROR"]).resolve())
    else:  # what the fixtures downloaded
        shutil.copytree(REPOSITORY / "data", root / "data", dirs_exist_ok=True)
    env |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
    }
    env |= {
        "DVC_SITE_CACHE_DIR": str(folder / "site"),
        "DVC_NO_ANALYTICS": "1",
        "GENBENCH_CHECKPOINT_SECONDS": "100000",
    }
    made = Clone(root, env)
    done = made.run(sys.executable, "-m", "dvc", "repro", "features@mnist")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


# ---------------------------------------------------------------------- killed from outside


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def left(mark: str) -> list[psutil.Process]:
    """The living processes that have a variable in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if lives(process) and process.environ().get("GENBENCH_TEST_MARK") == mark:
                found.append(process)
    return found


def after(seconds: float) -> Callable[[Clone, str], bool]:
    begun = []

    def ready(clone: Clone, mark: str) -> bool:
        begun.append(time.monotonic())
        return begun[-1] - begun[0] >= seconds

    return ready


def imports(clone: Clone, mark: str) -> bool:
    """The process from which the entries' are forked is importing the libraries."""
    servers = [p for p in left(mark) if any("forkserver" in part for part in p.cmdline())]
    return servers != [] and not clone.trains()


def trains(clone: Clone, mark: str) -> bool:
    return clone.trains()


def kill_when(
    clone: Clone, command: list[str], ready: Callable[[Clone, str], bool]
) -> list[psutil.Process]:
    """Who is left 5 seconds after a command has been killed; 2 are promised, of a machine that has
    not much else to do. They are not left any longer.
    """
    mark = uuid.uuid4().hex
    process = clone.start(*command, GENBENCH_TEST_MARK=mark)
    try:
        deadline = time.monotonic() + 300
        while not ready(clone, mark):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        deadline = time.monotonic() + 5
        while (found := left(mark)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found
    finally:
        for rest in [process, *left(mark)]:
            rest.kill()
        process.wait()


@pytest.mark.parametrize(
    "moment",
    [after(0.1), after(1.5), after(4), imports, trains],
    ids=["0.1", "1.5", "4", "imports", "trains"],
)
def test_a_killed_run_leaves_nobody_behind(
    clone: Clone, moment: Callable[[Clone, str], bool]
) -> None:
    assert kill_when(clone, [GENBENCH, "run", "--entries", "made"], moment) == []


REPRO = [sys.executable, "-m", "dvc", "repro", "train@made"]


def shell_that_stays(path: Path) -> str:
    """One that starts a command as its child, and goes by the name of its file."""
    path.write_text('#!/bin/sh\nshift\neval "$1"\nexit $?\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "dash", "unheard-of"])
def test_nor_does_a_killed_dvc(clone: Clone, shell: str, tmp_path: Path) -> None:
    """Some shells become the last command that they are given, others stay as its parent, which
    nothing tells of DVC's end.
    """
    if not shell.startswith("/"):
        shell = shell_that_stays(tmp_path / shell)
    elif not Path(shell).exists():
        pytest.skip(f"there is no {shell}")
    clone.tidy()
    assert kill_when(Clone(clone.root, clone.env | {"SHELL": shell}), REPRO, trains) == []


@pytest.mark.parametrize("shell", ["/bin/sh", "unheard-of"])
def test_nor_does_a_dvc_that_is_killed_while_its_stage_is_starting(
    clone: Clone, shell: str, tmp_path: Path
) -> None:
    """The stage's parent is another one before it can look: it finds in DVC's notes who it should
    be, and does not begin.
    """
    if not shell.startswith("/"):
        shell = shell_that_stays(tmp_path / shell)
    (tmp_path / "sitecustomize.py").write_text(SLOW_START)
    starting = tmp_path / "starting"
    path = f"{tmp_path}{os.pathsep}{clone.env['PYTHONPATH']}"
    clone.tidy()
    slow = Clone(
        clone.root,
        clone.env | {"SHELL": shell, "PYTHONPATH": path, "GENBENCH_TEST_STARTING": str(starting)},
    )
    assert kill_when(slow, REPRO, lambda clone, mark: starting.exists()) == []
    assert not clone.trains()


def test_a_stage_whose_run_is_gone_does_not_begin(clone: Clone) -> None:
    clone.tidy()
    done = clone.run(
        GENBENCH, "train", "made", DVC_STAGE="train@made", GENBENCH_RUN=f"{os.getpid()}:1"
    )
    assert done.returncode == 1
    assert "the `genbench run` or `dvc repro` that this stage belongs to was killed" in done.stderr


def test_behind_a_shell_that_stays_a_stage_looks_after_the_run_itself(clone: Clone) -> None:
    """Nothing is passed on by the shell: it lives when the run is gone."""
    clone.tidy()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as run:
        start = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()[19]
        stage = clone.start(
            GENBENCH, "train", "made", DVC_STAGE="train@made", GENBENCH_RUN=f"{run.pid}:{start}"
        )
        try:
            deadline = time.monotonic() + 300
            while not clone.trains():
                assert stage.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            children = psutil.Process(stage.pid).children()
            run.kill()
            assert stage.wait(10) == -signal.SIGKILL
            deadline = time.monotonic() + 10
            while any(map(lives, children)):
                assert time.monotonic() < deadline, "the fork goes on"
                time.sleep(0.05)
        finally:
            stage.kill()
            stage.communicate()


# ---------------------------------------------------------- stopped in order, or killed from inside


def status(clone: Clone, name: str) -> Path:
    return clone.root / ".status" / "quick" / f"{name}-train.json"


def test_a_run_that_is_stopped_by_ctrl_c_has_not_failed(clone: Clone) -> None:
    process = clone.start(GENBENCH, "run", "--entries", "made")
    deadline = time.monotonic() + 300
    while not clone.trains():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running = json.loads(status(clone, "made").read_text())
    assert psutil.pid_exists(int(running["process"].split(":")[0]))
    reasons = {
        outcome.entry.name: outcome.reasons
        for outcome in read_entries(load_params(root=clone.root))
    }
    assert reasons["made"][0].startswith(
        f"train is not finished (process {running['process'].split(':')[0]}, begun "
    )
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=400)
    assert process.returncode == 130, said
    assert "goes on from the last checkpoint" in said
    assert not status(clone, "made").exists()


def test_a_stage_that_dies_without_a_word_has_a_reason_in_the_report(clone: Clone) -> None:
    done = clone.run(GENBENCH, "run", "--entries", "kill,exit0")
    assert done.returncode != 0
    board = json.loads((clone.root / "reports" / "quick" / "leaderboard.json").read_text())
    reasons = {row["entry"]: row["reason"] for row in board["missing"]}
    for name in ("kill", "exit0"):
        assert reasons[name] == REASONS[name]
        assert f"  {name}: {REASONS[name]}" in done.stderr.splitlines()


def test_also_under_dvc_alone(clone: Clone) -> None:
    clone.tidy()
    for name in REASONS:
        status(clone, name).unlink(missing_ok=True)
    done = clone.run(
        sys.executable, "-m", "dvc", "repro", "--keep-going", *(f"train@{name}" for name in REASONS)
    )
    assert done.returncode != 0
    for name, reason in REASONS.items():
        assert "train " + in_words(status(clone, name)).replace(f"{clone.root}/", "") == reason


def test_a_stage_that_is_terminated_has_not_failed(clone: Clone) -> None:
    clone.tidy()
    process = clone.start(GENBENCH, "train", "made", DVC_STAGE="train@made")
    deadline = time.monotonic() + 300
    while not clone.trains():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert status(clone, "made").exists()
    process.terminate()
    assert process.wait(120) == 128 + signal.SIGTERM
    process.communicate()
    assert not status(clone, "made").exists()
