"""A project with invented outputs of its stages, for tests of what is read and shown of results."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from genbench.base import Conditioning, Likelihood
from genbench.config.layout import Layout
from genbench.config.params import Entry, Params
from genbench.data.splits import EXCERPT
from genbench.errors import UserError
from genbench.files import write_bytes, write_json, write_npz, write_text
from genbench.hardware.compute import Compute
from genbench.report.rows import leaderboard
from genbench.results import entry as reading
from genbench.scoring.records import Metric, Record, write_record
from pipelines import report
from tests.params_factory import protocol
from tests.toys import weights_of

__all__ = ["LEVELS", "MODELS", "Bench", "everything", "fake_class", "row"]


MODELS = {
    "alpha": (Likelihood.EXACT, "autoregressive", False),
    "beta": (Likelihood.LOWER_BOUND, "variational", False),
    "gamma": (Likelihood.NONE, "adversarial", False),
    "delta": (Likelihood.ESTIMATE, "energy", False),
    "floor": (Likelihood.NONE, "control", True),
    "ceiling": (Likelihood.EXACT, "control", True),
}


LEVELS = {"mnist": 256, "binary_mnist": 2}


def fake_class(name: str) -> SimpleNamespace:
    if name not in MODELS:
        raise UserError(f"{name!r} is no model")
    kind, family, control = MODELS[name]
    return SimpleNamespace(
        likelihood=kind, family=family, control=control, conditioning=Conditioning.OPTIONAL
    )


class Bench:
    """A project with invented outputs of its stages."""

    def __init__(self, root: Path) -> None:
        entries: dict[str, Entry] = {}
        scoring = protocol(
            samples=100, sample_chunk=50, images={1: 100, 10: 10, 200: 10}, references=100
        )
        datasets = ("mnist", "binary_mnist")
        self.params = Params(root, "quick", entries, datasets, ("fid",), scoring, Compute())
        self.entries = entries

    def declare(
        self, name: str, model: str, dataset: str = "mnist", seed: int = 0, **arch: object
    ) -> Path:
        self.entries[name] = Entry(name, model, dataset, seed, arch, {"steps": 10}, {}, {})
        return Layout.of(self.params).run_dir(name).path

    def add(
        self,
        name: str,
        model: str,
        *,
        bits: float | None = None,
        nats: np.ndarray | None = None,
        fid: float = 5.0,
        fid_error: float | None = None,
        dataset: str = "mnist",
        **entry: object,
    ) -> Path:
        """Declare an entry and write all of its outputs; ``nats`` are those of the test images."""
        if nats is not None:
            bits = float(nats.mean()) / (784 * math.log(2))
        run = self.declare(name, model, dataset, **entry)  # type: ignore[arg-type]
        write_bytes(run / "weights.safetensors", weights_of(self.entries[name]))
        steps = "".join(
            f"{s},{s / 10},1000,{5.0 / (s + 1)},0.001,1,{6.0 / (s + 1) if s % 2 else ''}\n"
            for s in range(10)
        )
        heads = "step,seconds,images_per_second,loss/loss,loss/lr,loss/grad_norm,loss/valid_loss\n"
        write_text(run / "history.csv", heads + ("" if MODELS[model][2] else steps))
        cost = {
            "parameters": 1234,
            "train_seconds": 12.5,
            "train_images_per_second": 800.0,
            "peak_memory_mb": 300.0,
            "steps": 10,
        }
        write_json(run / "cost.json", cost)
        versions = {"python": "3.12", "torch": "2.9", "genbench": "0.1"}
        provenance = {
            "git": "abcdef0123",
            "versions": versions,
            "hardware": "a machine",
            "threads": 2,
            "device": "cpu",
            "precision": "float32",
            "train": {"steps": 10},
        }
        write_json(run / "provenance.json", provenance)
        images = np.random.default_rng(0).integers(
            0, LEVELS[dataset], (100, 28, 28), dtype=np.uint8
        )
        labels = (
            {"labels": np.arange(100, dtype=np.int64) % 10}
            if self.entries[name].arch.get("conditional")
            else {}
        )
        write_npz(run / "samples.npz", {"images": images, **labels})
        matches = None if MODELS[model][0] is Likelihood.NONE else True
        self.sampling(name, matches=matches)
        write_json(run / "pictures" / "pictures.json", [])
        kind = MODELS[model][0].value
        scores = {} if bits is None else {
            "bits_per_dim": Metric(bits, 0.01, 100, False, kind, {"draws": 1}),
            "nats": Metric(bits * 784 * math.log(2), 5.0, 100, False, kind),
        }  # fmt: skip
        write_record(run / "likelihood.json", Record(name, scores))
        if nats is not None:
            write_npz(run / "nats.npz", {"index": np.arange(len(nats)), "nats": nats})
        write_record(
            run / "quality.json",
            Record(
                name,
                {
                    "fid_mnist": Metric(fid, fid_error, 100, False, detail={"reference_n": 100}),
                    "is_mnist": Metric(9.0, 0.1, 100, True),
                },
            ),
        )
        write_record(run / "probe.json", Record(name, {}))
        write_npz(run / "neighbours.npz", {})
        return run

    def sampling(self, name: str, *, matches: bool | None, sampler: str = "ancestral") -> None:
        info = {
            "sampler": sampler,
            "options": {},
            "matches_likelihood": matches,
            "n": 100,
            "sample_ms_per_image": 2.0,
            "peak_memory_mb": 9.0,
            "device": "cpu",
        }
        write_json(Layout.of(self.params).run_dir(name).sampling, info)

    def data(self, dataset: str) -> None:
        rng = np.random.default_rng(1)
        arrays = dict(EXCERPT)
        for split in ("train", "valid", "test"):
            arrays[f"{split}_x"] = rng.integers(0, LEVELS[dataset], (200, 28, 28), dtype=np.uint8)
            if dataset == "mnist":
                arrays[f"{split}_y"] = (np.arange(200) % 10).astype(np.uint8)
        write_npz(Layout.of(self.params).data(dataset), arrays)

    def fail(self, name: str, stage: str, error: str) -> None:
        status = {
            "stage": stage,
            "entry": name,
            "error": error,
            "type": "UserError",
            "time": "2026-01-01T00:00:00",
            "log": "Traceback (most recent call last):",
        }
        write_json(Layout.of(self.params).status(name, stage), status)

    def board(self) -> dict:
        """The leaderboard's content alone, which needs no drawing."""
        return leaderboard(self.params, reading.read_entries(self.params))

    def write(self) -> dict:
        """The stage."""
        report.run(self.params)
        return json.loads(Layout.of(self.params).report.leaderboard.read_text())

    def page(self) -> str:
        return Layout.of(self.params).report.page.read_text()


