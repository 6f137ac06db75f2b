"""Stage `code`: what each stage of each entry depends on besides files: a fingerprint of its
sources, and its parameters.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genbench.config.dependencies import entry_settings, shared_settings
from genbench.config.params import Params
from genbench.disk import explained
from genbench.errors import UserError
from genbench.files import read_json, write_json
from genbench.pipeline.fingerprints import (
    ENTRY_STAGES,
    SHARED_STAGES,
    SOURCE_ROOT,
    Sources,
    entry_fingerprint,
    shared_fingerprint,
)
from genbench.processes.lock import hold

__all__ = ["run", "wanted"]


def run(params: Params) -> None:
    """Write ``runs/<profile>/code/<entry>/<stage>.json`` and
    ``runs/<profile>/code/_stages/<stage>.json``.

    Each stage depends on its own file. Were its parameters named in dvc.yaml, DVC would parse the
    whole of params.yaml once for each stage, and the time of an idle `dvc repro` would grow with
    the square of the number of entries.

    Files that are right already stay untouched: outside DVC each command comes here, and two may
    run at once.

    Raises:
        UserError: an unknown model or metric, a source that is no Python, or an installed genbench
            whose sources are not this project's.
    """
    _check_sources(params)
    files = wanted(params)
    name, folder = f"{params.profile}-code", params.runs / "code"
    with hold(params.checkpoints / f"{name}.lock", name), explained(folder):
        _update(folder, files)


def _check_sources(params: Params) -> None:
    """Raise UserError if the project's sources are not those that run: its edits would have no
    effect, and its results stand under other code.

    A copy of the project is no other one as long as they are equal: so `dvc exp run --temp` and
    DVC's queue work, which run in one.
    """
    if (
        not (params.root / "genbench").is_dir()
        or (params.root / "genbench").resolve() == SOURCE_ROOT / "genbench"
    ):
        return
    try:
        here, running = wanted(params, Sources(params.root)), wanted(params)
    except UserError as error:  # a model that is in one of them alone
        different = [str(error)]
    else:
        pairs = [(here[path]["files"], running[path]["files"]) for path in here]
        different = sorted(
            {
                name
                for own, other in pairs
                for name in own.keys() | other.keys()
                if own.get(name) != other.get(name)
            }
        )
    if different:
        raise UserError(
            f"the installed genbench is that of {SOURCE_ROOT}, and the sources of this project are "
            f"others ({', '.join(different[:5])}), so "
            "they would have no effect. If it is a project of its own, install it: pip install "
            f"--no-deps --no-build-isolation -e {params.root}. "
            "If it is DVC's copy for an experiment (--temp, --queue), it must hold what is "
            "installed: `git add` new files, undo edits that "
            "came after the experiment was queued, or run it in the workspace, by `dvc exp run` "
            "alone"
        )


def wanted(params: Params, sources: Sources | None = None) -> dict[Path, dict[str, Any]]:
    """The files that :func:`run` writes, with their content: a fingerprint for each stage of each
    entry, and for those of none.

    Arguments:
        params: the profile.
        sources: the packages; None for those that run.
    """
    sources = Sources() if sources is None else sources
    result: dict[Path, dict[str, Any]] = {}
    for stage in SHARED_STAGES:
        settings = shared_settings(params, stage)
        fingerprint = shared_fingerprint(sources, stage, params.datasets)
        result[params.fingerprint("_stages", stage)] = asdict(fingerprint) | {"settings": settings}
    for entry in params.entries.values():
        for stage in ENTRY_STAGES:
            settings = entry_settings(params, stage, entry)
            fingerprint = entry_fingerprint(sources, stage, entry, params.metrics)
            result[params.fingerprint(entry.name, stage)] = asdict(fingerprint) | {
                "settings": settings
            }
    return result


def _update(folder: Path, wanted: Mapping[Path, Any]) -> None:
    """Make ``folder`` hold the JSON files ``wanted``, by path, and nothing else."""
    for path, value in wanted.items():
        if not _holds(path, value):
            write_json(path, value)
    kept = {path.parent for path in wanted}
    for path in folder.iterdir():
        if path.is_dir() and path not in kept:
            shutil.rmtree(path)


def _holds(path: Path, value: Any) -> bool:
    try:
        return bool(read_json(path) == value)
    except (
        OSError,
        ValueError,
    ):  # not there, damaged or unreadable: writing it tells what is wrong, if anything is
        return False
