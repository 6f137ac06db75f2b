"""`genbench run`: what all entries share by DVC, the entries by a launcher, then the report and
tracking of whatever succeeded.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genbench.config.further_seeds import seeds_of, seeds_profile
from genbench.config.layout import Layout
from genbench.config.load import find_root, load_params, profiles
from genbench.config.params import Params
from genbench.config.stages import DATASET_STAGES, ENTRY_STAGES
from genbench.disk import check_writable, shortage
from genbench.errors import UserError, near
from genbench.files import read_json
from genbench.hardware.isa import set_isa
from genbench.launchers.base import Launcher
from genbench.pipeline.dvc_files import copies_kept, mend
from genbench.pipeline.entries import run_entries
from genbench.pipeline.estimate import Forecast, forecast
from genbench.pipeline.executor import check_workspace, repro
from genbench.pipeline.fingerprints import fingerprint_files, outdated
from genbench.pipeline.integrity import mend_and_tell
from genbench.pipeline.launching import check_jobs
from genbench.pipeline.record import Books
from genbench.pipeline.seed_profile import write_seeds
from genbench.pipeline.targets import match_entries, target
from genbench.pipeline.watch import run_name
from genbench.processes.lock import hold

__all__ = ["run_pipeline"]


def run_pipeline(
    profile: str,
    patterns: str | None = None,
    *,
    launcher: Callable[[Params], Launcher],
    clones: str | None = None,
    force: bool = False,
    seeds: int | None = None,
) -> int:
    """Bring a profile up to date and print where its report is. Waits while another `genbench run`
    is at work in the project.

    Arguments:
        profile: name of the profile.
        patterns: comma-separated names or wildcards of the entries to run; None runs all.
        launcher: makes what runs the entries.
        clones: where each machine that runs entries has a clone of the project of its own; None if
            they share this folder.
        force: run stages again that are up to date, from their beginning.
        seeds: run the entries with so many seeds, their own one counted.

    Returns:
        Exit code: not 0 if any stage failed, or a model cannot be imported.

    Raises:
        UserError: no such profile or entry, an option that a model does not have, seeds that cannot
            be, a folder that DVC cannot work in, or jobs of Slurm that do the same work already.
    """
    root = find_root()
    params = _load(root, profile)
    match_entries(params, patterns)
    launcher(params)  # so that what it lacks is said before anything is waited for
    check_workspace(root)
    # By DVC's own lock a second run would fail.
    with hold(Layout(root).run_lock, run_name(profile)):
        for told in mend(root):
            print(told, file=sys.stderr)
        # The params may have changed while this run waited.
        params = _load(root, profile)
        set_isa(params.compute.isa, params.compute.device)
        further = [] if seeds is None else write_seeds(params, seeds, patterns)
        code = _run(params, patterns, launcher(params), clones, force)
        if further:
            apart = load_params(seeds_profile(profile), root=root)
            code = _run(apart, ",".join(further), launcher(apart), clones, force) or code
        return code


def _load(root: Path, profile: str) -> Params:
    # DVC reads all profiles, with less helpful errors.
    loaded = {name: load_params(name, root=root) for name in profiles(root)}
    if profile not in loaded:
        raise UserError(f"{profile!r} is no profile{near(profile, loaded)}")
    return loaded[profile]


def _run(
    params: Params, patterns: str | None, launcher: Launcher, clones: str | None, force: bool
) -> int:
    layout, names = Layout.of(params), match_entries(params, patterns)
    check_jobs(params, names, launcher)
    dvc, shown = params.root / ".dvc", _shown_in(params)
    results = [layout.runs, Layout.of(shown).report.path, layout.unfinished]
    check_writable([dvc / "tmp", dvc / "cache", *results, layout.run_lock.parent])
    shared = [f"{stage}@{name}" for name in params.datasets for stage in DATASET_STAGES]
    mend_and_tell(params, [*shared, *(f"{s}@{name}" for name in names for s in ENTRY_STAGES)])
    chosen = None if patterns is None else names
    now = fingerprint_files(params)
    planned = _forecast(params, chosen, force, launcher, now)
    # What is up to date was checked when it was run, and checking takes seconds.
    broken = _check(params, names) if planned is None or planned.stages else {}
    if planned is not None:
        print(planned.text, flush=True)
        if not planned.stages and not outdated(params, now) and _is_noted(params, names, shared):
            _tell(shown, names)
            return 0
    seconds = {} if planned is None else planned.seconds
    with copies_kept(params.root):
        code = _shared(params, shared, force, anew=bool(outdated(params, now)))
        able = [name for name in names if name not in broken]
        if code != 0:
            able = _with_data(params, able, shared)
        try:
            failed = run_entries(params, able, launcher, seconds, force=force, clones=clones)
        except BaseException:
            print("stopped; the report of what is finished is written", flush=True)
            _last(shown, ["report"], forced=True)
            raise
        code = code or (1 if failed else 0)
        # DVC does not look for further seeds, which are apart.
        forced = code != 0 or shown is not params
        code = _last(shown, ["report", "track"], forced=forced) or code
    _tell(shown, names)
    if code != 0 and (short := shortage(params.root)) is not None:
        print(f"error: {short}", file=sys.stderr)
    return code or (1 if broken else 0)


def _shown_in(params: Params) -> Params:
    """The profile whose report shows what a profile gives: of further seeds the one whose entries
    they repeat.
    """
    of = seeds_of(params)
    return load_params(of, root=params.root) if of else params


def _forecast(
    params: Params,
    names: Sequence[str] | None,
    force: bool,
    launcher: Launcher,
    now: Mapping[Path, Any],
) -> Forecast | None:
    """What the run is going to do; None, with the reason on standard error, if that is not known,
    which is no reason not to run what can be run.
    """
    try:
        return forecast(params, names, force=force, at_once=launcher.at_once, now=now)
    except UserError as error:
        told = f"{params.profile}: what there is to do is not known: {error}"
        print(told, file=sys.stderr, flush=True)
        return None


def _is_noted(params: Params, names: Sequence[str], shared: Sequence[str]) -> bool:
    """Whether DVC, too, sees nothing to do, for the entries, for what they share and for what is
    made of them.
    """
    if seeds_of(params):
        return False  # nobody sees whether the report shows them
    stages = [f"{stage}@{name}" for name in names for stage in ENTRY_STAGES]
    return not _changed(params, ["fingerprints", *shared, *stages, "report", "track"])


def _changed(params: Params, stages: Sequence[str]) -> list[str]:
    with contextlib.closing(Books(params)) as books:
        return books.changed(stages)


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


def _shared(params: Params, stages: Sequence[str], force: bool, *, anew: bool) -> int:
    """What all entries share, by DVC; its exit code.

    Arguments:
        params: the profile.
        stages: the shared ones.
        force: run them though they are up to date.
        anew: write the fingerprints though DVC, which sees neither the files of a plug-in nor the
            environment, takes them for up to date.
    """
    root = params.root
    if anew:
        code = repro(root, ["-f", "-s", target(params, "fingerprints")])
        if code != 0:
            return code
    if not force and not _changed(params, ["fingerprints", *stages]):
        return 0
    forced = ["-f"] if force else []
    return repro(root, ["--keep-going", *forced, *(target(params, stage) for stage in stages)])


def _with_data(params: Params, names: Sequence[str], shared: Sequence[str]) -> list[str]:
    """Those entries for which all is there that entries share; what the others lack is said."""
    lacking = _changed(params, ["fingerprints", *shared])
    if lacking:
        print(f"{', '.join(lacking)} failed; entries that need it are left out", file=sys.stderr)
    without = {stage.partition("@")[2] for stage in lacking}
    if "fingerprints" in lacking:
        return []
    return [name for name in names if params.entries[name].dataset not in without]


def _last(params: Params, stages: Sequence[str], *, forced: bool) -> int:
    """Report and tracking of what there is, by DVC; the exit code of the first that failed.

    Arguments:
        params: the profile.
        stages: the report, and what is made of it.
        forced: write the report though DVC sees no reason: why a stage failed is in ``.status/``,
            which is no dependency of it.
    """
    report, *rest = (target(params, stage) for stage in stages)
    if not Layout.of(params).runs.is_dir():
        return 0  # further seeds of a profile that was never run
    if forced:
        code = repro(params.root, ["-f", "-s", report])
        return code if code != 0 or not rest else repro(params.root, ["-s", *rest])
    return repro(params.root, ["-s", report, *rest]) if _changed(params, stages) else 0


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
