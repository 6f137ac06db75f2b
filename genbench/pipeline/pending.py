"""Which stages of a profile are to run, as far as dvc.lock and the fingerprints tell; DVC is not
asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import DATASET_STAGES, ENTRY_STAGES, STAGES, before
from genbench.files import as_json
from genbench.pipeline.dvc_lock import files_in, stages_in
from genbench.pipeline.fingerprints import fingerprint_files

__all__ = ["Stage", "fingerprint_md5s", "stages_to_run", "whole"]

Stage = tuple[str, str]
"""Name and key: an entry, or a data set."""


def whole(params: Params, names: Collection[str] | None = None) -> list[Stage]:
    """All stages of a profile that take time, or those of some of its entries with what they need,
    in the order of a run.
    """
    entries = [entry for entry in params.entries.values() if names is None or entry.name in names]
    datasets = [name for name in params.datasets if any(entry.dataset == name for entry in entries)]
    shared = [(stage, name) for stage in DATASET_STAGES for name in datasets]
    return shared + [(stage, entry.name) for entry in entries for stage in ENTRY_STAGES]


def stages_to_run(
    params: Params,
    names: Collection[str] | None = None,
    *,
    now: Mapping[Path, Any] | None = None,
) -> list[Stage]:
    """The stages of :func:`whole` that are not up to date, as far as dvc.lock and the fingerprints
    tell.

    One is up to date if dvc.lock has it with its present fingerprint and with the outputs of other
    stages as the lock has those, if its own outputs exist, and if the stages that it reads from are
    up to date. DVC also compares the files' content, and may find results in its cache.

    Arguments:
        params: the profile.
        names: which entries; None for all.
        now: its :func:`genbench.pipeline.fingerprints.fingerprint_files`; None to make them.
    """
    layout = Layout.of(params)
    recorded, md5s = stages_in(layout.dvc_lock), fingerprint_md5s(params, now)
    made = {
        out.get("path"): out.get("md5")
        for stage in recorded.values()
        for out in files_in(stage, "outs")
    }
    stale: set[Stage] = set()
    for stage, key in whole(params, names):
        fingerprint = layout.fingerprint(key, stage)
        own = fingerprint.relative_to(params.root).as_posix(), md5s[fingerprint]
        lock = recorded.get(f"{stage}@{key}")
        is_current = _is_current(params.root, lock, own, made)
        if not is_current or not stale.isdisjoint(_before(params, stage, key)):
            stale.add((stage, key))
    return [stage for stage in whole(params, names) if stage in stale]


def _before(params: Params, stage: str, key: str) -> list[Stage]:
    """The stages whose outputs a stage reads, each with its entry or data set."""
    dataset = params.entries[key].dataset if STAGES[stage].per == "entry" else key
    return [(name, key if STAGES[name].per == "entry" else dataset) for name in before(stage)]


def fingerprint_md5s(params: Params, now: Mapping[Path, Any] | None = None) -> dict[Path, str]:
    """Fingerprint → the MD5 that DVC gives its file, whether that is written or not."""
    return {
        path: hashlib.md5(as_json(content).encode(), usedforsecurity=False).hexdigest()
        for path, content in (fingerprint_files(params) if now is None else now).items()
    }


def _is_current(root: Path, recorded: Any, own: tuple[str, str], made: Mapping[Any, Any]) -> bool:
    """Whether what dvc.lock says of a stage is still so.

    Arguments:
        root: the project.
        recorded: what dvc.lock says of it; None if nothing.
        own: path and MD5 of its fingerprint.
        made: path → MD5 of all outputs in dvc.lock.
    """
    deps = {dep.get("path"): dep.get("md5") for dep in files_in(recorded, "deps")}
    outs = [out.get("path") for out in files_in(recorded, "outs")]
    path, md5 = own
    if not outs or deps.get(path) != md5:
        return False
    same = all(made[path] == md5 for path, md5 in deps.items() if path in made)
    return same and all((root / str(out)).exists() for out in outs)
