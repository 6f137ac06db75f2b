"""What continuous integration does so that the tests on a real Slurm are not skipped there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import yaml

from tests.slurm_cluster import PACKAGES
from tests.trees import REPOSITORY

MAKE = "make install-cluster lint test check-results JOBS=7"
STAND_IN = '#!/bin/sh\necho "$(basename "$0") $*" >> "$LOG"\n'


def run(folder: Path, user: int) -> tuple[list[str], str]:
    """The programs that `.ci/run` calls as some user on a machine without Slurm, and what it
    says.
    """
    (folder / "project" / ".ci").mkdir(parents=True)
    shutil.copy(REPOSITORY / ".ci" / "run", folder / "project" / ".ci")
    programs = {name: STAND_IN for name in ("apt-get", "make")}
    programs |= {"id": f"#!/bin/sh\necho {user}\n", "uname": "#!/bin/sh\necho x86_64\n"}
    programs["nproc"] = "#!/bin/sh\necho 6\n"
    (folder / "bin").mkdir()
    for name, source in programs.items():
        (folder / "bin" / name).write_text(source)
        (folder / "bin" / name).chmod(0o755)
    for name in ("bash", "sh", "dirname", "basename"):
        found = shutil.which(name)
        assert found is not None
        (folder / "bin" / name).symlink_to(found)
    done = subprocess.run(
        [folder / "bin" / "bash", folder / "project" / ".ci" / "run"],
        env={"PATH": str(folder / "bin"), "LOG": str(folder / "log")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return (folder / "log").read_text().splitlines(), done.stderr


def test_root_installs_slurm_before_the_tests(tmp_path: Path) -> None:
    called, said = run(tmp_path, 0)
    assert called[0] == "apt-get update -q"
    assert set(PACKAGES) <= set(called[1].split())
    assert called[2:] == [MAKE, "make test-avx2"]
    assert said == ""


def test_others_are_told_what_is_skipped(tmp_path: Path) -> None:
    called, said = run(tmp_path, 1000)
    assert called[0] == MAKE
    assert said == "not run by root: the tests on a real Slurm are skipped\n"


def test_the_workflow_runs_it_as_root() -> None:
    """As containers do unless they are told otherwise."""
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
    jobs = [
        job
        for job in workflow["jobs"].values()
        if any(".ci/run" in step.get("run", "") for step in job["steps"])
    ]
    assert jobs
    for job in jobs:
        assert job["container"]["image"].endswith("-bookworm")
        assert "--user" not in job["container"]["options"]
