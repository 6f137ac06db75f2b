"""What DVC runs again, with the real dvc.yaml and fingerprints; the stages are stand-ins that write
a hash of what they were given.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from genbench.pipeline.seed_profile import dvc_yaml
from tests.params_factory import dump, written_images, written_protocol

REPOSITORY = Path(__file__).resolve().parents[1]

STAGES = ("train", "sample", "pictures", "score_likelihood", "score_samples", "probe")
ENDS = {"report", "track"}

ENTRY = {
    "model": "alpha",
    "dataset": "mnist",
    "seed": 0,
    "arch": {"width": 1},
    "train": {"steps": 1},
    "sample": {},
    "score": {},
}
PARAMS: dict[str, Any] = {
    "root": ".",
    "profile": "quick",
    "params_file": "params.yaml",
    "datasets": ["mnist"],
    "metrics": ["first"],
    "protocol": written_protocol(
        samples=4, sample_chunk=2, images={1: 4, 10: 2, 200: 2}, references=8
    ),
    "compute": {"device": "cpu", "threads": 1},
    "defaults": {},
    "entries": {"alpha": ENTRY, "beta": ENTRY | {"model": "beta"}},
}

# Each output is a hash of what the stage reads, so that DVC goes on downstream where, and only
# where, something came out differently.
STAND_IN = """#!{python} -I
import hashlib, os, pathlib, sys
root = pathlib.Path.cwd()
stage, args = sys.argv[1].replace("-", "_"), sys.argv[2:]
profile = args[args.index("--profile") + 1]
key = args[0] if args[0] != "--profile" else None
with open(root / "calls.txt", "a") as calls:
    calls.write(os.environ["DVC_STAGE"].split(":")[-1] + "\\n")
if stage == "fingerprints":
    sys.path.insert(0, str(root))
    from genbench.config.load import load_params
    from pipelines.fingerprints import run
    run(load_params(profile))
    raise SystemExit
if (root / "broken.txt").exists() and (root / "broken.txt").read_text() == f"{{stage}} {{key}}":
    raise SystemExit("broken")
run, fingerprints = root / "runs" / profile, root / "runs" / profile / "fingerprints"
report = root / "reports" / profile
data, features = run / "data" / "mnist.npz", run / "features" / "mnist.npz"
own = fingerprints / str(key) / f"{{stage}}.json"
weights, samples = run / str(key) / "weights.safetensors", run / str(key) / "samples.npz"
reads, writes = {{
    "prepare": ([fingerprints / "_stages" / "prepare.json"], ["data/mnist.npz"]),
    "features": ([fingerprints / "_stages" / "features.json", data], ["features/mnist.npz"]),
    "train": ([own, data], ["weights.safetensors", "history.csv", "cost.json", "provenance.json"]),
    "sample": ([own, weights], ["samples.npz", "sampling.json"]),
    "pictures": ([own, data, weights], ["pictures/pictures.json"]),
    "score_likelihood": ([own, data, weights], ["likelihood.json", "nats.npz"]),
    "score_samples": ([own, features, samples], ["quality.json"]),
    "probe": (
        [own, data, weights, samples, run / str(key) / "likelihood.json"],
        ["probe.json", "neighbours.npz"],
    ),
    "report": (
        sorted(run.glob("*/quality.json")),
        ["metrics/alpha.json", "metrics/beta.json", "leaderboard.csv"],
    ),
    "track": ([report / "metrics" / "alpha.json"], [f".track/{{profile}}.json"]),
}}[stage]
digest = hashlib.sha256((stage + str(key)).encode() + b"".join(path.read_bytes() for path in reads))
if stage == "train":
    import yaml
    params = yaml.safe_load((root / {params_file}[profile]).read_text())
    digest.update(repr(params["entries"][key]["arch"]).encode())
places = {{"prepare": run, "features": run, "report": report, "track": root}}
base = places.get(stage, run / str(key))
for name in writes:
    path = base / name
    path.parent.mkdir(parents=True, exist_ok=True)
    scores = '{{"fid_mnist": 1.0, "digest": "%s"}}' % digest.hexdigest()
    text = "entry,fid_mnist\\nalpha,1\\n" if name.endswith(".csv") else scores
    path.write_text(text)
