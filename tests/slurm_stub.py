"""Programs that answer as Slurm's do, of a queue that is a text file: for what a real one does
seldom, or not at once, such as to refuse, to be silent and to answer too late. No job runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from genbench.launchers.slurm import SlurmLauncher
from genbench.launchers.slurm_options import SlurmOptions

__all__ = ["SlurmStub", "launcher_in"]

BEGIN = "#!/bin/sh\ncd '{folder}'\n"

SBATCH = """
name=$(sed -n 's/^#SBATCH --job-name=//p' "$1")
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
size=$((${last:-0} + 1))
echo $size >> asked
into=queue
if [ -e late ]; then
    mv late unsure
    into=delayed
elif [ $(wc -l < asked) -lt 100 ] && [ $(($(wc -l < queue) + size)) -gt $(cat limit) ]; then
    echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2
    exit 1
fi
number=$(wc -l < asked)
if [ -z "$last" ]; then
    echo "$number|PENDING||$name" >> $into
else
    for i in $(seq 0 $last); do echo "${number}_$i|PENDING||$name"; done >> $into
fi
[ -e broken ] && mv broken silent
if [ -e unsure ]; then
    rm unsure
    echo "sbatch: error: Socket timed out on send/recv operation" >&2
    exit 1
fi
echo "Submitted batch job $number"
"""

SQUEUE = """
if [ -e silent ]; then
    echo "slurm_load_jobs error: Unable to contact slurm controller" >&2
    exit 1
fi
names=
for word; do
    [ "$before" = --name ] && names=$word
    before=$word
done
if [ -n "$names" ]; then
    awk -F'|' -v names=",$names," 'index(names, "," $4 ",") { print $1 "|" $4 }' queue
else
    cut -d'|' -f1-3 queue
    [ -e undead ] || sed -i '/|COMPLETING|/d' queue
fi
"""

SCANCEL = """
if [ -e stubborn ]; then
    echo "scancel: error: Kill job error on job id $1: Access/permission denied" >&2
    exit 1
fi
for job; do
    grep -q "^$job|" queue || failed=1
    sed -i "s/^$job|[A-Z]*|/$job|COMPLETING|/" queue
done
[ -z "$failed" ] || echo "scancel: error: Kill job error: Invalid job id specified" >&2
exit ${failed:-0}
"""

SCONTROL = """
[ "$1" = show ] && echo "MaxArraySize            = 1001" || echo "JobId=1 JobState=$(cat ending)"
"""

PROGRAMS = {
    "sbatch": SBATCH,
    "squeue": SQUEUE,
    "scancel": SCANCEL,
    "scontrol": SCONTROL,
    "srun": "",
}


class SlurmStub:
    """The programs on PATH.

    Arguments:
        folder: new, for them and for their queue.
        limit: how many jobs the queue takes; after a hundred calls any, or who asks again and
            again for the same would never end.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, limit: int = 1000) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for name, program in PROGRAMS.items():
            path = folder / "bin" / name
            path.write_text(BEGIN.format(folder=folder) + program)
            path.chmod(0o755)
        for name in ("queue", "asked", "delayed", "ending"):
            (folder / name).touch()
        self.limit(limit)
        monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")

    def limit(self, jobs: int) -> None:
        """Take so many jobs from now on."""
        (self.folder / "limit").write_text(str(jobs))

    def be(self, how: str, *, end: bool = False) -> None:
        """Behave in a way from now on, or no longer so.

        Arguments:
            how: ``unsure`` takes the next array and tells an error, ``late`` does so, too, and has
                it in the queue only after :meth:`show`; ``broken`` answers nothing after the next
                array, ``silent`` from now on; ``stubborn`` cancels nothing; of ``undead`` what is
                cancelled does not end.
        """
        (self.folder / how).unlink() if end else (self.folder / how).touch()

    def show(self) -> None:
        """Show in the queue what it has taken."""
        with (self.folder / "queue").open("a") as file:
            file.write((self.folder / "delayed").read_text())
        (self.folder / "delayed").write_text("")

    @property
    def asked(self) -> list[int]:
        """How many jobs each call of ``sbatch`` had."""
        return [int(line) for line in (self.folder / "asked").read_text().split()]

    @property
    def jobs(self) -> list[str]:
        """The numbers of those in the queue that nobody has cancelled."""
        rows = [line.split("|") for line in (self.folder / "queue").read_text().splitlines()]
        return [job for job, state, *_ in rows if state != "COMPLETING"]

    def leave(self, job: str) -> None:
        """A job leaves the queue."""
        path = self.folder / "queue"
        rows = path.read_text().splitlines(keepends=True)
        path.write_text("".join(row for row in rows if not row.startswith(f"{job}|")))

    def lose(self, job: str, ending: str) -> None:
        """A job ends without a result."""
        (self.folder / "ending").write_text(ending)
        self.leave(job)

    def finish(self, launcher: SlurmLauncher, job: str) -> None:
        """A job ends with the key of the task that it was given as its result."""
        from submitit.core.utils import DelayedSubmission, JobPaths, cloudpickle_dump

        paths = JobPaths(launcher.folder, job_id=job)
        remote: Any = DelayedSubmission.load(paths.submitted_pickle).function
        cloudpickle_dump(("success", (0, remote.task.key)), paths.result_pickle)
        self.leave(job)


def launcher_in(folder: Path, *, leave: bool = True) -> SlurmLauncher:
    """A launcher that loses no time."""
    made = SlurmLauncher(folder / "jobs", lambda key: SlurmOptions(), leave=lambda arrays: leave)
    made.interval = made.grace = 0.0
    return made
