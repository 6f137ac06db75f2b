"""The files of a profile of further seeds (:mod:`genbench.config.further_seeds`), which
`genbench run --seeds` writes: its params.yaml, and a dvc.yaml by which DVC knows its stages.

It has no report of its own: its rows stand in that of the profile whose entries it repeats.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from genbench.config import yaml12
from genbench.config.further_seeds import seeds_of, seeds_profile
from genbench.config.layout import Layout
from genbench.config.load import seeds_place
from genbench.config.params import Entry, Params
from genbench.config.stages import STAGES
from genbench.errors import UserError
from genbench.files import write_text
from genbench.pipeline.targets import match_entries
from genbench.processes.lock import hold

__all__ = ["EDITED", "MAX_SEEDS", "dvc_yaml", "may_repeat", "write_seeds"]

MAX_SEEDS = 1000
EDITED = "params.lock"
"""Held by who edits params files, in the folder of unfinished work."""

_SEED_COPY = re.compile(r"-s\d+$")
_SHOWN = ("report", "track")
"""Stages that the profile does without."""

_HEAD = """\
# Further seeds of entries of the profile `{of}`. `genbench run --seeds` writes this file and runs
# them; `make bench` and a bare `dvc repro` do not. All that is not written here is as `{of}` has
# it, and the results stand in its report.
"""
_DVC_HEAD = """\
# dvc.yaml without report and track, for the entries of the params.yaml beside it.
# `genbench run --seeds` writes this file.
"""


def may_repeat(entry: Entry) -> bool:
    """Whether further seeds of an entry tell anything: not of the controls, which train nothing,
    nor of one that is a further seed of another.
    """
    from genbench.registry import BrokenModel, model_class  # imports torch

    try:
        return not _SEED_COPY.search(entry.name) and not model_class(entry.model).control
    except BrokenModel:  # no control of this package, then
        return True


def write_seeds(params: Params, count: int, patterns: str | None = None) -> list[str]:
    """Write further seeds of entries into ``profiles/<profile>-seeds/``, beside those that are
    there.

    Arguments:
        params: the profile.
        count: seeds of each entry, with its own; 2 to ``MAX_SEEDS``.
        patterns: comma-separated names or wildcards of the entries; None for all of which further
            seeds tell anything.

    Returns:
        Names of the further seeds of these entries.

    Raises:
        UserError: the profile has further seeds itself, a count out of range, no such entry, or
            none that trains.
    """
    _check(params, count)
    chosen = [params.entries[name] for name in match_entries(params, patterns)]
    wanted = {
        f"{entry.name}-s{seed}": {"like": entry.name, "dataset": entry.dataset, "seed": seed}
        for entry in chosen
        if may_repeat(entry)
        for seed in range(entry.seed + 1, entry.seed + count)
    }
    names = [name for name in wanted if name not in params.entries]
    if not names:
        raise UserError(
            f"--seeds: {', '.join(entry.name for entry in chosen)}: none of them is trained, or "
            f"the profile {params.profile!r} has their seeds among its entries"
        )
    folder = params.root / "profiles" / seeds_profile(params.profile)
    with hold(Layout(params.root).unfinished / EDITED, f"genbench run --seeds {count}"):
        entries = {name: wanted[name] for name in names} | _written(folder / "params.yaml")
        _write(folder / "params.yaml", _params_yaml(params, entries))
        _write(folder / "dvc.yaml", dvc_yaml(params.root))
    return names


def _check(params: Params, count: int) -> None:
    if of := seeds_of(params):
        raise UserError(f"--seeds: profile {params.profile!r} holds further seeds; name {of!r}")
    if not 2 <= count <= MAX_SEEDS:
        raise UserError(
            "--seeds: must be at least 2 (an entry has one already) and at most "
            f"{MAX_SEEDS}, got {count}"
        )


def _written(path: Path) -> dict[str, Any]:
    """The entries that are there; whoever runs anything has checked them."""
    if not path.is_file():
        return {}
    return dict(yaml12.parse(path.read_text(encoding="utf-8"))["entries"])


def _params_yaml(params: Params, entries: Mapping[str, Mapping[str, Any]]) -> str:
    used = {values["dataset"] for values in entries.values()}
    own: dict[str, Any] = {
        **seeds_place(params.profile),
        "datasets": [dataset for dataset in params.datasets if dataset in used],
    }
    order = list(params.entries)

    def place(name: str) -> tuple[int, int]:
        return order.index(entries[name]["like"]), entries[name].get("seed", 0)

    lines = [yaml12.write_flow(key, value) for key, value in own.items()]
    lines.append("entries:")
    lines += [f"  {yaml12.write_flow(name, entries[name])}" for name in sorted(entries, key=place)]
    return _HEAD.format(of=params.profile) + "\n".join(lines) + "\n"


def dvc_yaml(root: Path) -> str:
    """The text of the dvc.yaml of a profile of further seeds, from that of all others.

    Arguments:
        root: the project.
    """
    written = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    stages = {name: stage for name, stage in written.items() if name not in _SHOWN}
    # What is set elsewhere counts too.
    keys = list(STAGES["fingerprints"].profile_keys)
    stages["fingerprints"]["params"] = [
        {"${settings_file}": keys},
        {"${params_file}": ["datasets", "entries"]},
    ]
    return _DVC_HEAD + yaml.safe_dump({"stages": stages}, sort_keys=False, width=100)


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


if __name__ == "__main__":  # for `make profiles`, after an edit of dvc.yaml
    _write(Path(sys.argv[1]) / "dvc.yaml", dvc_yaml(Path.cwd()))
