"""`genbench run` on a real Slurm and a real Ray, of two nodes each: the same bits as here, whatever
happens to nodes and jobs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from genbench.data.splits import Dataset
from tests import slurm_cluster
from tests.cluster_project import ClusterProject, make, wait_for
from tests.projects import GENBENCH
from tests.slurm_cluster import SlurmCluster

RUN = ("run", "--profile", "smoke")
NO_SLURM = slurm_cluster.why_not() or (
    "" if importlib.util.find_spec("submitit") else "submitit is not installed (genbench[slurm])"
)
# Three waits of five minutes at most.
pytestmark = pytest.mark.timeout(1200)
NO_RAY = "" if importlib.util.find_spec("ray") else "Ray is not installed (genbench[ray])"


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        slurm_cluster.cluster(Path(folder) / "s") as running,
    ):
        yield running


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, mnist: Dataset) -> ClusterProject:
    """The project after a run of its own, one entry at a time."""
    project = make(tmp_path_factory.mktemp("here") / "project")
    done = project.genbench(*RUN, "--jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def on_slurm(project: ClusterProject, slurm: SlurmCluster) -> tuple[str, ...]:
    (project.root / "slurm.yaml").write_text("{memory_gb: 1, time: 10}")
    project.env["SLURM_CONF"] = slurm.env["SLURM_CONF"]
    return "--launcher", "slurm", "--launcher-options", "slurm.yaml"


def job_of(project: ClusterProject, entry: str) -> str:
    """The job of an entry; empty if it has none yet."""
    path = project.root / ".status" / "smoke" / "slurm" / "jobs.json"
    return json.loads(path.read_text()).get(entry, {}).get("job", "") if path.exists() else ""


def restarts(slurm: SlurmCluster, job: str) -> int:
    (told,) = (w for w in slurm.say("scontrol", "show", "job", job).split() if "Restarts=" in w)
    return int(told.partition("=")[2])


@pytest.mark.skipif(bool(NO_SLURM), reason=NO_SLURM)
def test_bits_are_the_same_though_a_node_dies_and_a_job_is_preempted(
    here: ClusterProject, slurm: SlurmCluster, tmp_path: Path
) -> None:
    there = here.copy(tmp_path / "there")
    run = there.start(GENBENCH, *RUN, *on_slurm(there, slurm))

    def state(entry: str) -> tuple[str, str]:
        return slurm.jobs().get(job_of(there, entry), ("", ""))

    # One job is preempted by an urgent one.
    wait_for(lambda: bool(there.unfinished("vae")), "a checkpoint of vae", run)
    preempted, node = job_of(there, "vae"), state("vae")[1]
    slurm.say("sbatch", "-p", "urgent", "-w", node, "-o", os.devnull, "--wrap", "sleep 3")
    wait_for(lambda: restarts(slurm, preempted) == 1, "the job of vae queued again", run)

    # The node of another is declared dead; that job is queued again while its process goes on.
    wait_for(lambda: bool(there.unfinished("made")), "a checkpoint of made", run)
    bereft, node = job_of(there, "made"), state("made")[1]
    slurm.kill_node(node)
    wait_for(lambda: restarts(slurm, bereft) == 1, "the job of made queued again", run)

    def ended() -> bool:
        slurm.hurry()
        return run.poll() is not None

    wait_for(ended, "the end of the run", run)
    said = run.communicate()[0]
    slurm.start_node(node)
    assert run.returncode == 0, said
    compared = there.genbench("diff", str(here.root), str(there.root), "--profile", "smoke")
    assert compared.returncode == 0, compared.stdout
    assert there.is_settled()


@pytest.mark.skipif(bool(NO_SLURM), reason=NO_SLURM)
def test_doctor_says_what_is_missing(
    here: ClusterProject, slurm: SlurmCluster, tmp_path: Path
) -> None:
    on_slurm(here, slurm)
    command = ("doctor", "--profile", "smoke", "--launcher", "slurm")
    fine = here.genbench(*command, "--launcher-options", "slurm.yaml").stdout
    assert "ok    slurm" in fine
    assert "ok    options" in fine
    (here.root / "wrong.yaml").write_text("partition: nowhere")
    wrong = here.genbench(*command, "--launcher-options", "wrong.yaml").stdout
    assert "fail  options      Slurm takes no job of pixel_marginals and 3 more: " in wrong
    assert "nvalid partition" in wrong
    gone = here.genbench(*command, PATH=str(Path(sys.executable).parent)).stdout
    assert "fail  slurm        not on PATH: sbatch" in gone


@pytest.mark.skipif(bool(NO_RAY), reason=NO_RAY)
def test_bits_are_the_same_though_a_node_of_ray_is_lost(
    here: ClusterProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    there = here.copy(tmp_path / "there")
    monkeypatch.setenv("PYTHONPATH", str(there.root))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        run = there.start(GENBENCH, *RUN, "--launcher", "ray", "--address", cluster.address)
        wait_for(lambda: bool(there.unfinished("made")), "a checkpoint of made", run)
        process = worker(there, "made")
        (lost,) = (node for node in nodes if raylet(node) in {p.pid for p in process.parents()})
        cluster.remove_node(lost, allow_graceful=False)
        wait_for(lambda: not process.is_running(), "the end of the process of made", run)
        assert not (there.root / "runs" / "smoke" / "made" / "weights.safetensors").exists()
        wait_for(lambda: run.poll() is not None, "the end of the run", run)
        said = run.communicate()[0]
    finally:
        cluster.shutdown()
    assert run.returncode == 0, said
    compared = there.genbench("diff", str(here.root), str(there.root), "--profile", "smoke")
    assert compared.returncode == 0, compared.stdout
    assert there.is_settled()


def worker(project: ClusterProject, entry: str) -> psutil.Process:
    """The process that trains an entry."""
    path = project.root / ".status" / "smoke" / f"{entry}-train.json"
    return psutil.Process(int(json.loads(path.read_text())["process"].partition(":")[0]))


def raylet(node: Any) -> int:
    """The process of a node that starts its workers."""
    return int(node.all_processes["raylet"][0].process.pid)
