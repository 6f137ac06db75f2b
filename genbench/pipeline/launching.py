"""Which launcher a run uses, from what the command line says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from genbench.config.further_seeds import seeds_of
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.errors import UserError, near
from genbench.launchers.base import Launcher
from genbench.launchers.slurm_options import SlurmOptions, read_options
from genbench.pipeline.jobs import default_jobs, environments
from genbench.pipeline.left_jobs import left_jobs
from genbench.pipeline.watch import look, read_plan, run_name

__all__ = ["LAUNCHERS", "check_jobs", "check_options", "make_launcher", "slurm_options"]

LAUNCHERS = ("local", "slurm", "ray")
"""Their names on the command line."""


def check_options(
    name: str,
    *,
    jobs: int | None = None,
    options: Path | None = None,
    address: str | None = None,
    clones: str | None = None,
) -> None:
    """Raise UserError for an unknown launcher, or an option that belongs to another one; the
    arguments are those of :func:`make_launcher`.
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
            raise UserError(f"{option} belongs to --launcher {owner}, and the launcher is {name}")


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
        options: of ``slurm``: a YAML file (:func:`slurm_options`).
        address: of ``ray``: a cluster; None for that of RAY_ADDRESS, else one here.
        clones: of ``ray``: where its nodes have clones of the project.

    Raises:
        UserError: an unknown launcher, an option that belongs to another one, or a package or
            program that it needs is not here.
    """
    check_options(name, jobs=jobs, options=options, address=address, clones=clones)
    if name == "local":
        from genbench.launchers.local import LocalLauncher

        number = jobs or default_jobs(params)
        return LocalLauncher(number, environments=environments(params, number))
    if name == "ray":
        from genbench.launchers.ray import RayLauncher

        on_cuda = params.compute.device.startswith("cuda")
        return RayLauncher(address, cpus=params.compute.threads, gpus=1 if on_cuda else 0)
    from genbench.launchers.slurm import SlurmLauncher

    return SlurmLauncher(Layout.of(params).slurm, slurm_options(params, options), leave=_leave)


def slurm_options(params: Params, file: Path | None) -> Callable[[str], SlurmOptions]:
    """What the jobs of a profile's entries ask of a cluster, by the name of the entry.

    Arguments:
        params: the profile.
        file: says it (:func:`genbench.launchers.slurm_options.read_options`); None leaves all to
            the profile and the cluster.

    Raises:
        UserError: as there.
    """
    threads, gpus = params.compute.threads, int(params.compute.device.startswith("cuda"))
    if file is None:
        given = SlurmOptions(cpus=threads, gpus=gpus)
        return lambda key: given
    # A run of further seeds has the file of the run of their entries.
    of = seeds_of(params)
    names = {*params.entries, *(load_params(of, root=params.root).entries if of else ())}
    return read_options(file, threads=threads, gpus=gpus, entries=names)


def check_jobs(params: Params, names: Collection[str], launcher: Launcher) -> None:
    """Raise UserError if jobs of Slurm that an earlier run has left do some of these entries, and a
    launcher would do them once more beside these: one of Slurm takes them up instead.
    """
    from genbench.launchers.slurm import SlurmLauncher

    if isinstance(launcher, SlurmLauncher):
        return
    left = left_jobs(params).of(names)
    plan = read_plan(params) if left.numbers else None
    if plan is not None:
        left = left.without(look(params, plan, alive=True).ended)
    if not left.numbers:
        return
    command = f"{run_name(params.profile)} --launcher slurm"
    if plan is not None and "slurm" in plan.command:
        command = plan.command
    path = Layout.of(params).slurm / "jobs.json"
    gone = f"; if they are gone, remove {path}" if left.silence else ""
    raise UserError(
        f"{params.profile}: {left.told()} on Slurm, and this run would do their work beside them; "
        f"go on with them by `{command}`, or cancel them first by `scancel "
        f"{' '.join(left.arrays)}`{gone}"
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
