"""A project in a folder of its own, with the programs that are run there."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GENBENCH", "Project", "environment"]

GENBENCH = str(Path(sys.executable).parent / "genbench")


def environment(root: Path, **more: str) -> dict[str, str]:
    """That of programs that run in ``root``, with its sources: ours without what would tell them of
    another project, and ``more``.
    """
    foreign = ("GIT_", "DVC_", "GENBENCH_", "MLFLOW_TRACKING", "SLURM_", "RAY_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return own | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}",
        "PYTHONPATH": str(root),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": f"{root}-site",
        **more,
    }


@dataclass(frozen=True)
class Project:
    """The folder, and the environment of programs there."""

    root: Path
    env: dict[str, str]

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program here, for some minutes at most; ``more`` is put into its environment."""
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.env | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )

    def start(self, *command: str, **more: str) -> subprocess.Popen[str]:
        """Start a program here, in a session of its own."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.env | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def genbench(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run our command line here."""
        return self.run(GENBENCH, *arguments, **more)

    def dvc(self, *arguments: str) -> str:
        """Run DVC here; what it says."""
        done = self.run(sys.executable, "-m", "dvc", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
