"""The stage table and the layout: they say what dvc.yaml says, stages get what they name, and an
edit of either runs no entry again.
"""

from __future__ import annotations

import importlib
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import genbench
from genbench.config.layout import SHARED_FOLDERS, Layout, RunDir
from genbench.config.load import load_params
from genbench.config.params import Entry, Params
from genbench.config.stages import DATASET_STAGES, ENTRY_STAGES, STAGES, before
from genbench.errors import UserError
from genbench.pipeline.fingerprints import entry_fingerprint, shared_fingerprint
from genbench.pipeline.import_closure import SOURCE_ROOT, Sources
from genbench.pipeline.stage_runner import call_stage, stage_places
from tests.params_factory import dump

PROFILE = "${profile}"
KEYS = {"entry": "${key}", "dataset": "${item}", "profile": ""}


@pytest.fixture(scope="module")
def pipeline() -> dict[str, dict[str, Any]]:
    """The stages of dvc.yaml."""
    return yaml.safe_load((SOURCE_ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


# ---------------------------------------------------------------------- the table and dvc.yaml


def test_the_table_has_the_stages_of_dvc_in_their_order(pipeline: dict[str, Any]) -> None:
    assert list(STAGES) == list(pipeline)
    loops = {name: stage.get("foreach") for name, stage in pipeline.items()}
    assert loops == {
        name: {"entry": "${entries}", "dataset": "${datasets}", "profile": None}[stage.per]
        for name, stage in STAGES.items()
    }


@pytest.mark.parametrize("name", STAGES)
def test_dvc_gives_each_stage_what_the_table_says(name: str, pipeline: dict[str, Any]) -> None:
    stage, layout = STAGES[name], Layout(Path(), PROFILE)
    key = KEYS[stage.per]
    found = pipeline[name].get("do", pipeline[name])
    assert found["wdir"] == "${root}"
    assert found["cmd"] == " ".join(
        ["genbench", stage.command, *([key] if key else []), "--profile", PROFILE]
    )
    entry, dataset = (key, "${item.dataset}") if stage.per == "entry" else (None, key)

    def paths(parts: tuple[str, ...]) -> list[str]:
        return [str(layout.place(part, entry=entry, dataset=dataset)) for part in parts]

    own = [] if stage.per == "profile" else [str(layout.fingerprint(key, name))]
    assert found.get("deps", []) == own + paths(stage.reads)
    outs = [out if isinstance(out, str) else next(iter(out)) for out in found["outs"]]
    assert outs == paths(stage.writes)
    keys = list(stage.profile_keys) if stage.per == "profile" else []
    assert found.get("params", []) == ([{"${params_file}": keys}] if keys else [])


def test_every_file_is_written_by_one_stage_and_read_after_that() -> None:
    written = [part for stage in STAGES.values() for part in stage.writes]
    assert len(set(written)) == len(written)
    names = list(STAGES)
    for name in names:
        assert all(names.index(earlier) < names.index(name) for earlier in before(name))
        assert STAGES[name].resumes <= STAGES[name].computes


def test_what_follows_from_the_table() -> None:
    assert DATASET_STAGES == ("prepare", "features")
    assert ENTRY_STAGES == (
        "train",
        "sample",
        "pictures",
        "score_likelihood",
        "score_samples",
        "probe",
    )
    assert before("score_samples") == ("features", "sample")
    assert before("probe") == ("prepare", "train", "sample", "score_likelihood")
    assert before("train") == ("prepare",)
    assert before("prepare") == ()


# ---------------------------------------------------------------------- what a stage is handed


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_takes_the_paths_that_it_is_handed(name: str, params: Params) -> None:
    stage = STAGES[name]
    function = importlib.import_module(f"pipelines.{name}").run
    parameters = inspect.signature(function).parameters.values()
    keywords = {
        parameter.name
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    }
    if stage.per == "profile":
        assert keywords == set()
        return
    places = stage_places(params, stage, "made" if stage.per == "entry" else "mnist")
    assert keywords == places.keys()
    assert len(set(places.values())) == len(places)
    assert all(path.is_relative_to(params.root) for path in places.values())


def test_an_entry_reads_the_files_of_its_own_data_set(params: Params) -> None:
    layout = Layout.of(params)
    places = stage_places(params, STAGES["score_samples"], "binary-made")
    assert places == {
        "features": layout.runs / "features" / "binary_mnist.npz",
        "samples": layout.runs / "binary-made" / "samples.npz",
        "quality": layout.runs / "binary-made" / "quality.json",
        "data": layout.runs / "data" / "binary_mnist.npz",
    }
    places = stage_places(params, STAGES["train"], "made")
    assert places["fingerprint"] == layout.runs / "fingerprints" / "made" / "train.json"
    assert places["unfinished"] == params.root / ".ckpt" / "quick-made-train"


def test_a_stage_of_an_unknown_entry_is_refused(params: Params) -> None:
    with pytest.raises(UserError, match=r"'mode' is no entry .* did you mean 'made'"):
        call_stage("train", params, "mode")


# ---------------------------------------------------------------------- the layout


def test_a_part_belongs_to_what_it_is_of() -> None:
    layout = Layout(Path("/p"), "smoke")
    assert layout.place("weights", entry="made") == Path("/p/runs/smoke/made/weights.safetensors")
    assert layout.place("data", dataset="mnist") == Path("/p/runs/smoke/data/mnist.npz")
    assert layout.place("report") == Path("/p/reports/smoke")
    for part in ("weights", "features"):
        with pytest.raises(ValueError, match=f"{part} is part of"):
            layout.place(part)


def test_the_default_profile_is_beside_its_params() -> None:
    root = Path("/p")
    assert (Layout(root).dvc_file, Layout(root).dvc_lock) == (root / "dvc.yaml", root / "dvc.lock")
    smoke = Layout(root, "smoke")
    assert smoke.dvc_file == root / "profiles" / "smoke" / "dvc.yaml"
    assert smoke.dvc_lock == root / "profiles" / "smoke" / "dvc.lock"


@pytest.mark.parametrize("name", SHARED_FOLDERS)
def test_no_entry_has_the_name_of_a_shared_folder(name: str, project: Path) -> None:
    layout = Layout(project)
    shared = (
        layout.data("x").parent,
        layout.features("x").parent,
        layout.fingerprints,
        layout.external("x", "y").path.parents[1],
    )
    assert {path.name for path in shared} == set(SHARED_FOLDERS)
    path = project / "params.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    raw["entries"][name] = {**raw["entries"]["made"]}
    path.write_text(dump(raw), encoding="utf-8")
    with pytest.raises(UserError, match=rf"entries\.{name}: this name is taken"):
        load_params("quick", root=project)


def test_a_run_folder_is_loaded_by_the_name_that_train_writes(tmp_path: Path) -> None:
    """The loader is part of most fingerprints, and so knows the name itself."""
    with pytest.raises(FileNotFoundError) as error:
        genbench.load(tmp_path)
    assert str(RunDir(tmp_path).weights) in str(error.value)


# ---------------------------------------------------------------------- and fingerprints

NAMES = ("made", "vae", "ddpm")
OUTSIDE = ("genbench/results/", "genbench/report/", "genbench/tracking/", "genbench/cli/")


def _fingerprints(root: Path) -> dict[str, str]:
    sources = Sources(root)
    entries = [Entry(name, name, "mnist", 0, {}, {}, {}, {}) for name in NAMES]
    return {
        f"{stage}@{entry.name}": entry_fingerprint(sources, stage, entry, ("fid", "kid")).hash
        for entry in entries
        for stage in ENTRY_STAGES
    } | {stage: shared_fingerprint(sources, stage, ("mnist",)).hash for stage in DATASET_STAGES}


@pytest.mark.parametrize("stage", ENTRY_STAGES)
def test_what_an_entry_runs_knows_no_stage_but_itself(stage: str) -> None:
    for name in NAMES:
        entry = Entry(name, name, "mnist", 0, {}, {}, {}, {})
        files = entry_fingerprint(Sources(), stage, entry, ("fid",)).files
        config = {file for file in files if file.startswith("genbench/config/")}
        assert not config & {
            f"genbench/config/{module}.py" for module in ("stages", "layout", "stage_params")
        }
        plumbing = {file for file in files if file.startswith("genbench/pipeline/")}
        allowed = {"genbench/pipeline/__init__.py", "genbench/pipeline/git.py"}
        assert plumbing <= (allowed if stage == "train" else set())
        assert not [file for file in files if file.startswith(OUTSIDE)]
        others = {f"pipelines/{other}.py" for other in STAGES if other != stage}
        assert not others & set(files)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for package in ("genbench", "pipelines"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(SOURCE_ROOT / package, tmp_path / package, ignore=ignored)
    return tmp_path


def _edit(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path} has {text.count(before)} times {before!r}"
    path.write_text(text.replace(before, after), encoding="utf-8")


CHECK = """
from pathlib import Path
from typer.testing import CliRunner
from genbench.cli.main import app
from genbench.config.layout import Layout
from genbench.config.stages import ENTRY_STAGES, STAGES
from genbench.report.columns import COLUMNS
assert ENTRY_STAGES[-1] == "shrink"
places = [Layout(Path()).place(part, entry="made") for part in STAGES["shrink"].writes]
assert places == [Path("runs/quick/made/thumbnails.npz")], places
assert COLUMNS[0].key == "sharpness"
assert "Greet" in CliRunner().invoke(app, ["--help"]).output
"""


def test_a_stage_a_file_a_column_and_a_verb_run_no_entry_again(copied: Path) -> None:
    before_edits = _fingerprints(copied)
    report = shared_fingerprint(Sources(copied), "report", ("mnist",)).hash
    config = copied / "genbench" / "config"
    report_stage = '    Stage(\n        "report",'
    new_stage = '    Stage("shrink", per="entry", reads=("samples",), writes=("thumbnails",)),'
    _edit(config / "stages.py", report_stage, f"{new_stage}\n{report_stage}")
    sampling = "    @property\n    def sampling(self)"
    returned = 'return self.path / "thumbnails.npz"'
    new_file = f"    @property\n    def thumbnails(self) -> Path:\n        {returned}\n"
    _edit(config / "layout.py", sampling, f"{new_file}\n{sampling}")
    (copied / "pipelines" / "shrink.py").write_text("def run(params, name, **places): ...\n")
    column = 'COLUMNS = (\n    Column("sharpness", "sharp", "How sharp", True),\n'
    _edit(copied / "genbench" / "report" / "columns.py", "COLUMNS = (\n", column)
    verb = '@app.command()\ndef greet() -> None:\n    """Greet."""\n\n\ndef main() -> None:'
    _edit(copied / "genbench" / "cli" / "main.py", "def main() -> None:", verb)
    environment = os.environ | {"PYTHONPATH": str(copied), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", CHECK], cwd=copied, env=environment, check=True)
    assert _fingerprints(copied) == before_edits
    assert shared_fingerprint(Sources(copied), "report", ("mnist",)).hash != report