def row(board: dict, entry: str) -> dict:
    return next(r for r in board["rows"] if r["entry"] == entry)


def everything(bench: Bench) -> Bench:
    bench.add("alpha", "alpha", bits=1.2)
    bench.add("alpha-s1", "alpha", bits=1.3, seed=1)
    run = bench.add("beta_cond", "beta", bits=1.25, conditional=True)
    image = io.BytesIO()
    Image.new("L", (8, 8)).save(image, "PNG")
    write_bytes(run / "pictures" / "walk.png", image.getvalue())
    picture = {
        "file": "walk.png",
        "kind": "interpolation",
        "title": "A <walk>",
        "caption": "from a to b",
    }
    write_json(run / "pictures" / "pictures.json", [picture])
    bench.add("delta", "delta", bits=1.0)
    bench.add("gamma", "gamma", fid=3.0)
    bench.add("floor", "floor", fid=0.5)
    bench.add("ceiling", "ceiling", bits=1.7, fid=300.0)
    bench.add("binary-alpha", "alpha", bits=0.2, dataset="binary_mnist")
    bench.declare("gone", "gamma", x=1)
    bench.fail("gone", "train", '</pre><script>alert(1)</script> & "quotes"')
    for dataset in LEVELS:
        bench.data(dataset)
    return bench
