"""`genbench doctor`: what a run needs, checked one by one, each with a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from genbench.cli import (
    doctor_cluster,
    doctor_data,
    doctor_installation,
    doctor_machine,
    doctor_project,
)
from genbench.cli.doctor_check import Check
from genbench.config.load import find_root, load_params, params_path, profiles
from genbench.disk import told
from genbench.errors import UserError
from genbench.hardware.isa import set_isa

__all__ = ["checks", "print_checks"]


def print_checks(
    profile: str,
    launcher: str = "local",
    *,
    options: Path | None = None,
    address: str | None = None,
) -> int:
    """Print all checks of a profile; returns 1 if any fails, else 0. The arguments are those of
    :func:`checks`.

    Raises:
        UserError: an unknown launcher, or an option that belongs to another one.
    """
    from genbench.pipeline.launching import check_options

    check_options(launcher, options=options, address=address)
    found = []
    for check in checks(profile, launcher, options=options, address=address):
        print(f"{check.level:<5} {check.what:<12} {check.found}", flush=True)
        if check.remedy and check.level != "ok":
            print(f"      {'':<12} -> {check.remedy}", flush=True)
        found.append(check)
    failures = sum(check.level == "fail" for check in found)
    warnings = sum(check.level == "warn" for check in found)
    print(f"\n{failures} of {len(found)} checks failed, {warnings} warnings")
    return int(failures > 0)


def checks(
    profile: str,
    launcher: str = "local",
    *,
    options: Path | None = None,
    address: str | None = None,
) -> Iterator[Check]:
    """All checks, in the order in which a run would meet them. One that cannot be made fails, and
    the others go on.

    Arguments:
        profile: name of the profile.
        launcher: what is to run its entries.
        options: of Slurm: a YAML file.
        address: of Ray: of a cluster.
    """
    yield doctor_installation.python()
    yield from doctor_installation.packages()
    try:
        root = find_root()
        params = {name: load_params(name, root=root) for name in profiles(root)}
        chosen = load_params(profile, root=root)
        set_isa(chosen.compute.isa, chosen.compute.device)
    except (UserError, OSError) as error:
        remedy = (
            "`git diff` shows what was changed; GENBENCH_DEVICE, GENBENCH_THREADS and "
            "GENBENCH_ISA stand above `compute` of params.yaml"
        )
        yield Check("fail", "project", told(error), remedy)
        return
    yield Check("ok", "project", f"{root}, profiles {', '.join(params)}")
    correct = f"correct the named parameter in {params_path(profile, root)}"
    yield from attempt("entries", lambda: doctor_project.entries(chosen), correct)
    yield from attempt("dvc", lambda: doctor_project.dvc(root))
    yield from attempt("dvc files", lambda: doctor_project.dvc_files(root))
    yield from attempt("outputs", lambda: doctor_project.outputs(chosen))
    yield from attempt("git", lambda: doctor_project.git(root))
    yield from attempt("disk", lambda: doctor_project.disk(root))
    yield from attempt("permission", lambda: doctor_project.permission(chosen))
    for dataset in chosen.datasets:
        yield from attempt(dataset, partial(doctor_data.data_set, chosen, dataset))
    yield from attempt("feature net", lambda: doctor_installation.feature_net())
    yield from attempt("compiler", lambda: doctor_installation.compiler(chosen))
    yield from attempt("compute", lambda: doctor_machine.compute(chosen))
    yield from attempt("speed", lambda: doctor_machine.speed(chosen, list(params.values())))
    if launcher == "slurm":
        yield from attempt("slurm", lambda: doctor_cluster.slurm(chosen, options))
    if launcher == "ray":
        yield from attempt("ray", lambda: doctor_cluster.ray(address))


def attempt(
    what: str, check: Callable[[], str | Check | Iterable[Check]], remedy: str = ""
) -> Iterator[Check]:
    """What a check finds, text being good news; or why it could not be made: something broken is
    what doctor is for, and never ends it.
    """
    try:
        found = check()
        if isinstance(found, str):
            found = Check("ok", what, found)
        yield from [found] if isinstance(found, Check) else found
    except (UserError, OSError) as error:
        yield Check("fail", what, told(error), remedy)
    except Exception as error:
        yield Check("fail", what, f"cannot be checked: {type(error).__name__}: {error}", remedy)
