"""What MLflow holds of each entry against that entry's own files: pictures, scores, curves,
parameters; and the key that says when it changed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow.entities import Run
from PIL import Image

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.files import read_json, write_bytes, write_json, write_npz, write_text
from genbench.pictures.grids import grid, png
from genbench.results.entry import read_entry
from genbench.scoring.records import Metric, Record, read_record, write_record
from genbench.tracking.mirror import sync
from genbench.tracking.runs import TrackedRun, tracked_run
from tests.params_factory import dump, written_protocol
from tests.test_tracking import client_of, runs_of, write_entry
from tests.toys import weights_of

ENTRIES: dict[str, dict[str, Any]] = {
    "made": {
        "model": "made",
        "dataset": "mnist",
        "arch": {"hidden": [500, 500], "head": "categorical"},
    },
    "dcgan": {"model": "dcgan", "dataset": "mnist", "arch": {"latent": 64}},
    "binary-made": {
        "model": "made",
        "dataset": "binary_mnist",
        "arch": {"hidden": [500], "masks": 2},
    },
}
"""Entries of two experiments."""
OWN = {name: entry["dataset"] for name, entry in ENTRIES.items()}


def make_project(root: Path) -> Params:
    """A project in which these entries are finished."""
    entries = {
        name: {
            **entry,
            "seed": 0,
            "train": {"steps": 20, "optim": {"loss": {"lr": 0.1}}},
            "sample": {},
            "score": {},
        }
        for name, entry in ENTRIES.items()
    }
    raw = {
        "root": ".",
        "profile": "quick",
        "params_file": "params.yaml",
        "datasets": ["mnist", "binary_mnist"],
        "metrics": ["fid"],
    }
    (root / "profiles").mkdir()
    write_text(root / "dvc.yaml", "stages: {}\n")
    write_text(
        root / "params.yaml",
        dump(
            {
                **raw,
                "protocol": written_protocol(
                    samples=120, sample_chunk=60, images={1: 100, 10: 10, 200: 10}, references=100
                ),
                "compute": {},
                "defaults": {},
                "entries": entries,
            }
        ),
    )
    params = load_params("quick", root=root)
    for name in entries:
        write_entry(params, name)
    return params


def make_different(params: Params) -> None:
    """Give each entry pictures, scores, curves and costs that no other one has."""
    for number, (name, dataset) in enumerate(OWN.items(), start=1):
        folder = Layout.of(params).run_dir(name).path
        levels = 2 if dataset == "binary_mnist" else 256
        images = np.random.default_rng(number).integers(0, levels, (120, 28, 28), dtype=np.uint8)
        write_npz(folder / "samples.npz", {"images": images})
        files = ("interpolation.png", f"only_{number}.png")
        for file in files:
            write_bytes(
                folder / "pictures" / file, png(np.full((8, 8), 20 * number + len(file), np.uint8))
            )
        shown = [
            {"file": file, "kind": "interpolation", "title": file, "caption": ""} for file in files
        ]
        write_json(folder / "pictures" / "pictures.json", shown)
        steps = "".join(
            f"{10 * step},{0.5 * step},1000,{number + 1 / step},0.001,1.0,{number + 2 / step}\n"
            for step in (1, 2, 3)
        )
        write_text(
            folder / "history.csv",
            "step,seconds,images_per_second,loss/loss,loss/lr,loss/grad_norm,loss/valid_loss\n"
            + steps,
        )
        cost = {
            "parameters": 1000 * number,
            "train_seconds": 2.0 * number,
            "train_images_per_second": 10.0 * number,
            "peak_memory_mb": 7.0 * number,
        }
        write_json(folder / "cost.json", {**cost, "steps": 20})
        write_json(
            folder / "sampling.json",
            {**read_json(folder / "sampling.json"), "sample_ms_per_image": 0.25 * number},
        )
        likelihood = read_record(folder / "likelihood.json")
        scored = {
            key: replace(metric, value=100.0 * number + 1, stderr=0.125 * number)
            for key, metric in likelihood.metrics.items()
        }
        write_record(folder / "likelihood.json", replace(likelihood, metrics=scored))
        fid = Metric(3.0 + number, None, 120, False, detail={"reference_n": 100})
        nothing = Metric(0.0, 0.0, 120, True)  # a value and an error that are 0, not absent
        write_record(
            folder / "quality.json", Record(name, {"fid_mnist": fid, "min_class_share": nothing})
        )


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Params]:
    """The project with its runs in MLflow, each entry with files of its own; tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        params = make_project(tmp_path_factory.mktemp("tracked"))
        make_different(params)
        sync(params)
        yield params


@pytest.fixture
def finished(tmp_path: Path) -> Params:
    """The project, not tracked."""
    return make_project(tmp_path)


