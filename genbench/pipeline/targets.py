"""What `dvc repro` is told to bring up to date: a whole profile, or some of its entries."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import LAST_STAGES
from genbench.errors import UserError, near

__all__ = ["match_entries", "pipeline_targets", "target"]


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
        return [_file(params)]
    return [target(params, f"{stage}@{name}") for name in names for stage in LAST_STAGES]


def target(params: Params, stage: str) -> str:
    """What DVC calls a stage of a profile, such as ``train@made``."""
    return stage if params.profile == "quick" else f"{_file(params)}:{stage}"


def _file(params: Params) -> str:
    return Layout.of(params).dvc_file.relative_to(params.root).as_posix()
