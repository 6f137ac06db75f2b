"""Whether a machine that runs an entry for another one has the same sources, settings and packages;
git is not asked, so that uncommitted work can be run anywhere.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stage_params import entry_params
from genbench.errors import UserError
from genbench.files import as_json, read_json, sha256
from genbench.pipeline.fingerprints import fingerprint_files

__all__ = ["Identity", "versions"]

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pandas",
    "safetensors",
    "torch-fidelity",
    "torchdiffeq",
)
"""Those on which results depend."""


@functools.cache
def versions() -> Mapping[str, str]:
    """Of Python, and of the packages on which results depend."""
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def md5_of(path: Path) -> str:
    """MD5 of a small file."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Identity:
    """What the stages of an entry are to be run with.

    Attributes:
        versions: :func:`versions` of the machine that asks.
        md5: of the file of each stage's fingerprint.
        fingerprints: what these files hold, for a machine that has other ones; else nothing.
    """

    versions: Mapping[str, str]
    md5: Mapping[str, str]
    fingerprints: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(
        cls, params: Params, entry: str, stages: Sequence[str], *, elsewhere: bool = False
    ) -> Identity:
        """That of some stages of an entry, whose fingerprints are written.

        Arguments:
            params: the profile.
            entry: the entry.
            stages: its stages.
            elsewhere: whether the machine that runs them has other files.
        """
        layout = Layout.of(params)
        files = {stage: layout.fingerprint(entry, stage) for stage in stages}
        written = {stage: read_json(file) for stage, file in files.items()} if elsewhere else {}
        return cls(versions(), {stage: md5_of(file) for stage, file in files.items()}, written)

    @property
    def hash(self) -> str:
        """The same for the same."""
        return sha256(as_json([self.versions, self.md5]).encode())

    def check_stage(self, params: Params, entry: str, stage: str) -> None:
        """Raise UserError unless a stage is still to be run with what it was to be run with when
        that was asked for: sources and parameters may have been edited since.
        """
        path = Layout.of(params).fingerprint(entry, stage)
        written = read_json(path)["params"]
        now = json.loads(as_json(entry_params(params, stage, params.entry(entry))))
        changed = _differing(written, now)
        if changed or md5_of(path) != self.md5.get(stage):
            what = f"parameter {', '.join(changed)}" if changed else "its sources or parameters"
            raise UserError(
                f"{stage} of {entry}: {what} changed since the run began, so its results would "
                "belong to neither; run again"
            )

    def check_versions(self) -> None:
        """Raise UserError unless this machine has the same packages; names those that differ."""
        own = versions()
        if told := [
            f"{name} {own.get(name)} instead of {self.versions.get(name)}"
            for name in _differing(self.versions, own)
        ]:
            raise UserError(
                f"{platform.node()} has {', '.join(told)}; install there what the run has: "
                "pip install --require-hashes -r requirements.lock"
            )

    def check_sources(self, params: Params, entry: str) -> None:
        """Raise UserError unless a project has the same sources and parameters; names those that
        differ.

        Arguments:
            params: the profile, as the project of this machine has it.
            entry: whose fingerprints these are.
        """
        layout, differing = Layout.of(params), list[str]()
        if self.fingerprints and entry not in params.entries:
            raise UserError(f"{params.root} on {platform.node()} has no entry {entry!r}{_MEND}")
        now = fingerprint_files(params)
        for stage, asked in self.fingerprints.items():
            own = now[layout.fingerprint(entry, stage)]
            differing += _differing(asked["files"], own["files"])
            names = _differing(asked["params"], own["params"])
            differing += [f"parameter {name}" for name in names]
            if asked["plugin"] != own["plugin"]:
                differing.append(f"{own['plugin']} instead of {asked['plugin']}")
        if differing:
            shown = list(dict.fromkeys(differing))
            more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
            raise UserError(
                f"{params.root} on {platform.node()} differs from the project of the run in "
                f"{', '.join(shown[:5])}{more}{_MEND}"
            )


_MEND = "; bring it to the same state, e.g. by git pull, or by rsync for work that is not committed"


def _differing(asked: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*asked, *own}) if asked.get(name) != own.get(name)]
