"""Stage `code`: a fingerprint of the sources behind each stage of each entry."""

from __future__ import annotations

from dataclasses import asdict

from genbench.code import ENTRY_STAGES, SHARED_STAGES, SOURCE_ROOT, Sources, entry_fingerprint, shared_fingerprint
from genbench.errors import UserError
from genbench.files import replace_directory, write_json
from genbench.params import Params

__all__ = ["run"]


def run(params: Params) -> None:
    """Write ``runs/<profile>/code/<entry>/<stage>.json`` and ``runs/<profile>/code/_stages/<stage>.json``.

    Raises:
        UserError: an unknown model or metric, a source that is no Python, or an installed genbench that is not this project's.
    """
    if (params.root / "genbench").is_dir() and (params.root / "genbench").resolve() != SOURCE_ROOT / "genbench":
        raise UserError(
            f"the installed genbench is that of {SOURCE_ROOT}, not of this project, so edits here would have no effect; "
            f"install this one: pip install --no-deps --no-build-isolation -e {params.root}"
        )
    sources = Sources()
    with replace_directory(params.runs / "code") as folder:
        for stage in SHARED_STAGES:
            write_json(folder / "_stages" / f"{stage}.json", asdict(shared_fingerprint(sources, stage)))
        for entry in params.entries.values():
            for stage in ENTRY_STAGES:
                write_json(folder / entry.name / f"{stage}.json", asdict(entry_fingerprint(sources, stage, entry, params.metrics)))
