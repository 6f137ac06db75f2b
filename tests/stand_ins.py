"""A project with our pipeline, DVC and command line, whose stages are stand-ins: each writes a hash
of what it was given, so that a run takes no time, and what comes out tells what went in.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.config.stages import STAGES
from tests.params_factory import dump, written_protocol
from tests.projects import Project, environment

__all__ = ["StandIns", "make"]

REPOSITORY = Path(__file__).resolve().parents[1]

STAGE = '''
"""A stand-in."""

import hashlib
import os
import signal
import time

READS, WRITES = {reads!r}, {writes!r}


def run(params, key=None, *, fingerprint=None, unfinished=None, **places):
    root, label = params.root, f"{name} {{key}}"
    with open(root / "log", "a") as log:
        log.write(f"{{label}} {{params.compute.threads}}\\n")
    while (root / "pause").exists() and (root / "pause").read_text() == label:
        time.sleep(0.02)
    if (root / "broken").exists() and (root / "broken").read_text() == label:
        raise ValueError("no good")
    if (root / "deadly").exists() and (root / "deadly").read_text() == label:
        os.kill(os.getpid(), signal.SIGKILL)
    entry = params.entries.get(key)
    given = [label, str(None if entry is None else (entry.seed, entry.arch))]
    digest = hashlib.sha256(" ".join(given).encode())
    for part in READS:
        digest.update(places[part].read_bytes())
    for part in WRITES:
        path = places[part]
        path.parent.mkdir(parents=True, exist_ok=True)
        if part == "pictures":
            path.mkdir()
            path = path / "pictures.json"
        timed = f" {{time.time()}}" if part in {timed!r} else ""
        path.write_text(f"{{part}} {{digest.hexdigest()}}{{timed}}\\n")
'''
REPORT = '''
"""A stand-in."""

import json


def run(params):
    with open(params.root / "log", "a") as log:
        log.write("report\\n")
    folder = params.root / "reports" / params.profile
    folder.mkdir(parents=True, exist_ok=True)
    board = (params.root / "board").read_text()
    (folder / "leaderboard.json").write_text(board)
    (folder / "index.html").write_text("a page")
'''
TRACK = '''
"""A stand-in."""


def run(params, **options):
    with open(params.root / "log", "a") as log:
        log.write("track\\n")
    path = params.root / ".track" / f"{params.profile}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1")
'''


@dataclass(frozen=True)
class StandIns(Project):
    """The project."""

    @property
    def params(self) -> Params:
        """Those of `quick`."""
        return load_params("quick", root=self.root)

    def log(self) -> list[str]:
        """The stages that have run, e.g. ``train made``, in order; the file is emptied."""
        path = self.root / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [" ".join(line.split()[:2]) for line in lines]

    def edit(self, entry: str, **values: object) -> None:
        """Set values of an entry in params.yaml."""
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params["entries"][entry].update(values)
        path.write_text(dump(params))

    def outputs(self) -> dict[str, str]:
        """What the stages have left, by path, but for times."""
        runs = self.root / "runs" / "quick"
        return {
            path.relative_to(runs).as_posix(): " ".join(path.read_text().split()[:2])
            for path in sorted(runs.rglob("*"))
            if path.is_file() and "fingerprints" not in path.parts
        }


def make(folder: Path, entries: tuple[str, ...] = ("one", "two", "three")) -> StandIns:
    """Make the project in a new folder."""
    root = folder / "project"
    shutil.copytree(
        REPOSITORY / "genbench", root / "genbench", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(
        REPOSITORY / "pipelines", root / "pipelines", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name, stage in STAGES.items():
        if stage.per != "profile":
            source = STAGE.format(
                name=name, reads=stage.reads, writes=stage.writes, timed=stage.timed
            )
            (root / "pipelines" / f"{name}.py").write_text(source)
    (root / "pipelines" / "report.py").write_text(REPORT)
    (root / "pipelines" / "track.py").write_text(TRACK)
    _import_less(root / "genbench" / "launchers" / "local.py")
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(REPOSITORY / name, root / name)
    (root / "profiles").mkdir()
    params: dict[str, Any] = {
        "root": ".",
        "profile": "quick",
        "params_file": "params.yaml",
        "datasets": ["mnist"],
        "metrics": ["fid"],
        "protocol": written_protocol(),
        "compute": {"device": "cpu", "threads": 1},
        "defaults": {},
        "entries": {
            name: {"model": "pixel_marginals", "dataset": "mnist", "seed": number}
            for number, name in enumerate(entries)
        },
    }
    (root / "params.yaml").write_text(dump(params))
    (root / "board").write_text(json.dumps({"missing": []}))
    made = StandIns(root, environment(root))
    assert made.run("git", "init", "--quiet").returncode == 0
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n"
    )
    return made


def _import_less(local: Path) -> None:
    """Leave most libraries out that the launcher imports first, which no stand-in needs."""
    source = local.read_text()
    begin, kept = source.index("_LIBRARIES = ["), '"genbench.processes.with_parent", "torch"'
    end = source.index("]", begin)
    assert set(kept.split(", ")) <= set(source[begin:end].replace(",", "").split())
    local.write_text(f"{source[:begin]}_LIBRARIES = [{kept}{source[end:]}")
