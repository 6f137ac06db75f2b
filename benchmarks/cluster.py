"""All of the profile `smoke` by one process, by two, by a real Slurm of two nodes on this machine,
and by a Ray of two nodes: whether all give the same bits, and how long each takes.

Writes benchmarks/results/cluster.json, and fails if any differs. Needs root, the packages of Slurm
and requirements-cluster.lock (`make test-cluster`).

    python -m benchmarks.cluster
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import publish
from genbench.errors import UserError
from tests.slurm_cluster import cluster, why_not
from tests.trees import copy_tree

GENBENCH = str(Path(sys.executable).parent / "genbench")


@contextlib.contextmanager
def on_ray() -> Iterator[str]:
    """A Ray of two nodes with a core each; its address."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            found.add_node(num_cpus=1)
        found.wait_for_nodes()
        yield str(found.address)
    finally:
        found.shutdown()


def run(root: Path, *arguments: str, **more: str) -> float:
    """Seconds of `genbench run` in a copy of the project, from nothing."""
    copy_tree(root)
    env = os.environ | {"PYTHONPATH": str(root), "DVC_SITE_CACHE_DIR": f"{root}-site"} | more
    os.environ["PYTHONPATH"] = str(root)  # for Ray's nodes, which this process starts
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    begun = time.monotonic()
    subprocess.run(
        [GENBENCH, "run", "--profile", "smoke", *arguments], cwd=root, env=env, check=True
    )
    seconds = time.monotonic() - begun
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "profiles/smoke/dvc.yaml"],
        cwd=root,
        env=env,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    if "up to date" not in done.stdout:
        raise SystemExit(f"after {' '.join(arguments)} DVC has something to do:\n{done.stdout}")
    return seconds


def main() -> None:
    """Run, compare and write."""
    if reason := why_not():
        raise UserError(f"no Slurm here: {reason}")
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
        base = Path(folder)
        seconds = {f"--jobs {n}": run(base / f"jobs{n}", "--jobs", str(n)) for n in (1, 2)}
        with cluster(base / "s") as slurm:
            (base / "slurm.yaml").write_text("memory_gb: 2", encoding="utf-8")
            options = ("--launcher-options", str(base / "slurm.yaml"))
            conf = slurm.env["SLURM_CONF"]
            seconds["--launcher slurm"] = run(
                base / "slurm", "--launcher", "slurm", *options, SLURM_CONF=conf
            )
        os.environ["PYTHONPATH"] = str(base / "ray")
        with on_ray() as address:
            seconds["--launcher ray"] = run(base / "ray", "--launcher", "ray", "--address", address)
        first, *others = seconds
        places = zip(others, ("jobs2", "slurm", "ray"), strict=True)
        equal = {way: same(base / "jobs1", base / place) for way, place in places}
    publish(
        "cluster",
        ["run", "seconds", f"bits of {first}"],
        [[way, seconds[way], "yes" if equal.get(way, True) else "NO"] for way in seconds],
        {way: {"seconds": seconds[way], "equal": equal.get(way, True)} for way in seconds},
    )
    if not all(equal.values()):
        raise SystemExit("results differ")


def same(first: Path, second: Path) -> bool:
    """Whether `genbench diff` finds no difference; prints what it finds."""
    command = [GENBENCH, "diff", str(first), str(second), "--profile", "smoke"]
    return subprocess.run(command, cwd=first, check=False).returncode == 0


if __name__ == "__main__":
    main()
