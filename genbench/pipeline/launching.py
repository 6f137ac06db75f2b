"""Which launcher a run uses, from what the command line says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.errors import UserError, near
from genbench.launchers.base import Launcher
from genbench.pipeline.jobs import default_jobs, environments

__all__ = ["LAUNCHERS", "make_launcher"]

LAUNCHERS = ("local", "slurm", "ray")
"""Their names on the command line."""


def make_launcher(
    params: Params,
    name: str = "local",
    *,
    jobs: int | None = None,
    options: Path | None = None,
    address: str | None = None,
    clones: str | None = None,
) -> Launcher:
    """The launcher of a run.

    Arguments:
        params: the profile.
        name: one of :data:`LAUNCHERS`.
        jobs: of ``local``: how many entries at once; None finds out.
        options: of ``slurm``: a YAML file (:func:`genbench.launchers.slurm.read_options`).
        address: of ``ray``: a cluster; None for that of RAY_ADDRESS, else one here.
        clones: of ``ray``: where its nodes have clones of the project.

    Raises:
        UserError: an unknown launcher, an option that belongs to another one, or a package or
            program that it needs is not here.
    """
    if name not in LAUNCHERS:
        raise UserError(f"--launcher: unknown {name!r}{near(name, LAUNCHERS)}")
    for option, value, owner in (
        ("--jobs", jobs, "local"),
        ("--launcher-options", options, "slurm"),
        ("--address", address, "ray"),
        ("--clones", clones, "ray"),
    ):
        if value is not None and name != owner:
            raise UserError(f"{option} belongs to --launcher {owner}, and this run has {name}")
    if name == "local":
        from genbench.launchers.local import LocalLauncher

        number = jobs or default_jobs(params)
        return LocalLauncher(number, environments=environments(params, number))
    if name == "ray":
        from genbench.launchers.ray import RayLauncher

        on_cuda = params.compute.device.startswith("cuda")
        return RayLauncher(address, cpus=params.compute.threads, gpus=1 if on_cuda else 0)
    from genbench.launchers.slurm import SlurmLauncher
    from genbench.launchers.slurm_options import SlurmOptions, read_options

    layout, threads = Layout.of(params), params.compute.threads
    gpus = 1 if params.compute.device.startswith("cuda") else 0
    given = SlurmOptions(cpus=threads, gpus=gpus)
    return SlurmLauncher(
        layout.slurm,
        (lambda key: given)
        if options is None
        else read_options(options, threads=threads, gpus=gpus),
        leave=_leave,
    )


def _leave(arrays: Sequence[str]) -> bool:
    """Whether the jobs of a run that is stopped are to go on: what somebody at the terminal says;
    without one, yes.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print(f"\n{len(arrays)} arrays of jobs are queued or running. Leave them? [Y/n] ", end="")
    sys.stdout.flush()
    try:
        return not input().strip().lower().startswith("n")
    except EOFError:
        return True
