"""The committed comparisons of settings and speeds are of the settings that are in use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.common import RESULTS
from benchmarks.settings import alike
from genbench.base import DataSpec
from genbench.config.load import load_params
from genbench.files import read_json
from genbench.models.real_nvp import RealNVP
from genbench.pipeline.estimate import REFERENCE
from genbench.pipeline.pending import whole
from tests.golden import settings
from tests.params_factory import written_entry
from tests.test_bijections import assert_leads_back

ROOT = Path(__file__).resolve().parents[2]


def test_the_marked_settings_are_those_in_use() -> None:
    in_use = {name: written_entry(e) for name, e in load_params("quick").entries.items()}
    for name, rows in read_json(RESULTS / "settings.json")["candidates"].items():
        assert [row["chosen"] for row in rows] == [
            alike(row["settings"], in_use[name]) for row in rows
        ], name
        assert any(row["chosen"] for row in rows), (
            f"{name}: no candidate has its settings; python -m benchmarks.settings {name}"
        )
        assert all({"arch", "train"} <= set(row["settings"]) for row in rows)


def test_all_that_full_trains_has_been_tried() -> None:
    """It runs nowhere else than on a GPU; that its models train at all is seen by some steps on a
    CPU.
    """
    trained = {name for name, entry in load_params("full").entries.items() if entry.train}
    assert set(read_json(RESULTS / "full_steps.json")["results"]) == trained


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_the_profiles_leave_the_precision_to_the_device(profile: str) -> None:
    params = load_params(profile, root=ROOT)
    for entry in params.entries.values():
        found = [block.get("precision") for block in entry.train.get("arithmetic", {}).values()] + [
            entry.sample.get("precision")
        ]
        assert "bfloat16" not in found, entry.name


def test_the_flow_of_quick_leads_back_in_float32() -> None:
    torch.manual_seed(0)
    arch = load_params("quick").entry("real_nvp").arch
    assert_leads_back(RealNVP(DataSpec(28, 28, 256), **arch))


def test_the_committed_costs_are_of_whole_profiles() -> None:
    costs = json.loads((ROOT / REFERENCE).read_text())["profiles"]
    for profile in ("quick", "smoke"):
        params = load_params(profile, root=ROOT)
        assert "float32" in costs[profile], (
            "which processors without bfloat16 need, and those with it can do with"
        )
        for precision, found in costs[profile].items():
            missing = {f"{stage}@{key}" for stage, key in whole(params)} - found["seconds"].keys()
            assert missing == set(), f"{profile} in {precision}: python -m benchmarks.costs"
            assert set(found["speeds"][precision]) == {"convolution", "matrix_product"}


def test_the_golden_hashes_are_of_smoke_as_it_is() -> None:
    golden = json.loads((ROOT / "tests" / "golden.json").read_text())
    assert settings() == golden["settings"], "python -m tests.golden > tests/golden.json"
    assert golden["entries"].keys() == golden["settings"]["entries"].keys()
