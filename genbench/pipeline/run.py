"""`genbench run`: the pipeline by DVC, then the report and tracking of whatever succeeded."""

from __future__ import annotations

import fnmatch
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, MappingProxyType

import psutil

from genbench.config.aliases import alias_warning
from genbench.config.params import Params, find_root, load_params, params_path, profiles
from genbench.disk import check_writable, shortage
from genbench.errors import UserError, near
from genbench.files import read_json
from genbench.hardware.isa import set_isa
from genbench.pipeline.dvc_config import is_set
from genbench.pipeline.dvc_files import copies_kept, lock_of, mend
from genbench.pipeline.dvc_lock import stages_in
from genbench.pipeline.fingerprints import ENTRY_STAGES, outdated_plugins
from genbench.pipeline.forkserver import forkserver
from genbench.pipeline.integrity import mend_outputs
from genbench.processes.alive import RUN, process_id
from genbench.processes.lock import hold
from genbench.processes.tether import tethered

__all__ = ["check_workspace", "match_entries", "pipeline_targets", "run_pipeline"]

_LAST_STAGES = (
    "visuals",
    "score_likelihood",
    "score_samples",
)  # an entry's stages that no other stage of it follows


def run_pipeline(profile: str, patterns: str | None = None, *, force: bool = False) -> int:
    """Bring a profile up to date and print where its report is. Waits while another `genbench run`
    is at work in the project.

    Arguments:
        profile: name of the profile.
        patterns: comma-separated names or wildcards of the entries to run; None runs all.
        force: run stages again that are up to date, from their beginning.

    Returns:
        Exit code of ``dvc repro`` over the entries: not 0 if any of their stages failed, or a model
        cannot be imported.

    Raises:
        UserError: no such profile or entry, an option that a model does not have, or a folder that
            DVC cannot work in.
    """
    root = find_root()
    match_entries(_load(root, profile), patterns)
    check_workspace(root)
    with hold(
        root / ".status" / "run.lock", f"genbench run --profile {profile}"
    ):  # by DVC's own lock the second one would fail
        for told in mend(root):
            print(told, file=sys.stderr)
        return _run(_load(root, profile), patterns, force)  # which may have changed meanwhile


def _load(root: Path, profile: str) -> Params:
    loaded = {
        name: load_params(name, root=root) for name in profiles(root)
    }  # DVC reads all of them, with less helpful errors
    if profile not in loaded:
        raise UserError(f"{profile!r} is no profile{near(profile, loaded)}")
    return loaded[profile]


def _run(params: Params, patterns: str | None, force: bool) -> int:
    set_isa(params.compute.isa, params.compute.device)
    names = match_entries(params, patterns)
    folders = [params.runs, params.report, params.checkpoints]
    check_writable(
        [
            params.root / ".dvc" / "tmp",
            params.root / ".dvc" / "cache",
            *folders,
            params.root / ".status",
        ]
    )
    broken = _check(params, names)
    stages = [f"{stage}@{name}" for name in names for stage in ENTRY_STAGES]
    shared = [f"{stage}@{name}" for name in params.datasets for stage in ("prepare", "features")]
    _mend_outputs(params, [*shared, *stages])
    chosen = None if patterns is None else names
    print(_plan(params, chosen, force), flush=True)
    lock = lock_of(params.root, params.profile)
    with copies_kept(params.root):
        before = stages_in(lock)
        code = _repro(params, chosen, force)
        now = stages_in(lock)
        # What DVC has put there since is looked at too: it may have taken it from its cache of
        # runs.
        if _mend_outputs(
            params, [stage for stage in (*shared, *stages) if now.get(stage) != before.get(stage)]
        ):
            code = _repro(params, chosen, force=False)
    _tell(params, names)
    if code != 0 and (short := shortage(params.root)) is not None:
        print(f"error: {short}", file=sys.stderr)
    return code or (1 if broken else 0)


def _mend_outputs(params: Params, stages: Sequence[str]) -> bool:
    """Remove damaged outputs of these stages, and say so; whether there were any."""
    mended, failed = mend_outputs(params.root, params.profile, stages)
    for told in (*mended, *failed):
        print(told, file=sys.stderr, flush=True)
    return bool(mended)


def _check(params: Params, names: Sequence[str]) -> dict[str, str]:
    """Entries whose models cannot be imported → the reason; that and what else is to be known
    before a run is said.
    """
    from genbench.hardware.precision import EMULATED
    from genbench.pipeline.validate import check_params, emulating  # imports torch

    broken = check_params(params, names)
    if (warning := alias_warning(params.shared)) is not None:
        print(f"warning: {params_path(params.profile, params.root)}: {warning}", file=sys.stderr)
    emulated = emulating(params, names)
    if emulated:
        print(
            (
                f"warning: {', '.join(emulated)} ask{'s' if len(emulated) == 1 else ''} for bfloat16, "
                f"and {EMULATED}"
            ),
            file=sys.stderr,
        )
    for name, reason in broken.items():
        print(f"{name}: {reason}. The other entries go on", file=sys.stderr)
    return broken


def _repro(params: Params, names: Sequence[str] | None, force: bool) -> int:
    """The stages by DVC, then the report and tracking of whatever succeeded; the exit code of the
    first that failed.
    """
    root, profile = params.root, params.profile
    if outdated_plugins(params):  # DVC sees only the project's files; a plug-in's are elsewhere
        _dvc(root, ["-f", "-s", _target(profile, "code")])
    fresh = {"GENBENCH_FRESH": "1"} if force else {}  # resume from no checkpoint
    with forkserver() as served:
        code = _dvc(
            root,
            ["--keep-going", *(["-f"] if force else []), *pipeline_targets(params, names)],
            {**served, **fresh},
        )
    if code != 0 or names is not None:  # else the first command ended with both
        for stage in ("report", "track"):
            # Why a stage failed is in .status, which is no dependency of the report.
            finish = _dvc(
                root,
                [
                    *(["-f"] if code != 0 and stage == "report" else []),
                    "-s",
                    _target(profile, stage),
                ],
            )
            code = code or finish
    return code


