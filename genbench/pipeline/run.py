"""`genbench run`: the pipeline by DVC, then the report and tracking of whatever succeeded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from genbench.config.layout import Layout
from genbench.config.load import find_root, load_params, profiles
from genbench.config.params import Params
from genbench.config.stages import DATASET_STAGES, ENTRY_STAGES
from genbench.disk import check_writable, shortage
from genbench.errors import UserError, near
from genbench.files import read_json
from genbench.hardware.isa import set_isa
from genbench.pipeline.dvc_files import copies_kept, mend
from genbench.pipeline.dvc_lock import stages_in
from genbench.pipeline.estimate import announce
from genbench.pipeline.executor import check_workspace, repro
from genbench.pipeline.fingerprints import outdated_plugins
from genbench.pipeline.forkserver import forkserver
from genbench.pipeline.integrity import mend_outputs
from genbench.pipeline.targets import match_entries, pipeline_targets, target
from genbench.processes.lock import hold

__all__ = ["run_pipeline"]


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
    # By DVC's own lock a second run would fail.
    with hold(Layout(root).run_lock, f"genbench run --profile {profile}"):
        for told in mend(root):
            print(told, file=sys.stderr)
        return _run(_load(root, profile), patterns, force)  # which may have changed meanwhile


def _load(root: Path, profile: str) -> Params:
    # DVC reads all profiles, with less helpful errors.
    loaded = {name: load_params(name, root=root) for name in profiles(root)}
    if profile not in loaded:
        raise UserError(f"{profile!r} is no profile{near(profile, loaded)}")
    return loaded[profile]


def _run(params: Params, patterns: str | None, force: bool) -> int:
    set_isa(params.compute.isa, params.compute.device)
    layout, names = Layout.of(params), match_entries(params, patterns)
    dvc = params.root / ".dvc"
    results = [layout.runs, layout.report.path, layout.unfinished]
    check_writable([dvc / "tmp", dvc / "cache", *results, layout.run_lock.parent])
    broken = _check(params, names)
    shared = [f"{stage}@{name}" for name in params.datasets for stage in DATASET_STAGES]
    stages = [*shared, *(f"{stage}@{name}" for name in names for stage in ENTRY_STAGES)]
    _mend_outputs(params, stages)
    chosen = None if patterns is None else names
    print(_plan(params, chosen, force), flush=True)
    with copies_kept(params.root):
        before = stages_in(layout.dvc_lock)
        code = _repro(params, chosen, force)
        now = stages_in(layout.dvc_lock)
        # What DVC has put there since is looked at too: it may have taken it from its cache of
        # runs.
        new = [stage for stage in stages if now.get(stage) != before.get(stage)]
        if _mend_outputs(params, new):
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
    if emulated := emulating(params, names):
        ask = f"{', '.join(emulated)} ask{'s' if len(emulated) == 1 else ''}"
        print(f"warning: {ask} for bfloat16, and {EMULATED}", file=sys.stderr)
    for name, reason in broken.items():
        print(f"{name}: {reason}. The other entries go on", file=sys.stderr)
    return broken


def _repro(params: Params, names: Sequence[str] | None, force: bool) -> int:
    """The stages by DVC, then the report and tracking of whatever succeeded; the exit code of the
    first that failed.
    """
    root = params.root
    if outdated_plugins(params):  # DVC sees only the project's files; a plug-in's are elsewhere
        repro(root, ["-f", "-s", target(params, "fingerprints")])
    fresh = {"GENBENCH_FRESH": "1"} if force else {}  # resume from no checkpoint
    forced = ["-f"] if force else []
    with forkserver() as served:
        arguments = ["--keep-going", *forced, *pipeline_targets(params, names)]
        code = repro(root, arguments, {**served, **fresh})
    if code != 0 or names is not None:  # else the first command ended with both
        # Why a stage failed is in .status, which is no dependency of the report.
        forced = ["-f"] if code != 0 else []
        reported = repro(root, [*forced, "-s", target(params, "report")])
        code = code or reported
        tracked = repro(root, ["-s", target(params, "track")])
        code = code or tracked
    return code


def _plan(params: Params, names: Sequence[str] | None, force: bool) -> str:
    """What the run is going to do; why that is not known, if it is not, which is no reason not to
    run what can be run.
    """
    try:
        return announce(params, names, force=force) or f"{params.profile}: everything is up to date"
    except UserError as error:
        return f"{params.profile}: what there is to do is not known: {error}"


def _tell(params: Params, names: Sequence[str]) -> None:
    """Print what the report lacks, and where it is."""
    report = Layout.of(params).report
    if report.leaderboard.is_file():
        for line in _missing(report.leaderboard, names):
            print(line, file=sys.stderr)
    if report.page.is_file():
        page = report.page.relative_to(params.root)
        print(f"report: {page}    (genbench report --open; genbench ui)")


def _missing(leaderboard: Path, names: Sequence[str]) -> list[str]:
    """What to say of the entries that a leaderboard lacks; of one that is damaged just that, as the
    run's own errors are the ones to tell.
    """
    try:
        missing = [
            f"  {row['entry']}: {row['reason']}"
            for row in read_json(leaderboard)["missing"]
            if row["entry"] in names
        ]
    except (TypeError, KeyError):
        reason = f"{leaderboard} is no leaderboard"
    except (OSError, ValueError) as error:
        reason = str(error)
    else:
        return ["missing from the report:", *missing] if missing else []
    return [f"warning: what is missing from the report is not known: {reason}"]
