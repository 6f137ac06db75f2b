"""Mirroring into MLflow: what a run holds, that doing it twice changes nothing, and what a change
of content or of timings does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.errors import UserError
from genbench.files import read_json, write_bytes, write_json, write_text
from genbench.pictures.grids import png
from genbench.report.rows import leaderboard
from genbench.results.entry import read_entries, read_entry
from genbench.tracking.experiments import experiment_name
from genbench.tracking.mirror import sync
from genbench.tracking.runs import tracked_run, tracked_runs
from pipelines import track
from tests.entries import finished_project, write_entry
from tests.params_factory import written_images
from tests.toys import weights_of


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> Params:
    """A project whose entries are finished but for ``vae``, which has only been trained."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    params = finished_project(tmp_path)
    for name in ("samples.npz", "sampling.json", "likelihood.json", "quality.json"):
        (Layout.of(params).run_dir("vae").path / name).unlink()
    write_text(Layout.of(params).report.page, "<title>report</title>")
    return params


def client_of(params: Params) -> MlflowClient:
    return MlflowClient(f"sqlite:///{params.root / 'mlflow.db'}")


def runs_of(
    params: Params, dataset: str = "mnist", view: int = ViewType.ACTIVE_ONLY
) -> dict[str, Run]:
    """Runs by name; fails if two share one."""
    client = client_of(params)
    experiment = client.get_experiment_by_name(experiment_name(params.profile, dataset))
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], run_view_type=view)
    named = {run.info.run_name: run for run in runs}
    assert len(named) == len(runs)
    return named


def contents(params: Params) -> dict[str, tuple[int, list[str]]]:
    """Number of metric points and the artifacts of every run, by id, deleted ones included."""
    client, found = client_of(params), {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL):
            points = sum(
                len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics
            )
            folders = (None, "records", "pictures", "images")
            artifacts = [
                item.path
                for folder in folders
                for item in client.list_artifacts(run.info.run_id, folder)
            ]
            found[run.info.run_id] = (points, artifacts)
    return found


def test_runs_hold_parameters_scores_curves_tags_and_pictures(finished: Params) -> None:
    track.run(finished)
    client, runs = client_of(finished), runs_of(finished)
    assert set(runs) == {"made", "dcgan", "report"}
    assert set(runs_of(finished, "binary_mnist")) == {"binary-made", "report"}
    made = runs["made"]
    params = made.data.params
    optim = {
        name.rpartition(".")[2]: value
        for name, value in params.items()
        if name.startswith("train.optim.loss.")
    }
    assert optim == {"lr": "0.001", "clip": "null", "betas": "[0.9, 0.99]"}
    others = {
        name: params[name]
        for name in ("arch.hidden", "arch.head", "profile", "seed", "model", "dataset")
    }
    assert list(others.values()) == ["[500, 500]", "categorical", "quick", "0", "made", "mnist"]
    scores = {name: value for name, value in made.data.metrics.items() if "/" not in name}
    assert scores == {
        "nats": 400.0,
        "nats_stderr": 0.5,
        "bits_per_dim": 400.0 / 543.43,
        "bits_per_dim_stderr": 0.01,
        "fid_mnist": 12.5,
    }
    assert made.data.metrics["cost/parameters"] == 1000
    assert made.data.metrics["cost/sample_ms_per_image"] == 2.5
    assert [
        (point.step, point.value)
        for point in client.get_metric_history(made.info.run_id, "loss/train")
    ] == [(10, 600.5), (20, 500.25)]
    assert [
        (point.step, point.value)
        for point in client.get_metric_history(made.info.run_id, "loss/valid")
    ] == [(20, 510.75)]
    times = [point.timestamp for point in client.get_metric_history(made.info.run_id, "loss/train")]
    assert times[1] - times[0] == 500
    assert (made.info.status, made.info.end_time - made.info.start_time) == ("FINISHED", 1000)
    tags = made.data.tags
    assert (tags["family"], tags["likelihood"], tags["control"], tags["sampler"]) == (
        "autoregressive",
        "exact",
        "false",
        "ancestral",
    )
    assert (tags["git"], tags["hardware"], tags["matches_likelihood"]) == (
        "0123abc",
        "a processor",
        "true",
    )
    assert runs["dcgan"].data.tags["withheld.bayes_accuracy"] == "the model is unconditional"
    assert "nats" not in runs["dcgan"].data.metrics
    assert runs["dcgan"].data.tags["matches_likelihood"] == "null"
    artifacts = contents(finished)[made.info.run_id][1]
    assert {
        "samples.png",
        "records/quality.json",
        "records/history.csv",
        "pictures/interpolation.png",
    } <= set(artifacts)
    logged_images = [
        path.split("+")[0] for path in artifacts if path.endswith(".png") and "+" in path
    ]
    assert sorted(logged_images) == ["images/interpolation", "images/samples"]
    page = client.download_artifacts(runs["report"].info.run_id, "index.html", str(finished.root))
    assert Path(page).read_text() == "<title>report</title>"


