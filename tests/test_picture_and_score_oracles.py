"""What is made from samples and weights, beside direct calls: reference features, sample scores,
pictures.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.data.splits import Dataset
from genbench.files import read_npz
from genbench.pictures import (
    classes,
    completion,
    grids,
    interpolation,
    reconstruction,
    sampling_process,
    traversal,
)
from genbench.pictures.terms import term_chart
from genbench.pipeline.stage_runner import call_stage
from genbench.scoring.features import load_net
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.records import LEFT_OUT
from genbench.scoring.sample_scores import metric
from pipelines import score_samples
from tests import by_hand
from tests.small_project import ENTRIES, METRICS, SPECS, cut, trained


@pytest.fixture
def datasets(mnist: Dataset, binary_mnist: Dataset) -> dict[str, Dataset]:
    """The splits that the project has, by data set."""
    return {part.name: cut(part) for part in (mnist, binary_mnist)}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------------- features and sample scores


@pytest.mark.parametrize("dataset", SPECS)
def test_reference_features_are_those_of_evenly_spread_test_images(
    finished: Params, datasets: dict[str, Dataset], dataset: str
) -> None:
    x = datasets[dataset].test_x[by_hand.spread(610, 77)].float() / (SPECS[dataset].levels - 1)
    features, logits = load_net()(x)
    written = read_npz(Layout.of(finished).features(dataset))
    assert np.allclose(written["features"], features, atol=1e-4)
    assert np.allclose(written["logits"], logits, atol=1e-3)
    seen = datasets[dataset].train_x[by_hand.spread(320, 77)].float() / (SPECS[dataset].levels - 1)
    assert np.allclose(written["train_features"], load_net()(seen)[0], atol=1e-4)
    for name, labels, size in (
        ("labels", datasets[dataset].test_y, 610),
        ("train_labels", datasets[dataset].train_y, 320),
    ):
        assert (name in written) == (labels is not None)
        if labels is not None:
            assert np.array_equal(written[name], labels[by_hand.spread(size, 77)])
    assert features.std() > 0.1


def test_entries_of_a_data_set_are_compared_on_the_same_random_subsets(
    finished: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: dict[str, int] = {}
    monkeypatch.setattr(score_samples, "write_record", lambda path, record: None)
    for name in ("cvae", "ddpm", "made", "rbm"):
        monkeypatch.setattr(
            score_samples,
            "score",
            lambda *sets, seed, name=name: seeds.update({name: seed}) or ({}, {}),
        )
        call_stage("score_samples", finished, name)
    assert seeds == {name: by_hand.seed("metrics", ENTRIES[name].dataset) for name in seeds}
    assert len(seeds) == 4


@pytest.mark.parametrize("name", ["made", "cvae"])
def test_sample_scores_are_those_of_the_written_samples(finished: Params, name: str) -> None:
    entry = ENTRIES[name]
    samples, reference = (
        read_npz(Layout.of(finished).run_dir(name).samples),
        read_npz(Layout.of(finished).features(entry.dataset)),
    )
    x = torch.from_numpy(samples["images"])[:, None].float() / (SPECS[entry.dataset].levels - 1)
    labels = torch.from_numpy(samples["labels"]) if "labels" in samples else None
    generated = FeatureSet("mnist", *load_net()(x), labels)
    real = FeatureSet(
        "mnist", *(torch.from_numpy(reference[key]) for key in ("features", "logits"))
    )
    seed = by_hand.seed("metrics", entry.dataset)
    expected = {
        key: m
        for family in METRICS
        for key, m in metric(family)(generated, real, seed=seed).items()
    }
    record = read(Layout.of(finished).run_dir(name).quality)
    assert record["entry"] == name
    assert record["withheld"] == {}
    assert record["metrics"].keys() == expected.keys()
    assert ("label_fidelity" in expected) == (name == "cvae")
    for key, value in expected.items():
        assert record["metrics"][key]["value"] == pytest.approx(value.value, rel=1e-4, abs=1e-6), (
            key
        )
        assert record["metrics"][key]["n"] == 23
        detail = dict(record["metrics"][key]["detail"])
        assert detail.keys() == value.detail.keys()
        assert detail.pop(LEFT_OUT, []) == pytest.approx(
            value.detail.get(LEFT_OUT, []), rel=1e-3, abs=1e-6
        )
        assert {k: v for k, v in detail.items() if k != "shares"} == {
            k: v for k, v in value.detail.items() if k not in ("shares", LEFT_OUT)
        }
    other = metric("kid")(generated, real, seed=seed + 1)["kid_mnist"].value
    assert record["metrics"]["kid_mnist"]["value"] != pytest.approx(other, rel=1e-4), (
        "subsets are drawn with the data set's seed"
    )
    made_from = {
        "samples": hashlib.sha256(
            Layout.of(finished).run_dir(name).samples.read_bytes()
        ).hexdigest(),
        "metrics": list(METRICS),
    }
    assert record["made_from"].items() >= made_from.items()


# ---------------------------------------------------------------------- pictures


def pictures(finished: Params, name: str, data: Dataset) -> dict[str, bytes]:
    """The pictures of an entry, each by its own call with its own generator."""
    model, entry = trained(finished, name), ENTRIES[name]
    x, y = data.test_x, data.test_y
    noise = functools.partial(by_hand.rng, "visuals", name, entry.seed)
    if name == "made":
        return {
            "process.gif": grids.gif(sampling_process.process(model, rng=noise("process"))),
            "process.png": grids.png(sampling_process.strip(model, rng=noise("strip"))),
            "completion.png": grids.png(
                completion.completions(model, x, y, rng=noise("completion"))
            ),
        }
    found = {
        "interpolation.png": grids.png(
            interpolation.interpolation(model, rng=noise("interpolation"))
        ),
        "interpolation-images.png": grids.png(
            interpolation.interpolation(
                model, x, y, rng=noise("interpolation-images"), mode="images"
            )
        ),
        "reconstruction.png": grids.png(
            reconstruction.reconstructions(model, x, y, rng=noise("reconstruction"))
        ),
        "classes.png": grids.png(classes.classes(model, rng=noise("classes"))),
    }
    if name == "cvae":
        return found | {
            "traversal.png": grids.png(traversal.traversal(model, rng=noise("traversal")))
        }
    assert y is not None
    chosen = torch.tensor([int((y == label).nonzero()[0]) for label in range(10)])
    terms = model.bound_terms(x[chosen], y[chosen], rng=noise("terms"))
    return found | {
        "process.gif": grids.gif(
            sampling_process.process(model, rng=noise("process"), sampler=entry.sample)
        ),
        "process.png": grids.png(
            sampling_process.strip(model, rng=noise("strip"), sampler=entry.sample)
        ),
        "terms.png": term_chart(terms.numpy()),
    }


@pytest.mark.parametrize("name", ["made", "cvae", "ddpm"])
def test_pictures_are_of_the_test_images_each_with_its_own_randomness(
    finished: Params, datasets: dict[str, Dataset], name: str
) -> None:
    expected = pictures(finished, name, datasets[ENTRIES[name].dataset])
    folder = Layout.of(finished).run_dir(name).pictures
    assert {path.name for path in folder.iterdir()} == {*expected, "pictures.json"}
    assert sorted(picture["file"] for picture in read(folder / "pictures.json")) == sorted(expected)
    for file, content in expected.items():
        assert (folder / file).read_bytes() == content, file


def test_models_without_capabilities_have_no_pictures(finished: Params) -> None:
    assert read(Layout.of(finished).run_dir("copy").pictures / "pictures.json") == []