def read(params: Params, name: str) -> TrackedRun:
    """What MLflow would have of an entry, whether its files are of other parameters or not."""
    results = read_entry(params, params.entry(name))
    parts = ("training", "sampling", "pictures", "likelihood", "quality", "probe")
    counting = {part: replace(getattr(results, part), counts=True) for part in parts}
    return tracked_run(replace(results, **counting))


def run_of(params: Params, name: str) -> Run:
    return runs_of(params, OWN[name])[name]


def places(params: Params, run: Run, folder: str) -> list[str]:
    """Paths of the artifacts in a folder of a run."""
    return [item.path for item in client_of(params).list_artifacts(run.info.run_id, folder)]


def content(params: Params, run: Run, place: str) -> bytes:
    """Of an artifact."""
    folder = params.root / "fetched" / run.info.run_id
    folder.mkdir(parents=True, exist_ok=True)
    return Path(
        client_of(params).download_artifacts(run.info.run_id, place, str(folder))
    ).read_bytes()


def grey(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def test_each_run_holds_its_own_pictures_and_records(tracked: Params) -> None:
    for name, dataset in OWN.items():
        run, folder = run_of(tracked, name), Layout.of(tracked).run_dir(name).path
        with np.load(folder / "samples.npz") as samples:
            picture = png(
                grid(samples["images"][:100], levels=2 if dataset == "binary_mnist" else 256)
            )
        assert content(tracked, run, "samples.png") == picture
        pictures = {path.name: path.read_bytes() for path in (folder / "pictures").glob("*.png")}
        assert sorted(
            place for place in places(tracked, run, "pictures") if place.endswith(".png")
        ) == sorted(f"pictures/{file}" for file in pictures)
        assert {file: content(tracked, run, f"pictures/{file}") for file in pictures} == pictures
        records = (
            "history.csv",
            "cost.json",
            "provenance.json",
            "sampling.json",
            "likelihood.json",
            "quality.json",
            "probe.json",
        )
        assert {record: content(tracked, run, f"records/{record}") for record in records} == {
            record: (folder / record).read_bytes() for record in records
        }
        assert len(places(tracked, run, "records")) == len(records)
        logged = {
            Path(place).name.split("+")[0]: place
            for place in places(tracked, run, "images")
            if place.endswith(".png")
        }
        own = {"samples": picture} | {
            file.removesuffix(".png"): data for file, data in pictures.items()
        }
        assert logged.keys() == own.keys()
        for key, data in own.items():
            assert np.array_equal(grey(content(tracked, run, logged[key])), grey(data)), (name, key)


def test_each_run_holds_its_own_scores_costs_and_parameters(tracked: Params) -> None:
    for number, name in enumerate(OWN, start=1):
        data = run_of(tracked, name).data
        own = tracked.entry(name)
        scores = (
            {}
            if name == "dcgan"
            else {"nats": 100.0 * number + 1, "bits_per_dim": 100.0 * number + 1}
        )
        errors = {f"{key}_stderr": 0.125 * number for key in scores}
        quality = {"fid_mnist": 3.0 + number, "min_class_share": 0.0, "min_class_share_stderr": 0.0}
        assert {key: value for key, value in data.metrics.items() if "/" not in key} == {
            **scores,
            **errors,
            **quality,
        }
        costs = {
            "parameters": 1000 * number,
            "train_seconds": 2.0 * number,
            "train_images_per_second": 10.0 * number,
        }
        costs |= {"peak_memory_mb": 7.0 * number, "steps": 20, "sample_ms_per_image": 0.25 * number}
        assert {key: value for key, value in data.metrics.items() if key.startswith("cost/")} == {
            f"cost/{k}": v for k, v in costs.items()
        }
        assert (data.params["entry"], data.params["model"], data.params["dataset"]) == (
            name,
            own.model,
            own.dataset,
        )
        assert {key.removeprefix("arch.") for key in data.params if key.startswith("arch.")} == set(
            own.arch
        )
        records = [
            read_record(Layout.of(tracked).run_dir(name).path / file)
            for file in ("likelihood.json", "quality.json")
        ]
        assert records[1].metrics["fid_mnist"].value == data.metrics["fid_mnist"]
        assert data.tags["likelihood"] == ("none" if name == "dcgan" else "exact")


def test_each_run_holds_its_own_curves_at_their_steps_and_times(tracked: Params) -> None:
    client = client_of(tracked)
    for number, name in enumerate(OWN, start=1):
        run = run_of(tracked, name)
        for key, values in (("loss/train", [1, 1 / 2, 1 / 3]), ("loss/valid", [2, 1, 2 / 3])):
            points = client.get_metric_history(run.info.run_id, key)
            assert [point.step for point in points] == [10, 20, 30]
            assert [point.value for point in points] == pytest.approx(
                [number + value for value in values]
            )
            assert [point.timestamp - run.info.start_time for point in points] == [500, 1000, 1500]
        assert run.info.end_time - run.info.start_time == 2000 * number
        end = round(1000 * Layout.of(tracked).run_dir(name).weights.stat().st_mtime)
        assert run.info.end_time == end
        for point in client.get_metric_history(run.info.run_id, "fid_mnist"):
            assert (point.timestamp, point.step) == (end, 0)


def test_the_hash_of_scores_is_that_of_the_entrys_own(tracked: Params) -> None:
    tags = {name: run_of(tracked, name).data.tags["score_hash"] for name in OWN}
    assert len(set(tags.values())) == len(OWN)
    assert tags == {name: read(tracked, name).tags["score_hash"] for name in OWN}


@pytest.mark.parametrize(
    ("file", "metric"),
    [
        ("likelihood.json", "nats"),
        ("likelihood.json", "bits_per_dim"),
        ("quality.json", "fid_mnist"),
    ],
)
def test_the_hash_of_scores_is_over_both_records(finished: Params, file: str, metric: str) -> None:
    before = read(finished, "made").tags["score_hash"]
    path = Layout.of(finished).run_dir("made").path / file
    record = read_record(path)
    changed = replace(record.metrics[metric], value=record.metrics[metric].value * (1 + 1e-6))
    write_record(path, replace(record, metrics={**record.metrics, metric: changed}))
    assert read(finished, "made").tags["score_hash"] != before


# --------------------------------------------------------------------- when an entry is another one


def _scored(params: Params, **fields: Any) -> None:
    path = Layout.of(params).run_dir("made").quality
    record = read_record(path)
    write_record(
        path, replace(record, metrics={"fid_mnist": replace(record.metrics["fid_mnist"], **fields)})
    )


def _record(params: Params, **fields: Any) -> None:
    path = Layout.of(params).run_dir("made").quality
    write_record(path, replace(read_record(path), **fields))


CONTENT: dict[str, Callable[[Params], None]] = {
    "a weight": lambda p: write_bytes(
        Layout.of(p).run_dir("made").weights, weights_of(p.entry("made"), 1.0)
    ),
    "a sample": lambda p: write_npz(
        Layout.of(p).run_dir("made").samples, {"images": np.zeros((120, 28, 28), np.uint8)}
    ),
    "a picture": lambda p: write_bytes(
        Layout.of(p).run_dir("made").pictures / "interpolation.png", png(np.zeros((8, 8), np.uint8))
    ),
    "one more picture": lambda p: write_bytes(
        Layout.of(p).run_dir("made").pictures / "more.png", png(np.zeros((8, 8), np.uint8))
    ),
    "a value": lambda p: _scored(p, value=12.5 * (1 + 1e-6)),
    "an error": lambda p: _scored(p, stderr=0.1),
    "a number of images": lambda p: _scored(p, n=119),
    "a kind": lambda p: _scored(p, kind="estimate"),
    "a detail": lambda p: _scored(p, detail={"reference_n": 100, "subsets": 3}),
    "a metric": lambda p: _record(p, metrics={}),
    "what is withheld": lambda p: _record(p, withheld={"kid_mnist": "too few"}),
    "what it was made from": lambda p: _record(p, made_from={"metrics": ["fid"]}),
}
"""Changes of an entry's files, each of which makes it another one."""
ENTRY: dict[str, Callable[[dict[str, Any]], None]] = {
    "seed": lambda e: e.update(seed=3),
    "arch": lambda e: e["arch"].update(hidden=[400]),
    "train": lambda e: e["train"].update(steps=21),
    "optim": lambda e: e["train"]["optim"]["loss"].update(lr=0.5),
    "sample": lambda e: e["sample"].update(steps=3),
    "score": lambda e: e["score"].update(draws=3),
}


def key_of(params: Params, name: str = "made") -> str:
    return read(params, name).key


def test_any_change_of_content_is_another_key_and_each_its_own(finished: Params) -> None:
    keys = {"": key_of(finished)}
    others = {name: key_of(finished, name) for name in OWN if name != "made"}
    for what, change in CONTENT.items():
        write_entry(finished, "made")
        (Layout.of(finished).run_dir("made").pictures / "more.png").unlink(missing_ok=True)
        assert key_of(finished) == keys[""]
        change(finished)
        keys[what] = key_of(finished)
    assert len(set(keys.values())) == len(keys), keys
    assert {name: key_of(finished, name) for name in others} == others


@pytest.mark.parametrize("setting", ENTRY)
def test_any_change_of_an_entrys_settings_is_another_key(finished: Params, setting: str) -> None:
    before = {name: key_of(finished, name) for name in OWN}
    raw = yaml.safe_load((finished.root / "params.yaml").read_text(encoding="utf-8"))
    ENTRY[setting](raw["entries"]["made"])
    (finished.root / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    after = load_params("quick", root=finished.root)
    assert {name for name in OWN if key_of(after, name) != before[name]} == {"made"}
