"""Which stages of which entries an edit of params.yaml concerns."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from genbench.config.params import Entry, Params
from genbench.config.profile import Profile
from genbench.config.stage_params import THREADS, entry_params, shared_params
from genbench.config.stages import ENTRY_STAGES, STAGES
from genbench.hardware.compute import Compute
from tests.params_factory import likelihood_images, protocol

IMAGES = {1: 4, 10: 2, 200: 1}
PARAMS = Params(
    root=Path(),
    profile="quick",
    entries={},
    datasets=("mnist",),
    metrics=("fid",),
    protocol=protocol(samples=4, sample_chunk=2, images=IMAGES, references=8),
    compute=Compute(),
)
ENTRY = Entry(
    "made", "made", "mnist", 0, {"width": 1}, {"steps": 1}, {"temperature": 1.0}, {"draws": 1}
)


def _concerned(params: Params = PARAMS, entry: Entry = ENTRY) -> set[str]:
    return {
        stage
        for stage in ENTRY_STAGES
        if entry_params(params, stage, entry) != entry_params(PARAMS, stage, ENTRY)
    }


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"arch": {"width": 2}}, {"train"}),
        ({"train": {"steps": 2}}, {"train", "probe"}),
        ({"sample": {}}, {"sample", "pictures"}),
        ({"score": {"draws": 2}}, {"score_likelihood", "probe"}),
        ({"seed": 1}, set(ENTRY_STAGES) - {"score_samples"}),
        ({"model": "vae"}, set(ENTRY_STAGES) - {"score_samples"}),
        ({"dataset": "binary_mnist"}, set(ENTRY_STAGES)),
    ],
)
def test_edit_of_an_entry_concerns_the_stages_that_read_it(
    change: dict[str, Any], stages: set[str]
) -> None:
    assert _concerned(entry=replace(ENTRY, **change)) == stages


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"samples": 5}, {"sample"}),
        ({"sample_chunk": 3}, {"sample"}),
        (likelihood_images(IMAGES | {1: 3}), {"score_likelihood", "probe"}),
        (likelihood_images(IMAGES | {10: 1}), {"score_likelihood", "probe"}),
        (likelihood_images({1: 4, 9: 2, 200: 1}), {"score_likelihood", "probe"}),
        (likelihood_images(IMAGES | {200: 2}), {"score_likelihood", "probe"}),
        (likelihood_images({1: 4, 10: 2, 100: 1}), {"score_likelihood", "probe"}),
        ({"feature_reference_images": 9}, set()),
    ],
)
def test_edit_of_the_protocol_concerns_the_stages_that_read_it(
    change: dict[str, Any], stages: set[str]
) -> None:
    params = replace(PARAMS, protocol=replace(PARAMS.protocol, **change))
    assert _concerned(params) == stages
    concerns_features = shared_params(params, "features") != shared_params(PARAMS, "features")
    assert concerns_features == ("feature_reference_images" in change)


def test_memorisation_concerns_the_probe_alone() -> None:
    given = {field.name: getattr(PARAMS, field.name) for field in fields(PARAMS)}
    whole, asking = Profile(**given), Profile(**given, memorisation="controls")
    assert _concerned(whole) == set()
    assert _concerned(asking) == {"probe"}


def test_metrics_concern_the_sample_scores_alone() -> None:
    assert _concerned(replace(PARAMS, metrics=("fid", "kid"))) == {"score_samples"}


def test_threads_of_the_cpu_concern_what_computes_and_other_hardware_nothing() -> None:
    threads, compute = PARAMS.compute.threads, {name for name in STAGES if STAGES[name].computes}
    more = replace(PARAMS, compute=Compute("cpu", threads + 1))
    assert _concerned(more) == compute - {"features"}
    assert shared_params(more, "features") != shared_params(PARAMS, "features")
    assert shared_params(more, "prepare") == shared_params(PARAMS, "prepare")
    assert _concerned(replace(PARAMS, compute=Compute("cpu", threads, "avx2"))) == set()
    on_cuda = [replace(PARAMS, compute=Compute("cuda", count)) for count in (1, 8)]
    assert shared_params(on_cuda[0], "features") == shared_params(on_cuda[1], "features")
    assert THREADS not in shared_params(on_cuda[0], "features")
