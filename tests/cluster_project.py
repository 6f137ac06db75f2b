"""A project of four small entries with real stages, for the tests on a real Slurm and a real Ray:
long enough in training to be killed there, and with equal results wherever it runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from genbench.config.load import load_params
from tests.params_factory import dump, written_entry
from tests.projects import Project, environment
from tests.trees import REPOSITORY, copy_tree

__all__ = ["ENTRIES", "ClusterProject", "make", "wait_for"]

ENTRIES = {"pixel_marginals": 0, "made": 600, "vae": 400, "hinge_gan": 20}
"""Steps of training: those of `made` take some seconds of one core, and more with the first of
everything.
"""


@dataclass(frozen=True)
class ClusterProject(Project):
    """The project."""

    def copy(self, root: Path) -> ClusterProject:
        """The same project with the data sets and their features, and without what was made of
        them.
        """
        made = shutil.ignore_patterns(".status", ".ckpt", "mlruns", "mlflow.db*", "tmp")
        shutil.copytree(self.root, root, ignore=made, symlinks=True)
        shutil.rmtree(root / ".dvc" / "cache" / "files" / "md5" / "runs", ignore_errors=True)
        shutil.rmtree(root / ".dvc" / "cache" / "runs", ignore_errors=True)
        for entry in ENTRIES:
            shutil.rmtree(root / "runs" / "smoke" / entry)
        shutil.rmtree(root / "reports" / "smoke")
        lock = root / "profiles" / "smoke" / "dvc.lock"
        noted = yaml.safe_load(lock.read_text())
        kept = ("fingerprints", "prepare@mnist", "features@mnist")
        noted["stages"] = {name: noted["stages"][name] for name in kept}
        lock.write_text(yaml.safe_dump(noted))
        return _in(root)

    def unfinished(self, entry: str) -> list[Path]:
        """Checkpoints of an entry's training."""
        return list((self.root / ".ckpt").glob(f"smoke-{entry}-train-*/train.pt"))

    def is_settled(self) -> bool:
        """Whether DVC has nothing to do."""
        return "up to date" in self.dvc("status", "profiles/smoke/dvc.yaml")


def _in(root: Path) -> ClusterProject:
    more = {"GENBENCH_CHECKPOINT_SECONDS": "1"}
    if mirror := os.environ.get("GENBENCH_MIRROR"):
        more["GENBENCH_MIRROR"] = str(Path(mirror).resolve())
    return ClusterProject(root, environment(root, **more))


def make(root: Path) -> ClusterProject:
    """Make the project in a new folder."""
    copy_tree(root)
    for name in ("reports/smoke", "profiles/smoke/dvc.lock"):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path = root / "profiles" / "smoke" / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    smoke = load_params("smoke", root=root).entries
    raw["datasets"], raw["metrics"] = ["mnist"], ["fid", "label_fidelity"]
    raw["entries"] = {name: written_entry(smoke[name]) for name in ENTRIES}
    for name, steps in ENTRIES.items():
        if steps:
            raw["entries"][name]["train"]["steps"] = steps
    path.write_text(dump(raw))
    if not os.environ.get("GENBENCH_MIRROR"):  # what the fixtures downloaded
        shutil.copytree(REPOSITORY / "data", root / "data", dirs_exist_ok=True)
    project = _in(root)
    assert project.run("git", "init", "-q").returncode == 0
    return project


def wait_for(what: Callable[[], bool], name: str, run: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is so, while a run lasts, whose output is shown if it is never so."""
    deadline = time.monotonic() + 300
    while not what():
        is_late, has_ended = time.monotonic() > deadline, run is not None and run.poll() is not None
        if is_late or (has_ended and not what()):
            said = ""
            if run is not None:
                run.kill()
                said = run.communicate()[0]
            raise AssertionError(f"{name} did not happen\n{said}")
        time.sleep(0.1)
