"""`genbench doctor`: what a run needs, checked one by one, each with a remedy."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from genbench.config.aliases import alias_warning
from genbench.config.layout import Layout
from genbench.config.params import Params, find_root, load_params, params_path, profiles
from genbench.data.mirror import mirror
from genbench.disk import check_writable, told
from genbench.errors import UserError
from genbench.hardware.isa import set_isa

if TYPE_CHECKING:
    from genbench.data.datasets import RawFile

__all__ = ["Check", "checks", "print_checks"]

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "dvc",
    "mlflow",
    "torch-fidelity",
    "safetensors",
    "typer",
)
_MB = 2**20


@dataclass(frozen=True, slots=True)
class Check:
    """One line: ``level`` is ok, warn (a run works, with a loss) or fail (it does not), ``remedy``
    says how to mend.
    """

    level: str
    what: str
    found: str
    remedy: str = ""


def print_checks(profile: str) -> int:
    """Print all checks of a profile; returns 1 if any fails, else 0."""
    found = []
    for check in checks(profile):
        print(f"{check.level:<5} {check.what:<12} {check.found}", flush=True)
        if check.remedy and check.level != "ok":
            print(f"      {'':<12} -> {check.remedy}", flush=True)
        found.append(check)
    failures, warnings = (
        sum(check.level == level for check in found) for level in ("fail", "warn")
    )
    print(f"\n{failures} of {len(found)} checks failed, {warnings} warnings")
    return int(failures > 0)


def checks(profile: str) -> Iterator[Check]:
    """All checks, in the order in which a run would meet them. One that cannot be made fails, and
    the others go on.
    """
    yield _python()
    yield from _packages()
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
    yield from _attempt(
        "entries",
        lambda: _entries(chosen),
        f"correct the named parameter in {params_path(profile, root)}",
    )
    yield from _attempt("aliases", lambda: _aliases(params.values()))
    yield from _attempt("dvc", lambda: _dvc(root))
    yield from _attempt("dvc files", lambda: _dvc_files(root))
    yield from _attempt("outputs", lambda: _outputs(chosen))
    yield from _attempt("git", lambda: _git(root))
    yield from _attempt("disk", lambda: _disk(root))
    yield from _attempt("permission", lambda: _writable(chosen))
    for dataset in chosen.datasets:
        yield from _attempt(dataset, partial(_data, chosen, dataset))
    yield from _attempt("feature net", _weights)
    yield from _attempt("compiler", lambda: _compiler(chosen))
    yield from _attempt("compute", lambda: _compute(chosen))
    yield from _attempt("speed", lambda: _speed(chosen, list(params.values())))


def _attempt(
    what: str, check: Callable[[], str | Check | Iterable[Check]], remedy: str = ""
) -> Iterator[Check]:
    """What a check finds, text being good news; or why it could not be made: something broken is
    what doctor is for, and never ends it.
    """
    try:
        found = check()
        yield from (
            [Check("ok", what, found)]
            if isinstance(found, str)
            else [found]
            if isinstance(found, Check)
            else found
        )
    except (UserError, OSError) as error:
        yield Check("fail", what, told(error), remedy)
    except Exception as error:
        yield Check("fail", what, f"cannot be checked: {type(error).__name__}: {error}", remedy)


def _python() -> Check:
    return Check("ok", "python", f"{platform.python_version()} in {sys.prefix}")


def _packages() -> Iterator[Check]:
    versions, missing = [], []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        remedy = "make install, or pip install --require-hashes -r requirements.lock"
        yield Check("fail", "packages", f"missing: {', '.join(missing)}", remedy)
    else:
        yield Check("ok", "packages", ", ".join(versions))


def _entries(params: Params) -> str:
    from genbench.pipeline.validate import check_params  # imports torch

    broken = check_params(params)
    if broken:
        raise UserError("; ".join(f"{name}: {reason}" for name, reason in broken.items()))
    return f"{len(params.entries)} of profile {params.profile}, all options known to their models"


def _dvc(root: Path) -> str:
    from genbench.pipeline.repro import check_workspace

    check_workspace(root)
    locked = [name for name in profiles(root) if Layout(root, name).dvc_lock.is_file()]
    return f"{root / '.dvc'}; dvc.lock of {', '.join(locked) if locked else 'no profile yet'}"


def _aliases(profiles: Iterable[Params]) -> Iterator[Check]:
    for params in profiles:
        if (warning := alias_warning(params.shared)) is not None:
            yield Check("warn", "aliases", f"{params_path(params.profile, params.root)}: {warning}")


def _dvc_files(root: Path) -> Iterator[Check]:
    """Files of DVC that it cannot read, as a kill may leave them."""
    from genbench.pipeline.dvc_files import problems

    found = problems(root)
    yield from (Check("fail", "dvc files", problem, remedy) for problem, remedy in found)
    if not found:
        yield Check("ok", "dvc files", "dvc.lock and rwlock can be read")


def _outputs(params: Params) -> Iterator[Check]:
    """Outputs that DVC takes for what they were, on a disk that loses bits."""
    from genbench.pipeline.estimate import whole
    from genbench.pipeline.integrity import damaged_outputs

    changed, unreadable = damaged_outputs(
        params.root, params.profile, [f"{stage}@{key}" for stage, key in whole(params)]
    )
    yield from (Check("fail", "outputs", reason) for reason in unreadable)
    if changed:
        listed = ", ".join(map(str, changed[:5])) + (
            f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        )
        yield Check(
            "warn",
            "outputs",
            f"changed since they were made, unseen by DVC: {listed}",
            "the next `genbench run` makes them again",
        )
    elif not unreadable:
        yield Check(
            "ok",
            "outputs",
            "those that are there are what dvc.lock says, as far as DVC does not look itself",
        )


def _git(root: Path) -> Check:
    from genbench.pipeline.git import commit_of

    commit, reason = commit_of(root)
    if reason is not None:
        return Check(
            "warn", "git", reason, "everything works, but results are recorded without their commit"
        )
    return Check(
        "ok",
        "git",
        f"commit {commit}" if commit else "no repository: results are recorded without a commit",
    )


def _disk(root: Path) -> Check:
    free = shutil.disk_usage(root).free / 2**30
    remedy = (
        "free some space; `genbench clean` removes checkpoints that no entry needs, `dvc gc "
        "--workspace` old results"
    )
    level = "fail" if free < 1 else "warn" if free < 5 else "ok"
    return Check(level, "disk", f"{free:.1f} GiB free in {root}", remedy)


def _writable(params: Params) -> Iterator[Check]:
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


def _data(params: Params, dataset: str) -> Check:
    from genbench.data.datasets import load, raw_files

    layout, what, place = Layout.of(params), dataset, mirror()
    path, raw = layout.data(dataset), layout.raw
    if path.is_file():
        try:
            images = load(path, dataset)
        except (UserError, ValueError) as error:
            return Check("fail", what, str(error), f"delete {path}; the next run writes it again")
        return Check(
            "ok",
            what,
            f"prepared: {len(images.train_x)}/{len(images.valid_x)}/{len(images.test_x)} images",
        )
    if place and "://" in place:
        return Check("ok", what, f"not prepared yet; comes from {place}")
    bad = [file.name for file in raw_files(dataset) if not _is_here(file, place, raw)]
    if not bad:
        return Check(
            "ok",
            what,
            f"not prepared yet; its files in {place or raw} have the published checksums",
        )
    if place:
        remedy = "correct GENBENCH_MIRROR, or unset it to download"
        return Check(
            "fail", what, f"missing or corrupt in GENBENCH_MIRROR={place}: {', '.join(bad)}", remedy
        )
    return Check(
        "warn",
        what,
        f"not here yet: {', '.join(bad)}",
        "needs the network, or GENBENCH_MIRROR set to a folder that has them",
    )


def _is_here(file: RawFile, mirror: str | None, raw: Path) -> bool:
    """Whether a published file is in the mirror, or without one among the downloads, as it was
    published.
    """
    from genbench.data.datasets import from_mirror

    with contextlib.suppress(OSError, UserError):
        return (
            bool(from_mirror(file, mirror))
            if mirror
            else file.holds((raw / file.folder / file.name).read_bytes())
        )
    return False


def _weights() -> str:
    from genbench.scoring.features import WEIGHTS, WEIGHTS_SHA256, load_net

    load_net()
    return f"{WEIGHTS.name}, SHA-256 {WEIGHTS_SHA256[:12]}..."


def _compiler(params: Params) -> Check:
    device = params.compute.device.split(":")[0]
    wanting = [
        e.name
        for e in params.entries.values()
        if e.train.get("backend", {}).get(device, {}).get("compile")
    ]
    from genbench.training.arithmetic import check_compiler

    try:
        check_compiler("train.backend")
    except UserError as error:
        if wanting:
            return Check(
                "fail",
                "compiler",
                str(error),
                f"install one, or set compile: false in {', '.join(wanting)}",
            )
        return Check("ok", "compiler", "none, and no entry of this profile asks for torch.compile")
    return Check(
        "ok", "compiler", f"there; torch.compile is used by {', '.join(wanting) or 'no entry'}"
    )


def _compute(params: Params) -> Iterator[Check]:
    import psutil
    import torch

    from genbench.hardware import capacity
    from genbench.hardware.kind import in_words, kind_of
    from genbench.hardware.precision import EMULATED, resolve
    from genbench.pipeline.validate import emulating

    threads, cores = params.compute.threads, capacity.usable_cores()
    remedy = (
        "set compute.threads or --threads to the number of cores; results are the same bits "
        "only for an equal number of threads"
    )
    yield Check(
        "warn" if threads > cores else "ok",
        "cpu",
        f"{threads} threads on {cores:g} usable cores",
        remedy,
    )
    busy = capacity.busy_cores()
    remedy = (
        "stop what else runs, or start it with `nice -n 19` in the same terminal: a training whose "
        "threads wait for one another "
        "is slowed many times by one busy process"
    )
    yield Check(
        "warn" if busy > 0.3 else "ok",
        "load",
        f"other processes keep {busy:.1f} of {os.cpu_count()} cores busy",
        remedy,
    )
    slowed = capacity.slowed()
    if slowed:
        yield Check(
            "warn", "clock", slowed, "lift the limit (power settings), or expect longer times"
        )
    free, total = capacity.memory_left(), psutil.virtual_memory().total
    yield Check(
        "warn" if free < 3000 * _MB else "ok",
        "memory",
        f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free",
        "scoring takes up to 3 GB",
    )
    usable = params.compute.device == "cpu" or (
        torch.cuda.is_available()
        and (torch.device(params.compute.device).index or 0) < torch.cuda.device_count()
    )
    place = torch.device(params.compute.device if usable else "cpu")
    kind = kind_of(place, params.compute.isa)
    held = (
        f", held by {', '.join(f'{k}={v}' for k, v in kind.limits.items())}" if kind.limits else ""
    )
    libraries = ", ".join(f"{name} {version}" for name, version in kind.libraries.items())
    yield Check(
        "ok",
        "kind",
        (
            f"{in_words(kind.record())}{held} ({libraries}): equal bits on machines of this kind with "
            "as many threads"
        ),
    )
    with contextlib.suppress(
        AttributeError, TypeError
    ):  # a block that is no mapping: the check of the entries has said so
        emulated = emulating(params)
        remedy = f"{EMULATED}; set it in {', '.join(emulated)}"
        yield Check(
            "warn" if emulated else "ok",
            "precision",
            f"auto is {resolve('auto', place)} here",
            remedy,
        )
    wanted = params.compute.device
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        used = "used" if wanted.startswith("cuda") else f"not used, as compute.device is {wanted}"
        yield Check("ok", "gpu", f"{names} ({used})")
    elif wanted.startswith("cuda"):
        yield Check(
            "fail",
            "gpu",
            f"compute.device is {wanted}, and no CUDA device is usable",
            "set it to cpu, or check the driver",
        )
    else:
        yield Check("ok", "gpu", "none; everything runs on the CPU")


def _speed(params: Params, profiles: Sequence[Params]) -> Iterator[Check]:
    """How fast this machine computes, beside the one that the committed costs are from, and how
    long each profile takes.
    """
    if params.compute.device != "cpu":
        return
    import torch

    from genbench.hardware.capacity import speeds
    from genbench.hardware.precision import computes_bfloat16
    from genbench.pipeline.estimate import how_long, reference, whole

    own, native = (
        speeds(params.compute.threads, emulated=True),
        computes_bfloat16(torch.device("cpu")),
    )
    for precision, found in own.items():
        theirs = reference(params, precision)
        beside = ""
        if theirs is not None and precision in theirs["speeds"]:
            beside = (
                f"; {_gflops(theirs['speeds'][precision])} where the costs of "
                f"{params.profile} were recorded, on {theirs['processor']}"
            )
        emulated = ", emulated" if precision == "bfloat16" and not native else ""
        yield Check("ok", "speed", f"{precision}{emulated}: {_gflops(found)}{beside}")
    if not native:
        del own["bfloat16"]
    for profile in profiles:
        yield Check(
            "ok", "time", f"profile {profile.profile}: {how_long(profile, whole(profile), own)}"
        )


def _gflops(found: Mapping[str, float]) -> str:
    return (
        f"convolution {found['convolution']:.0f}, matrix product {found['matrix_product']:.0f} "
        "GFLOP/s"
    )
