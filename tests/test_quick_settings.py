"""Networks of `quick` through their stages, trained for some steps, in whatever precision this
processor gives them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.data.splits import load_split
from genbench.files import read_npz
from genbench.hardware.precision import resolve
from genbench.pipeline.stage_runner import call_stage
from genbench.weights import load
from tests.params_factory import written_entry, written_protocol

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = ("lstm", "gated_pixel_cnn", "ddpm")
"""What a processor may lack an operation for, a convolutional network, and one that is also sampled
in a precision of its own.
"""

pytestmark = pytest.mark.processor


@pytest.fixture
def shortened(project: Path) -> Params:
    """The small project with these entries as they are in `quick`, but for the number of steps, the
    precision and the sampler of diffusion.
    """
    path = project / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    quick = load_params("quick", root=ROOT)
    raw["entries"] = {name: written_entry(quick.entry(name)) for name in ENTRIES}
    for entry in raw["entries"].values():
        entry["train"] |= {"steps": 3, "validations": 1, "validate_images": 4}
        entry["train"]["arithmetic"] = {"cpu": {"precision": "auto", "channels_last": True}}
    raw["entries"]["ddpm"]["sample"] = {"ddim_steps": 20, "precision": "auto"}
    images = {1: 4, 10: 4, 200: 2}
    raw["protocol"] = written_protocol(samples=4, sample_chunk=4, images=images, references=100)
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return load_params("quick", root=project)


def test_the_stages_run_and_record_the_precision(shortened: Params) -> None:
    call_stage("fingerprints", shortened)
    call_stage("features", shortened, "mnist")
    auto = resolve("auto", "cpu")
    for name in ENTRIES:
        for stage in ("train", "sample", "pictures", "score_likelihood", "score_samples"):
            call_stage(stage, shortened, name)
        folder = Layout.of(shortened).run_dir(name).path
        made, drawn = (
            json.loads((folder / file).read_text()) for file in ("provenance.json", "sampling.json")
        )
        assert made["precision"] == auto, name
        assert drawn["precision"] == (auto if name == "ddpm" else "float32")
        assert (
            made["kind"]
            == drawn["kind"]
            == json.loads((folder / "likelihood.json").read_text())["made_from"]["kind"]
        )
    assert json.loads(Layout.of(shortened).run_dir("ddpm").sampling.read_text())["sampler"] == (
        "ddim-20 (precision=bfloat16)" if auto == "bfloat16" else "ddim-20"
    )
    # Scores are in float32 whatever the training was: those of an exact model are what the model
    # gives when it is called.
    model = load(Layout.of(shortened).run_dir("lstm").path)
    x, _ = load_split(Layout.of(shortened).data("mnist"), "mnist", "test")
    nats = read_npz(Layout.of(shortened).run_dir("lstm").nats)["nats"]
    chosen = x[torch.from_numpy(np.linspace(0, len(x), len(nats), endpoint=False).astype(int))]
    expected = -model.log_likelihood(chosen, rng=torch.Generator().manual_seed(0))
    assert np.allclose(nats, expected.detach().numpy(), rtol=1e-6)
