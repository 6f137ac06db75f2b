"""`genbench run --seeds`: further seeds run when they are asked for and at no other time, DVC knows
them, and the report shows them. The stages are stand-ins.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from genbench.config.stages import ENTRY_STAGES
from genbench.errors import UserError
from genbench.files import write_text
from genbench.pipeline.stage_runner import run_stage
from genbench.results import entry as reading
from tests.invented_results import Bench, fake_class
from tests.params_factory import dump
from tests.stand_ins import make

TRAINED = {
    "model": "made",
    "arch": {"hidden": [8], "head": "categorical"},
    "train": {"steps": 1, "optim": {"loss": {"lr": 0.1}}},
}


def test_further_seeds_run_when_they_are_asked_for_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make(tmp_path, ("one",))
    project.edit("one", seed=5, **TRAINED)
    done = project.genbench("run", "--seeds", "2", "--entries", "one", "--jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    ran = project.log()
    own = [line for line in ran if line.split()[-1] in ("one", "one-s6")]
    assert own == [f"{stage} {name}" for name in ("one", "one-s6") for stage in ENTRY_STAGES]
    assert [line for line in ran[-6:] if line.split()[-1] != "one-s6"] == ["report"]
    assert ran.count("report") == 2, "of quick, once more, for DVC does not look for them"
    assert "report: reports/quick/index.html" in done.stdout.splitlines()[-1]
    runs = project.root / "runs"
    assert (runs / "quick-seeds" / "one-s6" / "weights.safetensors").is_file()
    assert not (runs / "quick" / "one-s6").exists()
    assert not (project.root / "reports" / "quick-seeds").exists()

    lock = yaml.safe_load((project.root / "profiles" / "quick-seeds" / "dvc.lock").read_text())
    assert {f"{stage}@one-s6" for stage in ENTRY_STAGES} <= lock["stages"].keys()
    assert "up to date" in project.dvc("status", "profiles/quick-seeds/dvc.yaml")
    shutil.rmtree(runs / "quick-seeds")
    project.dvc("repro")
    assert project.log() == []
    assert not (runs / "quick-seeds").exists(), "a run of quick leaves them alone"

    monkeypatch.chdir(project.root)
    with pytest.raises(UserError, match="genbench report --profile quick"):
        run_stage("quick-seeds", "report")


# ---------------------------------------------------------------------- in the report


@pytest.fixture
def seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Invented results of an entry, and of two of its three further seeds."""
    monkeypatch.setattr(reading, "model_class", fake_class)
    bench = Bench(tmp_path)
    bench.add("alpha", "alpha", bits=1.0)
    apart = Bench(tmp_path)
    object.__setattr__(apart.params, "profile", "quick-seeds")
    apart.add("alpha-s1", "alpha", bits=1.5, seed=1)
    run = apart.add("alpha-s2", "alpha", bits=1.7, seed=2)
    (run / "likelihood.json").unlink()
    written = {
        "root": ".",
        "profile": "quick",
        "params_file": "params.yaml",
        "datasets": ["mnist", "binary_mnist"],
        "metrics": ["fid"],
        "protocol": {
            key: value
            for key, value in bench.params.protocol.plain().items()
            if key != "inception_sha256"
        },
        "compute": {},
        "defaults": {},
        "entries": {"alpha": {"model": "alpha", "dataset": "mnist", "train": {"steps": 10}}},
    }
    write_text(tmp_path / "params.yaml", dump(written))
    seeds = {
        "root": "../..",
        "profile": "quick-seeds",
        "params_file": "profiles/quick-seeds/params.yaml",
        "seeds_of": "quick",
        "settings_file": "params.yaml",
        "datasets": ["mnist"],
        "entries": {
            f"alpha-s{i}": {"like": "alpha", "dataset": "mnist", "seed": i} for i in (1, 2, 3)
        },
    }
    write_text(tmp_path / "profiles" / "quick-seeds" / "params.yaml", dump(seeds))
    return bench


def test_the_report_shows_the_seeds_that_were_run_and_their_mean(seeded: Bench) -> None:
    board = seeded.write()
    rows = {row["entry"]: row for row in board["rows"]}
    assert list(rows) == ["alpha", "alpha-s1", "alpha*", "alpha-s2"]
    assert [row["status"] for row in rows.values()] == ["ok", "ok", "aggregate", "partial"]
    assert rows["alpha*"]["metrics"]["fid_mnist"]["detail"]["seeds"] == 3
    assert [(gap["entry"], gap["reason"]) for gap in board["missing"]] == [
        (
            "alpha-s2",
            "runs/quick-seeds/alpha-s2/likelihood.json is not there; run `genbench run --profile "
            "quick-seeds --entries alpha-s2`",
        )
    ]
    text = seeded.page()
    assert "Samples of alpha" in text
    assert "Samples of alpha-s1" not in text, "of further seeds the numbers alone"


def test_unsound_further_seeds_are_told_and_not_passed_over(seeded: Bench) -> None:
    path = seeded.params.root / "profiles" / "quick-seeds" / "params.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    raw["entries"]["alpha-s1"]["train"] = {"steps": 11}
    write_text(path, dump(raw))
    with pytest.raises(UserError, match=r"alpha-s1.train.steps: is 11, and 10 in 'alpha'"):
        seeded.write()
