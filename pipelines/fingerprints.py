"""Stage ``fingerprints``: what each stage of each entry depends on besides files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.disk import explained
from genbench.errors import UserError
from genbench.files import read_json, write_json
from genbench.pipeline.fingerprints import fingerprint_files
from genbench.pipeline.import_closure import SOURCE_ROOT, Sources
from genbench.processes.lock import hold

__all__ = ["run"]


def run(params: Params) -> None:
    """Write ``runs/<profile>/fingerprints/<entry>/<stage>.json``, and of stages of no entry
    ``runs/<profile>/fingerprints/_stages/<stage>.json``.

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
    wanted, layout = fingerprint_files(params), Layout.of(params)
    name = f"{params.profile}-fingerprints"
    lock = layout.unfinished / f"{name}.lock"
    with hold(lock, name), explained(layout.fingerprints):
        _update(layout.fingerprints, wanted)


def _check_sources(params: Params) -> None:
    """Raise UserError if the project's sources are not those that run: its edits would have no
    effect, and its results stand under other code.

    A copy of the project is no other one as long as they are equal: so `dvc exp run --temp` and
    DVC's queue work, which run in one.
    """
    package = Layout.of(params).package
    if not package.is_dir() or package.resolve() == SOURCE_ROOT / "genbench":
        return
    different = _different_sources(params)
    if different:
        raise UserError(
            f"the installed genbench is that of {SOURCE_ROOT}, and the sources of this project are "
            f"others ({', '.join(different[:5])}), so they would have no effect. If it is a "
            "project of its own, install it: pip install --no-deps --no-build-isolation -e "
            f"{params.root}. If it is DVC's copy for an experiment (--temp, --queue), it must "
            "hold what is installed: `git add` new files, undo edits that came after the "
            "experiment was queued, or run it in the workspace, by `dvc exp run` alone"
        )


def _different_sources(params: Params) -> list[str]:
    """In which files the project's sources differ from those that run, or what is wrong with
    them.
    """
    try:
        here, running = fingerprint_files(params, Sources(params.root)), fingerprint_files(params)
    except UserError as error:  # a model that is in one of them alone
        return [str(error)]
    different = set()
    for path in here:
        own, other = here[path]["files"], running[path]["files"]
        names = own.keys() | other.keys()
        different |= {name for name in names if own.get(name) != other.get(name)}
    return sorted(different)


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
    except (OSError, ValueError):  # absent, damaged or unreadable: writing it tells what is wrong
        return False