def test_values_that_are_not_finite_are_named_but_not_logged(finished: Params) -> None:
    track.run(finished)
    made = runs_of(finished)["made"]
    values = [
        point.value
        for point in client_of(finished).get_metric_history(made.info.run_id, "loss/grad_norm")
    ]
    assert values == [3.5]
    assert made.data.tags["not_finite"] == "loss/grad_norm"


def test_twice_changes_nothing(finished: Params) -> None:
    assert set(sync(finished).new) == {"made", "dcgan", "binary-made"}
    before, receipt = contents(finished), (finished.root / ".track" / "quick.json").read_bytes()
    again = sync(finished)
    assert (again.new, again.superseded) == ((), 0)
    assert len(before) == 5
    assert contents(finished) == before
    assert (finished.root / ".track" / "quick.json").read_bytes() == receipt


def test_the_score_hash_is_the_leaderboards(finished: Params) -> None:
    rows = {row["entry"]: row for row in leaderboard(finished, read_entries(finished))["rows"]}
    for name in ("made", "binary-made"):
        run = tracked_run(read_entry(finished, finished.entry(name)))
        assert run.tags["score_hash"] == rows[name]["score_hash"]


def test_the_kind_of_processor_and_the_precision_are_tags(finished: Params) -> None:
    sync(finished)
    tags = runs_of(finished)["made"].data.tags
    assert (tags["processor"], tags["precision"], tags["threads"]) == (
        "Intel, AVX2",
        "float32",
        "2",
    )


def test_timings_and_machines_are_no_content(finished: Params) -> None:
    sync(finished)
    before = contents(finished)
    write_entry(finished, "made", seconds=99.0)
    provenance = Layout.of(finished).run_dir("made").provenance
    write_json(
        provenance, read_json(provenance) | {"hardware": "another processor", "git": "fedcba9"}
    )
    for name in ("likelihood.json", "quality.json"):
        record = read_json(Layout.of(finished).run_dir("made").path / name)
        write_json(
            Layout.of(finished).run_dir("made").path / name,
            record | {"made_from": record["made_from"] | {"kind": {"isa": "another"}}},
        )
    again = sync(finished)
    assert (again.new, again.superseded) == ((), 0)
    assert contents(finished) == before


def test_a_changed_score_replaces_the_run_and_its_return_restores_it(finished: Params) -> None:
    first = sync(finished)
    old = runs_of(finished)["made"]
    write_entry(finished, "made", nats=390.0)
    changed = sync(finished)
    assert (changed.new, changed.superseded) == (("made",), 1)
    new = runs_of(finished)["made"]
    assert new.info.run_id != old.info.run_id
    assert new.data.metrics["nats"] == 390.0
    retired = client_of(finished).get_run(old.info.run_id)
    assert retired.info.lifecycle_stage == "deleted"
    assert retired.data.tags["genbench.superseded_by"] == changed.tracked["made"]
    write_entry(finished, "made", nats=400.0)
    back = sync(finished)
    assert (back.new, back.superseded, back.tracked) == ((), 1, first.tracked)
    restored = runs_of(finished)["made"]
    assert restored.info.run_id == old.info.run_id
    assert "genbench.superseded_by" not in restored.data.tags


@pytest.mark.parametrize("change", ["weights", "arch", "picture"])
def test_changed_content_is_a_new_key(finished: Params, change: str) -> None:
    first = sync(finished).tracked
    params = finished
    if change == "weights":
        write_bytes(
            Layout.of(params).run_dir("made").weights, weights_of(params.entry("made"), 1.0)
        )
    elif change == "picture":
        write_bytes(
            Layout.of(params).run_dir("made").pictures / "interpolation.png",
            png(np.zeros((8, 8), np.uint8)),
        )
    else:
        raw = yaml.safe_load((params.root / "params.yaml").read_text())
        raw["entries"]["made"]["arch"]["hidden"] = [400]
        (params.root / "params.yaml").write_text(yaml.safe_dump(raw))
        params = load_params("quick", root=params.root)
        write_bytes(Layout.of(params).run_dir("made").weights, weights_of(params.entry("made")))
    second = sync(params).tracked
    assert second["made"] != first["made"]
    assert {name for name in first if first[name] != second[name]} == {"made"}
    assert len(runs_of(params)) == 3


