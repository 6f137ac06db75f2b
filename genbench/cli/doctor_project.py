"""Checks of `genbench doctor`: the project's parameters, its DVC and git, its disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from genbench.cli.doctor_check import Check
from genbench.config.layout import Layout
from genbench.config.load import profiles
from genbench.config.params import Params
from genbench.disk import check_writable
from genbench.errors import UserError

__all__ = ["disk", "dvc", "dvc_files", "entries", "git", "outputs", "permission"]


def entries(params: Params) -> str:
    """The entries of a profile, with all of their options."""
    from genbench.pipeline.validate import check_params  # imports torch

    broken = check_params(params)
    if broken:
        raise UserError("; ".join(f"{name}: {reason}" for name, reason in broken.items()))
    return f"{len(params.entries)} of profile {params.profile}, all options known to their models"


def dvc(root: Path) -> str:
    """Whether DVC can work in the project, and what it has run."""
    from genbench.pipeline.executor import check_workspace

    check_workspace(root)
    locked = [name for name in profiles(root) if Layout(root, name).dvc_lock.is_file()]
    return f"{root / '.dvc'}; dvc.lock of {', '.join(locked) if locked else 'no profile yet'}"


def dvc_files(root: Path) -> Iterator[Check]:
    """Files of DVC that it cannot read, as a kill may leave them."""
    from genbench.pipeline.dvc_files import problems

    found = problems(root)
    yield from (Check("fail", "dvc files", problem, remedy) for problem, remedy in found)
    if not found:
        yield Check("ok", "dvc files", "dvc.lock and rwlock can be read")


def outputs(params: Params) -> Iterator[Check]:
    """Outputs that DVC takes for what they were, on a disk that loses bits."""
    from genbench.pipeline.integrity import damaged_outputs
    from genbench.pipeline.pending import whole

    stages = [f"{stage}@{key}" for stage, key in whole(params)]
    changed, unreadable = damaged_outputs(params.root, params.profile, stages)
    yield from (Check("fail", "outputs", reason) for reason in unreadable)
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        listed = ", ".join(map(str, changed[:5])) + more
        told = f"changed since they were made, unseen by DVC: {listed}"
        yield Check("warn", "outputs", told, "the next `genbench run` makes them again")
    elif not unreadable:
        told = "those that are there are what dvc.lock says, as far as DVC does not look itself"
        yield Check("ok", "outputs", told)


def git(root: Path) -> Check:
    """The commit that results are recorded with."""
    from genbench.pipeline.git import commit_of

    commit, reason = commit_of(root)
    if reason is not None:
        loss = "everything works, but results are recorded without their commit"
        return Check("warn", "git", reason, loss)
    if not commit:
        return Check("ok", "git", "no repository: results are recorded without a commit")
    return Check("ok", "git", f"commit {commit}")


def disk(root: Path) -> Check:
    """The room that is left."""
    free = shutil.disk_usage(root).free / 2**30
    remedy = (
        "free some space; `genbench clean` removes checkpoints that no entry needs, `dvc gc "
        "--workspace` old results"
    )
    level = "fail" if free < 1 else "warn" if free < 5 else "ok"
    return Check(level, "disk", f"{free:.1f} GiB free in {root}", remedy)


def permission(params: Params) -> Iterator[Check]:
    """Whether the folders that a run writes can be written."""
    layout = Layout.of(params)
    folders = [
        layout.runs,
        layout.report.path,
        layout.unfinished,
        layout.status_folder,
        layout.raw.parent,
        layout.root / ".dvc",
    ]
    locked = False
    for folder in folders:
        try:
            check_writable([folder])
        except UserError as error:
            locked = True
            yield Check("fail", "permission", str(error))
    if not locked:
        yield Check("ok", "permission", f"all folders of profile {params.profile} can be written")