"""


@dataclass
class Project:
    """A git repository with our pipeline, stand-ins for its stages, two models of two families, and
    two metrics.
    """

    root: Path
    env: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program here."""
        return subprocess.run(
            command, cwd=self.root, env=self.env, capture_output=True, text=True, check=False
        )

    def dvc(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run dvc here."""
        done = self.run(sys.executable, "-m", "dvc", *args)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def repro(self, *args: str, check: bool = True) -> tuple[set[str], str]:
        """`dvc repro`: the stages that ran, and what it printed."""
        calls = self.root / "calls.txt"
        calls.unlink(missing_ok=True)
        done = self.dvc("repro", *args, check=check)
        return set(
            calls.read_text().split()
        ) if calls.exists() else set(), done.stdout + done.stderr

    def params(self, change: Callable[[dict[str, Any]], object], path: str = "params.yaml") -> None:
        """Edit a params.yaml."""
        raw = yaml.safe_load((self.root / path).read_text())
        change(raw)
        (self.root / path).write_text(dump(raw))

    def write(self, path: str, text: str) -> None:
        """Write a file of the project."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)


def _entry(name: str, *stages: str) -> set[str]:
    return {f"{stage}@{name}" for stage in stages or STAGES}


def _create(root: Path, tools: Path) -> Project:
    ignore = shutil.ignore_patterns("__pycache__", "metrics", "models", "families")
    for package in ("genbench", "pipelines"):
        shutil.copytree(REPOSITORY / package, root / package, ignore=ignore)
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    shutil.copytree(REPOSITORY / "profiles", root / "profiles")
    shutil.rmtree(root / "profiles" / "full")
    for stage in (*STAGES, "prepare", "features", "report", "track"):
        (root / "pipelines" / f"{stage}.py").write_text('"""A stage."""\n')
    smoke = PARAMS | {
        "root": "../..",
        "profile": "smoke",
        "params_file": "profiles/smoke/params.yaml",
    }
    for path, raw in (("params.yaml", PARAMS), ("profiles/smoke/params.yaml", smoke)):
        (root / path).write_text(dump(raw))
    tools.mkdir(exist_ok=True)
    script = tools / "genbench"
    script.write_text(
        STAND_IN.format(
            python=sys.executable,
            params_file={p["profile"]: p["params_file"] for p in (PARAMS, smoke)},
        )
    )
    script.chmod(0o755)
    # The command lines of a developer's shell may point git or DVC elsewhere; these tests are about
    # this folder alone.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "DVC_", "GENBENCH_"))}
    env |= {
        "PATH": f"{tools}{os.pathsep}{env['PATH']}",
        "DVC_SITE_CACHE_DIR": str(root.parent / "site"),
        "DVC_NO_ANALYTICS": "1",
    }
    project = Project(root, env | {"PYTHONDONTWRITEBYTECODE": "1"})
    for name in ("alpha", "beta"):
        project.write(
            f"genbench/models/{name}.py",
            f'"""A model."""\nfrom genbench.families import {name}s\nwidth = {name}s.width\n',
        )
        project.write(f"genbench/families/{name}s.py", "width = 1\n")
    for folder in ("models", "families", "metrics"):
        project.write(f"genbench/{folder}/__init__.py", "")
    for name in ("first", "second"):
        project.write(f"genbench/scoring/metrics/{name}.py", "scale = 1\n")
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "start"],
    ):
        assert project.run("git", *command).returncode == 0
    return project


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose pipeline has run once. Each test leaves it up to date."""
    folder = tmp_path_factory.mktemp("dvc")
    project = _create(folder / "project", folder / "bin")
    ran, _ = project.repro()
    shared = {"fingerprints", "prepare@mnist", "features@mnist", *ENDS}
    assert ran == shared | _entry("alpha") | _entry("beta")
    return project


def test_second_run_does_nothing(finished: Project) -> None:
    ran, said = finished.repro()
    assert ran == set()
    assert "up to date" in said


def test_architecture_of_one_entry_runs_that_entry_and_back_comes_from_the_cache(
    finished: Project,
) -> None:
    finished.params(lambda raw: raw["entries"]["alpha"]["arch"].update(width=2))
    ran, _ = finished.repro()
    assert ran == {"fingerprints"} | _entry("alpha") | ENDS
    finished.params(lambda raw: raw["entries"]["alpha"]["arch"].update(width=1))
    ran, said = finished.repro()
    assert ran == ENDS
    assert said.count("is cached - skipping run") == 1 + len(STAGES)


def test_metric_scores_again_and_trains_nothing(finished: Project) -> None:
    finished.params(lambda raw: raw["metrics"].append("second"))
    ran, _ = finished.repro()
    scoring = _entry("alpha", "score_samples") | _entry("beta", "score_samples")
    assert ran == {"fingerprints"} | scoring | ENDS
    finished.write("genbench/scoring/metrics/second.py", "scale = 2\n")
    ran, _ = finished.repro()
    assert ran == {"fingerprints"} | scoring | ENDS


def test_protocol_reaches_the_stages_that_it_concerns(finished: Project) -> None:
    finished.params(
        lambda raw: raw["protocol"].update(likelihood_images=written_images({1: 3, 10: 2, 200: 2}))
    )
    ran, _ = finished.repro()
    assert (
        ran
        == {"fingerprints"}
        | _entry("alpha", "score_likelihood", "probe")
        | _entry("beta", "score_likelihood", "probe")
        | ENDS
    )


def test_memorisation_of_more_entries_trains_and_scores_nothing_again(finished: Project) -> None:
    finished.params(lambda raw: raw["protocol"].update(memorisation="all"))
    ran, _ = finished.repro()
    assert ran == {"fingerprints"} | _entry("alpha", "probe") | _entry("beta", "probe") | ENDS


def test_family_runs_its_models_and_a_comment_runs_nothing(finished: Project) -> None:
    finished.write("genbench/families/betas.py", "width = 2\n")
    ran, _ = finished.repro()
    assert ran == {"fingerprints"} | _entry("beta") | ENDS
    finished.write("genbench/families/betas.py", '"""Betas."""\n\nwidth = (2)  # wide\n')
    finished.write("genbench/cli/main.py", "print('another command line')\n")
    ran, _ = finished.repro()
    assert ran == {"fingerprints"}


def test_one_more_seed_runs_only_its_own_stages(finished: Project) -> None:
    finished.params(
        lambda raw: raw["entries"].update({"alpha-s1": raw["entries"]["alpha"] | {"seed": 1}})
    )
    ran, _ = finished.repro()
    assert ran == {"fingerprints"} | _entry("alpha-s1") | ENDS


def test_a_default_runs_the_entries_that_inherit_it(finished: Project) -> None:
    def move(raw: dict[str, Any]) -> None:
        raw["defaults"]["wide"] = {"arch": {"width": raw["entries"]["alpha"]["arch"].pop("width")}}
        raw["entries"]["alpha"]["like"] = "wide"

    finished.params(move)
    ran, _ = finished.repro()
    assert ran == {"fingerprints"} | ENDS, "it resolves to what it was"
    finished.params(lambda raw: raw["defaults"]["wide"]["arch"].update(width=7))
    ran, _ = finished.repro()
    assert ran == {"fingerprints"} | _entry("alpha") | ENDS


def test_failing_entry_lets_the_others_go_on_and_the_report_stand(finished: Project) -> None:
    finished.write("broken.txt", "train alpha")
    finished.params(
        lambda raw: [raw["entries"][name]["arch"].update(width=5) for name in ("alpha", "beta")]
    )
    failed, _ = finished.repro("--keep-going", check=False)
    assert failed == {"fingerprints", "train@alpha"} | _entry("beta")
    assert finished.repro("-s", "report", "track")[0] == ENDS
    (finished.root / "broken.txt").unlink()
    assert finished.repro()[0] == _entry("alpha") | ENDS


def test_profiles_run_the_same_pipeline() -> None:
    """But for report and track, which further seeds do without."""
    copies = sorted((REPOSITORY / "profiles").glob("*/dvc.yaml"))
    assert [path.parent.name for path in copies] == ["full", "smoke"]
    for path in copies:
        of_seeds = path.parent.name.endswith("-seeds")
        expected = dvc_yaml(REPOSITORY) if of_seeds else (REPOSITORY / "dvc.yaml").read_text()
        assert not path.is_symlink()
        assert path.read_text() == expected, f"{path}: run make profiles"


def test_profile_has_its_own_lock_and_metrics(finished: Project) -> None:
    before = (finished.root / "dvc.lock").read_bytes()
    ran, _ = finished.repro("profiles/smoke/dvc.yaml")
    assert (
        ran
        == {"fingerprints", "prepare@mnist", "features@mnist"}
        | _entry("alpha")
        | _entry("beta")
        | ENDS
    )
    assert (finished.root / "dvc.lock").read_bytes() == before
    assert (finished.root / "profiles" / "smoke" / "dvc.lock").is_file()
    assert finished.repro("profiles/smoke/dvc.yaml")[0] == set()
    shown = finished.dvc("metrics", "show").stdout
    for profile in ("quick", "smoke"):
        for entry in ("alpha", "beta"):
            (line,) = [
                line
                for line in shown.splitlines()
                if os.path.join("reports", profile, "metrics", f"{entry}.json") in line
            ]
            assert "1.0" in line.split()
    status = finished.run("git", "status", "--porcelain", "-uall").stdout
    new = {line[3:] for line in status.splitlines() if line.startswith("??")}
    files = ("metrics/alpha.json", "metrics/beta.json", "leaderboard.csv")
    reports = {f"reports/{profile}/{file}" for profile in ("quick", "smoke") for file in files}
    assert new - {"calls.txt"} == reports | {"dvc.lock", "profiles/smoke/dvc.lock"}


def test_diff_with_a_commit_names_what_changed(finished: Project) -> None:
    for command in (
        ["add", "--all"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "run"],
    ):
        assert finished.run("git", *command).returncode == 0
    finished.params(lambda raw: raw["entries"]["alpha"]["arch"].update(width=9))
    changed = json.loads(finished.dvc("params", "diff", "--json").stdout)["params.yaml"]
    assert {name: value["new"] for name, value in changed.items()} == {
        "entries.alpha.arch.width": 9
    }
    metrics = finished.root / "reports" / "quick" / "metrics" / "alpha.json"
    metrics.write_text(metrics.read_text().replace("1.0", "3.0"))
    scores = json.loads(finished.dvc("metrics", "diff", "--json").stdout)[
        "reports/quick/metrics/alpha.json"
    ]
    assert scores["fid_mnist"]["diff"] == 2.0
