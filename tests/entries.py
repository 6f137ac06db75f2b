"""A project whose entries are finished, with invented outputs of every stage: for what reads
them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.files import write_bytes, write_json, write_npz, write_text
from genbench.pictures.grids import grid, png
from genbench.scoring.records import Metric, Record, write_record
from tests.params_factory import dump, written_protocol
from tests.toys import weights_of

__all__ = ["finished_project", "write_entry"]

ENTRIES = {
    "made": {
        "model": "made",
        "dataset": "mnist",
        "arch": {"hidden": [500, 500], "head": "categorical"},
    },
    "dcgan": {"model": "dcgan", "dataset": "mnist", "arch": {"latent": 64}},
    "binary-made": {"model": "made", "dataset": "binary_mnist", "arch": {"hidden": [500]}},
    "vae": {"model": "vae", "dataset": "mnist", "arch": {}},
}
OPTIM = {"loss": {"lr": 1.0e-3, "betas": [0.9, 0.99], "clip": None}}
HISTORY = """step,seconds,images_per_second,loss/loss,loss/lr,loss/grad_norm,loss/valid_loss
10,0.5,2000,600.5,0.001,3.5,
20,1.0,2000,500.25,0.0005,nan,510.75
"""


def write_entry(params: Params, name: str, *, nats: float = 400.0, seconds: float = 1.0) -> None:
    """The files of a finished entry."""
    entry, folder = params.entry(name), Layout.of(params).run_dir(name).path
    levels = 2 if entry.dataset == "binary_mnist" else 256
    images = np.random.default_rng(0).integers(0, levels, (120, 28, 28), dtype=np.uint8)
    write_bytes(folder / "weights.safetensors", weights_of(entry))
    write_text(folder / "history.csv", HISTORY)
    cost = {
        "parameters": 1000,
        "train_seconds": seconds,
        "train_images_per_second": 2000.0 / seconds,
        "peak_memory_mb": 300.0,
        "steps": 20,
    }
    write_json(folder / "cost.json", cost)
    versions = {"python": "3.11", "torch": "2", "genbench": "0.1.0"}
    provenance = {
        "git": "0123abc",
        "versions": versions,
        "hardware": "a processor",
        "threads": 2,
        "device": "cpu",
        "precision": "float32",
        "kind": {
            "machine": "x86_64",
            "vendor": "GenuineIntel",
            "isa": "AVX2",
            "libraries": {},
            "limits": {},
        },
        "train": dict(entry.train),
    }
    write_json(folder / "provenance.json", provenance)
    write_npz(folder / "samples.npz", {"images": images})
    matches = None if entry.model == "dcgan" else True
    cost = {"n": 120, "sample_ms_per_image": 2.5, "peak_memory_mb": 300.0, "device": "cpu"}
    write_json(
        folder / "sampling.json",
        {"sampler": "ancestral", "matches_likelihood": matches, "options": {}, **cost},
    )
    scores = {
        "nats": Metric(nats, 0.5, 100, False, "exact"),
        "bits_per_dim": Metric(nats / 543.43, 0.01, 100, False, "exact"),
    }
    likelihood = {} if matches is None else scores
    write_record(
        folder / "likelihood.json",
        Record(
            name, likelihood, {} if matches else {"bayes_accuracy": "the model is unconditional"}
        ),
    )
    write_record(
        folder / "quality.json",
        Record(name, {"fid_mnist": Metric(12.5, None, 120, False, detail={"reference_n": 100})}),
    )
    write_record(folder / "probe.json", Record(name, {}))
    write_npz(folder / "neighbours.npz", {})
    shown = [
        {
            "file": "interpolation.png",
            "kind": "interpolation",
            "title": "Interpolation",
            "caption": "A line in latent space.",
        }
    ]
    write_json(folder / "pictures" / "pictures.json", shown)
    write_bytes(folder / "pictures" / "interpolation.png", png(grid(images[:10], levels=levels)))


def finished_project(
    root: Path, names: Collection[str] = tuple(ENTRIES), **more: Mapping[str, Any]
) -> Params:
    """A project in ``root`` with these of :data:`ENTRIES`, and with ``more`` entries of any model,
    all finished.
    """
    common = {"seed": 0, "train": {"steps": 20, "optim": OPTIM}, "sample": {}, "score": {}}
    entries = {
        name: {**common, **block}
        for name, block in {**{name: ENTRIES[name] for name in names}, **more}.items()
    }
    raw = {
        "root": ".",
        "profile": "quick",
        "params_file": "params.yaml",
        "datasets": ["mnist", "binary_mnist"],
        "metrics": ["fid"],
        "protocol": written_protocol(
            samples=120, sample_chunk=60, images={1: 100, 10: 10, 200: 10}, references=100
        ),
        "compute": {},
        "defaults": {},
        "entries": entries,
    }
    (root / "profiles").mkdir()
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "params.yaml").write_text(dump(raw))
    params = load_params("quick", root=root)
    for name in entries:
        write_entry(params, name)
    return params