def test_unfinished_entries_are_skipped_with_the_reason_and_counted(
    finished: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(Layout.of(finished).run_dir("dcgan").path)
    track.run(finished)
    receipt = read_json(finished.root / ".track" / "quick.json")
    assert receipt["counts"] == {"tracked": 2, "skipped": 2}
    assert receipt["skipped"]["vae"] == (
        "runs/quick/vae/sampling.json and runs/quick/vae/likelihood.json are not there; "
        "run `genbench run --entries vae`"
    )
    assert receipt["skipped"]["dcgan"] == (
        "runs/quick/dcgan/weights.safetensors is not there; run `genbench run --entries dcgan`"
    )
    assert "skipped vae" in capsys.readouterr().out
    assert set(runs_of(finished)) == {"made", "report"}


@pytest.mark.parametrize("damage", ["no json", '{"entry": "vae"}'])
def test_a_damaged_record_keeps_no_other_entry_from_being_tracked(
    finished: Params, damage: str
) -> None:
    write_text(Layout.of(finished).run_dir("made").quality, damage)
    track.run(finished)
    receipt = read_json(finished.root / ".track" / "quick.json")
    assert receipt["skipped"]["made"].startswith("score_samples: runs/quick/made/quality.json ")
    assert "dcgan" in receipt["tracked"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"entries": {"made": {"seed": 3}}}, "train is out of date: seed was 0 and is now 3"),
        (
            {"entries": {"made": {"score": {"draws": 9}}}},
            "score_likelihood is out of date: score.draws was None and is now 9",
        ),
        (
            {"entries": {"made": {"sample": {"steps": 9}}}},
            "sample is out of date: sample was {} and is now {'steps': 9}",
        ),
        (
            {"protocol": {"samples": 60}},
            "sample is out of date: protocol.samples was 120 and is now 60",
        ),
        (
            {"protocol": {"likelihood_images": written_images({1: 50, 10: 10, 200: 10})}},
            "score_likelihood is out of date: test images was 100 and is now 50",
        ),
        (
            {"protocol": {"feature_reference_images": 50}},
            "score_samples is out of date: test images was 100 and is now 50",
        ),
    ],
)
def test_results_of_another_state_of_the_parameters_are_not_tracked(
    finished: Params, change: dict, reason: str
) -> None:
    raw = yaml.safe_load((finished.root / "params.yaml").read_text())
    raw["protocol"] |= change.get("protocol", {})
    raw["entries"]["made"] |= change.get("entries", {}).get("made", {})
    (finished.root / "params.yaml").write_text(yaml.safe_dump(raw))
    params = load_params("quick", root=finished.root)
    assert tracked_runs(params)[1]["made"] == f"{reason}; run `genbench run --entries made`"


def test_a_project_without_results_is_no_error(finished: Params) -> None:
    shutil.rmtree(Layout.of(finished).runs)
    assert sync(finished).tracked == {}
    assert read_json(finished.root / ".track" / "quick.json")["counts"] == {
        "tracked": 0,
        "skipped": 4,
    }


def test_a_run_whose_logging_was_killed_is_replaced(finished: Params) -> None:
    sync(finished)
    client, made = client_of(finished), runs_of(finished)["made"]
    client.delete_tag(made.info.run_id, "genbench.key")
    again = sync(finished)
    assert again.new == ("made",)
    assert runs_of(finished)["made"].info.run_id != made.info.run_id


def test_a_new_report_replaces_the_old_in_place(finished: Params) -> None:
    sync(finished)
    before = runs_of(finished)["report"].info.run_id
    write_text(Layout.of(finished).report.page, "<title>another</title>")
    assert sync(finished).new == ()
    report = runs_of(finished)["report"]
    page = client_of(finished).download_artifacts(
        report.info.run_id, "index.html", str(finished.root)
    )
    assert report.info.run_id == before
    assert Path(page).read_text() == "<title>another</title>"


