"""`dvc exp run` on the real pipeline's first stage: in a copy of the project (--temp), with
parameters set, under odd names and locales.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class Clone:
    """A git repository with genbench's own sources, which are those that run in it."""

    root: Path
    env: dict[str, str]

    def run(self, *command: str, **more: str) -> str:
        """What a program prints here; ``more`` is put into its environment."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.env | more,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def dvc(self, *arguments: str) -> str:
        """What dvc prints here."""
        return self.run(sys.executable, "-m", "dvc", *arguments)


def clone(tmp_path: Path, name: str) -> Clone:
    """A clone in a folder of that name, with two entries and the pipeline's first stage."""
    root = tmp_path / name
    for package in ("genbench", "pipelines"):
        shutil.copytree(
            REPOSITORY / package, root / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        if (REPOSITORY / name).is_file():
            (root / name).parent.mkdir(exist_ok=True)
            shutil.copy(REPOSITORY / name, root / name)
    shutil.copytree(REPOSITORY / "profiles" / "smoke", root / "profiles" / "smoke")
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    (root / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {"fingerprints": stages["fingerprints"]}}), encoding="utf-8"
    )
    (root / "profiles" / "smoke" / "dvc.yaml").unlink()
    raw = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    raw["defaults"] = {"shared": {"model": "made", "train": {"ema": 0.5, "batch_size": 9}}}
    raw["entries"] = {
        name: {"like": "shared", "dataset": dataset, "train": {"optim": {"loss": {"lr": 0.1}}}}
        for name, dataset in (("made", "mnist"), ("binary-made", "binary_mnist"))
    }
    (root / "params.yaml").write_text(
        "# für alle\n" + yaml.safe_dump(raw, sort_keys=False), encoding="utf-8"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "DVC_", "GENBENCH_"))}
    env |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    env |= {"DVC_SITE_CACHE_DIR": str(tmp_path / "site"), "DVC_NO_ANALYTICS": "1"}
    env |= {
        f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    made = Clone(root, env)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        made.run("git", *command)
    return made


def test_an_experiment_in_a_copy_runs_with_its_own_parameters(tmp_path: Path) -> None:
    project = clone(tmp_path, "my project")  # not beyond ASCII, where DVC's experiments fail
    path = project.root / "params.yaml"
    before = path.read_text(encoding="utf-8")
    sets = (
        "entries.made.train.optim.loss.lr=5e-05",  # written there
        "++entries.binary-made.train.ema=0.25",  # inherited
        "defaults.shared.train.batch_size=7",  # inherited by both
    )
    options = [part for one in sets for part in ("-S", one)]
    project.dvc("exp", "run", "--temp", "--name", "tried", *options, "dvc.yaml")
    assert path.read_text(encoding="utf-8") == before
    assert not (project.root / "runs").exists()
    project.dvc("exp", "apply", "tried")
    found = {}
    for name in ("made", "binary-made"):
        fingerprint = json.loads(
            (project.root / f"runs/quick/fingerprints/{name}/train.json").read_text(
                encoding="utf-8"
            )
        )
        train = fingerprint["params"]["train"]
        found[name] = train["optim"]["loss"]["lr"], train["ema"], train["batch_size"]
    assert found == {"made": (0.00005, 0.5, 7), "binary-made": (0.1, 0.25, 7)}


def test_an_inherited_value_without_plus_signs_is_refused_by_dvc(tmp_path: Path) -> None:
    """What a user reads then: the sign that is missing, and no experiment."""
    project = clone(tmp_path, "project")
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "-S"]
    done = subprocess.run(
        [*command, "entries.made.train.ema=0.25", "dvc.yaml"],
        cwd=project.root,
        env=project.env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode != 0
    assert "use +entries.made.train.ema=0.25" in " ".join(done.stderr.split())


def test_letters_beyond_ascii_are_read_under_any_locale(tmp_path: Path) -> None:
    project = clone(tmp_path, "größe #1 & co")
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    genbench = [sys.executable, "-m", "genbench"]
    project.run(*genbench, "fingerprints", **ascii_alone)
    first = (project.root / "runs/quick/fingerprints/made/train.json").read_bytes()
    shutil.rmtree(project.root / "runs")
    project.dvc("repro", "fingerprints")
    assert (project.root / "runs/quick/fingerprints/made/train.json").read_bytes() == first
    text = (project.root / "params.yaml").read_text(encoding="utf-8")
    project.run(*genbench, "seeds", "2", "made", **ascii_alone)
    after = (project.root / "params.yaml").read_text(encoding="utf-8")
    assert after.startswith(text)
    assert "made-s1:" in after
