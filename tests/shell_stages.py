"""A project whose stages are shell commands, so that a run takes no time: for tests of the command
line and of what `genbench run` asks of DVC.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from genbench.cli.main import app
from tests.params_factory import dump, written_protocol

__all__ = ["ENTRY", "PARAMS", "call", "commands", "edit_params", "log", "project", "repository"]

ENTRY = {
    "model": "train_copy",
    "dataset": "mnist",
    "seed": 0,
    "arch": {},
    "train": {},
    "sample": {},
    "score": {},
}


PARAMS = {
    "root": ".",
    "profile": "quick",
    "params_file": "params.yaml",
    "datasets": ["mnist", "binary_mnist"],
    "metrics": ["fid"],
    "protocol": written_protocol(),
    "compute": {"device": "cpu", "threads": 1},
    "defaults": {},
    "entries": {name: dict(ENTRY) for name in ("made", "pixel_cnn", "pixel_marginals", "vae")},
}


# Stages that leave a file, or fail if the file `broken` holds their name.
PIPELINE = """\
stages:
  train:
    foreach: ${entries}
    do:
      wdir: ${root}
      cmd: >-
        echo train ${key} >> log; cat pause 2> /dev/null && sleep 60;
        test "$(cat broken)" != ${key} && mkdir -p runs/${profile}/${key} &&
        echo 1 > runs/${profile}/${key}/weights
      params: [{"${params_file}": ["entries.${key}.seed"]}]
      outs: ["runs/${profile}/${key}/weights"]
  pictures:
    foreach: ${entries}
    do:
      wdir: ${root}
      cmd: >-
        echo pictures ${key} >> log;
        echo $GENBENCH_DEVICE $GENBENCH_THREADS > runs/${profile}/${key}/pictures
      deps: ["runs/${profile}/${key}/weights"]
      outs: ["runs/${profile}/${key}/pictures"]
  score_likelihood:
    foreach: ${entries}
    do:
      wdir: ${root}
      cmd: echo likelihood ${key} >> log; echo 1 > runs/${profile}/${key}/nats
      deps: ["runs/${profile}/${key}/weights"]
      outs: ["runs/${profile}/${key}/nats"]
  score_samples:
    foreach: ${entries}
    do:
      wdir: ${root}
      cmd: echo samples ${key} >> log; echo 1 > runs/${profile}/${key}/quality
      deps: ["runs/${profile}/${key}/weights"]
      outs: ["runs/${profile}/${key}/quality"]
  report:
    wdir: ${root}
    cmd: >-
      echo report >> log; mkdir -p reports/${profile};
      cp board reports/${profile}/leaderboard.json; echo page > reports/${profile}/index.html
    deps: ["runs/${profile}"]
    outs: [{"reports/${profile}": {cache: false}}]
  track:
    wdir: ${root}
    cmd: echo track >> log; mkdir -p .track; echo 1 > .track/${profile}.json
    deps: ["reports/${profile}"]
    outs: [{".track/${profile}.json": {cache: false}}]
"""


def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the project without DVC, and make it the working folder."""
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text(dump(PARAMS))
    smoke = folder / "profiles" / "smoke"
    smoke.mkdir(parents=True)
    (smoke / "params.yaml").write_text(
        dump(
            {
                **PARAMS,
                "root": "../..",
                "profile": "smoke",
                "params_file": "profiles/smoke/params.yaml",
            }
        )
    )
    (smoke / "dvc.yaml").symlink_to("../../dvc.yaml")
    (folder / "broken").write_text("none")
    (folder / "board").write_text(json.dumps({"missing": []}))
    (folder / ".gitignore").write_text("/runs/\n/.track/\n/log\n")
    monkeypatch.chdir(folder)
    for name in ("DVC_STAGE", "DVC_ROOT", "GENBENCH_DEVICE", "GENBENCH_THREADS", "GENBENCH_DEBUG"):
        monkeypatch.setenv(name, "")  # so that what a command sets is undone after the test
        monkeypatch.delenv(name)
    return folder


def repository(root: Path) -> Path:
    """Put the project under git and DVC."""
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=root, check=True)
    with (root / ".dvc" / "config").open("a") as config:
        config.write("[core]\n    analytics = false\n    check_update = false\n")
    return root


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `genbench` with these arguments."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def commands() -> dict[str, Any]:
    """All commands by name, hidden ones too, as Typer hands them to Click."""
    return dict(typer.main.get_group(app).commands)


def log(root: Path) -> list[str]:
    """What the stages wrote when they ran, in order."""
    return (root / "log").read_text().splitlines() if (root / "log").exists() else []


def edit_params(root: Path, entry: str, **blocks: object) -> None:
    """Replace blocks of an entry in params.yaml."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["entries"][entry].update(blocks)
    (root / "params.yaml").write_text(dump(params))