def test_two_processes_on_a_new_database_both_succeed(finished: Params) -> None:
    (finished.root / "mlflow.db").unlink()
    code = (
        "from genbench.config.load import load_params; from pipelines import track; "
        "track.run(load_params())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=finished.root, env=environment, **pipes)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert sorted("(3 new" in out for out, _ in outputs) == [False, True]
    assert set(runs_of(finished)) == {"made", "dcgan", "report"}


def test_other_copies_of_the_project_keep_their_runs(finished: Params, tmp_path: Path) -> None:
    shared = f"sqlite:///{(finished.root / 'mlflow.db').rename(tmp_path / 'shared.db')}"
    sync(finished, tracking_uri=shared)
    other = tmp_path / "copy"
    other.mkdir()
    for name in ("profiles", "runs"):
        shutil.copytree(finished.root / name, other / name)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(finished.root / name, other / name)
    theirs = load_params("quick", root=other)
    assert sync(theirs, tracking_uri=shared).new == ()
    write_entry(theirs, "made", nats=1.0)
    assert sync(theirs, tracking_uri=shared).superseded == 0
    assert not (tmp_path / "mlflow.db").exists()


def test_the_environment_names_another_store(
    finished: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'elsewhere' / 'ml.db'}")
    assert len(sync(finished).new) == 3
    assert (tmp_path / "elsewhere" / "ml.db").is_file()
    assert not (tmp_path / "mlflow.db").exists()


def test_a_moved_project_is_told_how_to_mend_its_database(finished: Params) -> None:
    sync(finished)
    moved = finished.root.with_name(f"{finished.root.name}-moved")
    shutil.copytree(finished.root, moved)
    with pytest.raises(UserError, match=r"Delete mlflow\.db and mlruns/"):
        sync(load_params("quick", root=moved))


@pytest.fixture
def moved_to(finished: Params, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Params]:
    """Moves the project, before anything was tracked, into a folder of that name."""
    place = tmp_path_factory.mktemp("moved")
    return lambda name: load_params("quick", root=finished.root.rename(place / name))


@pytest.mark.parametrize("former", [False, True])
def test_a_folder_may_have_any_letters_that_an_address_can_hold(
    moved_to: Callable[[str], Params], former: bool
) -> None:
    """In the name are what ends an address (#), what escapes in one (%), a space, and letters
    beyond ASCII.
    """
    params = moved_to("a #1 & 50% größe")
    mlruns = params.root / "mlruns" / experiment_name("quick", "mnist")
    if former:  # places were plain paths once
        client_of(params).create_experiment(
            experiment_name("quick", "mnist"), artifact_location=str(mlruns)
        )
    assert set(sync(params).new) == {"made", "dcgan", "binary-made"}
    assert sync(params).new == ()
    made = runs_of(params)["made"].info.run_id
    assert (mlruns / made / "artifacts" / "samples.png").is_file()
    assert {item.path for item in client_of(params).list_artifacts(made, "pictures")} == {
        "pictures/interpolation.png",
        "pictures/pictures.json",
    }
    assert {path.name for path in params.root.parent.iterdir()} == {params.root.name}, (
        "nothing was made elsewhere"
    )


@pytest.mark.parametrize("name", ["what?", "100%41", "\udce4"])
def test_a_folder_that_an_address_cannot_hold_is_named(
    moved_to: Callable[[str], Params], name: str
) -> None:
    params = moved_to(name)
    elsewhere = (params.root / "mlflow.db").rename(params.root.with_name("ml.db"))
    with pytest.raises(
        UserError,
        match=r"MLflow cannot keep its database in .*rename the folder, or set MLFLOW_TRACKING_URI",
    ):
        sync(params)
    assert not (params.root / "mlflow.db").exists()
    assert sync(params, tracking_uri=f"sqlite:///{elsewhere}").new


def test_an_unusable_store_is_a_user_error_and_leaves_no_receipt(finished: Params) -> None:
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"):
        sync(finished, tracking_uri="nothing://at/all")
    assert not (finished.root / ".track" / "quick.json").exists()


def test_stage_modules_do_not_import_mlflow() -> None:
    """Only the track stage pays for it; a cached stage would log nothing."""
    root = Path(__file__).parents[1]
    importing = {
        path.parent.relative_to(root).as_posix()
        for folder in ("genbench", "pipelines")
        for path in sorted((root / folder).rglob("*.py"))
        if any(
            line.lstrip().startswith(("import mlflow", "from mlflow"))
            for line in path.read_text().splitlines()
        )
    }
    assert importing == {"genbench/tracking"}


def test_receipt_is_json_of_keys_alone(finished: Params) -> None:
    summary = sync(finished)
    receipt = json.loads((finished.root / ".track" / "quick.json").read_text())
    assert receipt["tracked"] == dict(summary.tracked)
    assert str(finished.root) not in json.dumps(receipt)
