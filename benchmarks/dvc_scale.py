"""How DVC grows with the number of stages: `dvc repro` with nothing to do, and the writing of
dvc.lock after a batch, in a project of stages that only copy a line, shaped as those of genbench
(five for each entry, of which four read the first one's output).

Writes benchmarks/results/dvc_scale.json.

    python -m benchmarks.dvc_scale [--stages 150,1500,15000]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import publish

PIPELINE = """
stages:
  train:
    foreach: ${entries}
    do: {cmd: "echo ${key} > out/${key}.train", deps: [params.yaml], outs: ["out/${key}.train"]}
"""
LATER = """
  NAME:
    foreach: ${entries}
    do:
      cmd: "echo ${key} > out/${key}.NAME"
      deps: ["out/${key}.train"]
      outs: ["out/${key}.NAME"]
"""
STAGES = ("sample", "pictures", "score_likelihood", "score_samples", "probe")


def make(root: Path, entries: int) -> dict[str, str]:
    """The project, with all outputs in their places; the environment for DVC."""
    env = os.environ | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(root / "site")}
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=root, env=env, check=True)
    names = [f"entry{number:05}" for number in range(entries)]
    params = yaml.safe_dump({"entries": {name: {"seed": 0} for name in names}})
    (root / "params.yaml").write_text(params, encoding="utf-8")
    later = "".join(LATER.replace("NAME", name) for name in STAGES)
    (root / "dvc.yaml").write_text(PIPELINE + later, encoding="utf-8")
    (root / "out").mkdir()
    for name in names:
        for stage in ("train", *STAGES):
            (root / "out" / f"{name}.{stage}").write_text(f"{name}\n", encoding="utf-8")
    return env


def measure(stages: int) -> dict[str, float]:
    """Seconds: noting all stages at once, one more of them, and `dvc repro` afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        env = make(root, stages // 5)
        noted = timed([sys.executable, "-m", "benchmarks.dvc_scale", "--note", "all"], root, env)
        again = timed([sys.executable, "-m", "benchmarks.dvc_scale", "--note", "one"], root, env)
        nothing = timed([sys.executable, "-m", "dvc", "repro", "--quiet"], root, env)
        size = (root / "dvc.lock").stat().st_size / 1e6
    return {"note all": noted, "note one": again, "repro": nothing, "dvc.lock, MB": size}


def timed(command: Sequence[str], root: Path, env: dict[str, str]) -> float:
    """Seconds of a command that succeeds."""
    begun = time.monotonic()
    subprocess.run(
        command,
        cwd=root,
        env=env | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - begun


def note(which: str) -> None:
    """Note stages as run in the project of this folder, as `genbench run` notes a batch."""
    from dvc.repo import Repo, lock_repo

    repo: Any = Repo(".")
    with lock_repo(repo):
        stages = repo.stage.load_all("dvc.yaml")
        chosen = stages if which == "all" else stages[:1]
        for stage in chosen:
            stage.save()
            stage.commit()
        chosen[0].dvcfile.dump_stages(chosen, update_pipeline=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", default="150,1500,15000")
    parser.add_argument("--note", choices=("all", "one"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.note:
        note(options.note)
        return
    rows: dict[str, dict[str, float]] = {}
    for number in map(int, options.stages.split(",")):
        rows[str(number)] = measure(number)
        print(number, rows[str(number)], flush=True)
    heads = list(next(iter(rows.values())))
    publish("dvc_scale", ["stages", *heads], [[n, *row.values()] for n, row in rows.items()], rows)


if __name__ == "__main__":
    main()
