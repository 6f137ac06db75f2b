"""Checks of `genbench doctor --launcher`: what a run on a cluster needs beside what every run
needs.
"""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from genbench.cli.doctor_check import Check
from genbench.config.params import Params
from genbench.errors import UserError
from genbench.launchers.ray_cluster import cluster_address
from genbench.launchers.slurm_options import SlurmOptions
from genbench.pipeline.launching import slurm_options

__all__ = ["ray", "slurm"]

_SECONDS = 30  # for a program of Slurm to answer


def slurm(params: Params, options: Path | None) -> Iterator[Check]:
    """submitit, Slurm's programs, its controller, the nodes, and whether it would take a job with
    these options.
    """
    yield _package("submitit")
    names = ("sbatch", "squeue", "scancel", "scontrol", "srun", "sinfo")
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        remedy = "run this where jobs are submitted, or load Slurm's module"
        yield Check("fail", "slurm", f"not on PATH: {', '.join(missing)}", remedy)
        return
    pinged = _said("scontrol", "ping")
    if "UP" not in pinged:
        remedy = "ask those who run the cluster; `scontrol ping` must say UP"
        yield Check("fail", "slurm", f"its controller does not answer: {pinged}", remedy)
        return
    yield Check("ok", "slurm", pinged)
    nodes = _said("sinfo", "--noheader", "--format", "%R: %D nodes of %c cores, %m MB, %l, %a")
    yield Check("ok", "partitions", "; ".join(line.strip() for line in nodes.splitlines()))
    yield from _jobs(params, options)
    yield _folder(params.root)


def _jobs(params: Params, options: Path | None) -> Iterator[Check]:
    """Whether the cluster would take a job of each kind that the options make."""
    try:
        of = slurm_options(params, options)
    except UserError as error:
        yield Check("fail", "options", str(error), "docs/cluster.md has an example")
        return
    kinds: dict[str, tuple[SlurmOptions, list[str]]] = {}
    for name in params.entries:
        asked = of(name)
        kinds.setdefault(repr(asked), (asked, []))[1].append(name)
    for asked, names in kinds.values():
        yield _job(asked, names, options)


def _job(asked: SlurmOptions, names: Sequence[str], file: Path | None) -> Check:
    """Whether the cluster would take jobs of these entries."""
    whose = f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
    parameters = asked.parameters()
    named = ("partition", "account", "qos", "time", "mem", "cpus_per_task", "gpus_per_node")
    flags = {name: parameters[name] for name in named if name in parameters}
    done = subprocess.run(
        [
            "sbatch",
            "--test-only",
            *map(_flag, (flags | dict(asked.sbatch)).items()),
            "--wrap",
            "true",
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=_SECONDS,
    )
    told = " ".join((done.stdout + done.stderr).split())
    if done.returncode != 0:
        remedy = f"change it in {file or 'a file, given by --launcher-options'}"
        return Check("fail", "options", f"Slurm takes no job of {whose}: {told}", remedy)
    return Check("ok", "options", f"{whose}: a job would run: {told.removeprefix('sbatch: ')}")


def _flag(option: tuple[str, Any]) -> str:
    """An option of sbatch as it is written."""
    name, value = option[0].replace("_", "-"), option[1]
    return f"--{name}" if value is True else f"--{name}={value}"


def _folder(root: Path) -> Check:
    """Whether other machines may see the folder of the project."""
    told = _said("stat", "--file-system", "--format", "%T", str(root))
    own = ("tmpfs", "overlayfs", "ext2/ext3", "xfs", "btrfs", "zfs")
    if told in own:
        remedy = "only a Slurm whose nodes are this machine can use it; or move the project"
        return Check(
            "warn", "folder", f"{root} is on a disk of this machine alone ({told})", remedy
        )
    return Check("ok", "folder", f"{root} is on {told}, which all nodes must have at this path")


def ray(address: str | None) -> Iterator[Check]:
    """Ray, and whether there is the cluster that a run with this ``--address`` uses."""
    yield _package("ray")
    used = cluster_address(address)
    if not used.place:
        yield Check("ok", "cluster", f"{used.given}: a run starts Ray on this machine alone")
        return
    try:
        import ray as library
    except ImportError:
        return
    try:
        used.check()
        library.init(address=used.place, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        remedy = "`ray status` on its head node says whether it runs; the port must be reachable"
        yield Check("fail", "cluster", f"{used.given} does not answer: {error}", remedy)
        return
    try:
        has = library.cluster_resources()
        nodes = sum(node["Alive"] for node in library.nodes())
        told = f"{nodes} nodes, {has.get('CPU', 0):.0f} cores, {has.get('GPU', 0):.0f} devices"
        yield Check("ok", "cluster", f"{used.given}: {told}")
    finally:
        library.shutdown()


def _package(name: str) -> Check:
    try:
        return Check("ok", name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        remedy = "`make install-cluster` in the project's folder installs it"
        return Check("fail", name, "not installed", remedy)


def _said(*command: str) -> str:
    """What a program says, or why it does not."""
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} has not answered for {_SECONDS} s"
    return done.stdout.strip() or done.stderr.strip()