def _plan(params: Params, names: Sequence[str] | None, force: bool) -> str:
    """What the run is going to do; why that is not known, if it is not, which is no reason not to
    run what can be run.
    """
    from genbench.pipeline.estimate import announce  # imports torch

    try:
        return announce(params, names, force=force) or f"{params.profile}: everything is up to date"
    except UserError as error:
        return f"{params.profile}: what there is to do is not known: {error}"


def match_entries(params: Params, patterns: str | None) -> list[str]:
    """Names of the entries that match any of the comma-separated wildcards, in the order of
    params.yaml.

    Raises:
        UserError: a pattern matches nothing.
    """
    if patterns is None:
        return list(params.entries)
    wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    if not wanted:
        raise UserError("--entries: names no entry; leave it out to run all of them")
    for pattern in wanted:
        if not fnmatch.filter(params.entries, pattern):
            raise UserError(
                f"--entries: {pattern!r} matches no entry of profile "
                f"{params.profile!r}{near(pattern, params.entries)}"
            )
    return [
        name
        for name in params.entries
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)
    ]


def pipeline_targets(params: Params, names: Sequence[str] | None) -> list[str]:
    """Targets of ``dvc repro``: the whole pipeline of the profile, or the last stages of some
    entries.
    """
    if names is None:
        return ["dvc.yaml" if params.profile == "quick" else f"profiles/{params.profile}/dvc.yaml"]
    return [_target(params.profile, f"{stage}@{name}") for name in names for stage in _LAST_STAGES]


def check_workspace(root: Path) -> None:
    """Raise UserError unless DVC can work in ``root``. It needs a git repository around it, but
    neither git itself nor its consent.
    """
    config = root / ".dvc" / "config"
    if not config.is_file():
        raise UserError(
            f"{root} is not set up for DVC (no .dvc/config): restore that file from the "
            "repository, or run `dvc init` there"
        )
    if not any((folder / ".git").exists() for folder in (root, *root.parents)) and not is_set(
        root, "no_scm"
    ):
        raise UserError(
            f"{root} is no git repository, and DVC wants one: clone the project with git, or run "
            "`git init` there; "
            "to work without, run `dvc config --local core.no_scm true`"
        )


def _target(profile: str, stage: str) -> str:
    return stage if profile == "quick" else f"profiles/{profile}/dvc.yaml:{stage}"


def _dvc(
    root: Path, arguments: Sequence[str], more: Mapping[str, str] = MappingProxyType({})
) -> int:
    """Exit code of ``dvc repro`` with the programs of this environment first on PATH, and ``more``
    in its environment.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, RUN: process_id()} | dict(more)
    sys.stdout.flush()
    # If this run is killed, so is DVC: else it would go on with the other entries, unattended. For
    # its lock it waits, as somebody else may use DVC at the same time, if only to look.
    command = tethered("dvc", ["--wait-for-lock", "repro", *arguments])
    with subprocess.Popen(command, cwd=root, env=environment) as child, _stopping(child):
        return child.wait()


@contextmanager
def _stopping(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """On Ctrl-C or SIGTERM stop DVC and its stage too; further ones while that is done are
    ignored.
    """

    def terminated(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        for number in previous:
            signal.signal(number, signal.SIG_IGN)
        _stop(child)
        raise
    finally:
        # if it lives, then halted or with all its work before it, and who started it would wait for
        # that
        child.kill()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(child: subprocess.Popen[bytes], patience: float = 10.0) -> None:
    """End DVC without hurting dvc.lock, and its stage before it, in order.

    While a stage runs, DVC ignores Ctrl-C and writes nothing, and with --keep-going it would go on
    with the next stage: it is halted, so that the stage can end and say so. Between stages it may
    be writing, and Ctrl-C ends it in order: it is given time. Afterwards it is killed.
    """
    deadline = time.monotonic() + patience
    stages: list[psutil.Process] = []
    while child.poll() is None and not stages and time.monotonic() < deadline:
        with suppress(psutil.NoSuchProcess):
            stages = psutil.Process(child.pid).children(recursive=True)
        time.sleep(0.02)
    if stages:
        child.send_signal(signal.SIGSTOP)
    for process in stages:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    while any(_runs(process) for process in stages) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.wait()


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _tell(params: Params, names: Sequence[str]) -> None:
    """Print what the report lacks, and where it is."""
    page, board = params.report / "index.html", params.report / "leaderboard.json"
    if board.is_file():
        for line in _missing(board, names):
            print(line, file=sys.stderr)
    if page.is_file():
        print(f"report: {page.relative_to(params.root)}    (genbench report --open; genbench ui)")


def _missing(board: Path, names: Sequence[str]) -> list[str]:
    """What to say of the entries that a leaderboard lacks; of one that is damaged just that, as the
    run's own errors are the ones to tell.
    """
    try:
        missing = [
            f"  {row['entry']}: {row['reason']}"
            for row in read_json(board)["missing"]
            if row["entry"] in names
        ]
    except (TypeError, KeyError):
        reason = f"{board} is no leaderboard"
    except (OSError, ValueError) as error:
        reason = str(error)
    else:
        return ["missing from the report:", *missing] if missing else []
    return [f"warning: what is missing from the report is not known: {reason}"]
