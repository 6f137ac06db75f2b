"""Which entries a run is for, and what DVC calls their stages."""

from __future__ import annotations

import fnmatch

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.errors import UserError, near

__all__ = ["match_entries", "target"]


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


def target(params: Params, stage: str) -> str:
    """What DVC calls a stage of a profile, such as ``train@made``."""
    return stage if params.profile == "quick" else f"{_file(params)}:{stage}"


def _file(params: Params) -> str:
    return Layout.of(params).dvc_file.relative_to(params.root).as_posix()
