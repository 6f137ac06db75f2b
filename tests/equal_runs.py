"""Two projects with equal results, for tests that compare what was made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from typer.testing import CliRunner

from genbench.cli.main import app

__all__ = [
    "HISTORY",
    "KIND",
    "METADATA",
    "Change",
    "arrays",
    "call",
    "content",
    "detailed",
    "equal_runs",
    "flip",
    "metric",
    "record",
    "removed",
    "scaled",
    "tensors",
    "text",
    "write",
    "write_entry",
]


HISTORY = """\
step,seconds,images_per_second,loss/loss,loss/valid_loss
1,0.5,100,5.25,
2,1.0,101,4.125,4.5
"""


KIND = {
    "machine": "x86_64",
    "vendor": "AuthenticAMD",
    "isa": "AVX2",
    "libraries": {"torch": "2.15.0"},
    "limits": {},
}


METADATA = {
    "genbench": json.dumps(
        {"format": "genbench-1", "model": "made", "seed": 0, "arch": {"width": 8}}, sort_keys=True
    )
}


def metric(value: float, stderr: float | None = None, **detail: object) -> dict[str, Any]:
    return {
        "value": value,
        "stderr": stderr,
        "n": 100,
        "higher_is_better": False,
        "kind": None,
        "detail": detail,
    }


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_entry(folder: Path) -> None:
    """All files of an entry, with invented content."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    tensors = {
        "w1": rng.normal(size=(4, 5)).astype(np.float32),
        "b1": np.zeros(5, np.float32),
        "steps": np.arange(3),
    }
    safetensors.numpy.save_file(tensors, folder / "weights.safetensors", METADATA)
    np.savez(
        folder / "samples.npz",
        images=rng.integers(0, 256, (6, 28, 28), dtype=np.uint8),
        labels=np.arange(6) % 3,
    )
    np.savez(folder / "nats.npz", nats=rng.normal(size=9))
    (folder / "history.csv").write_text(HISTORY)
    machine = {"device": "cpu", "threads": 2, "kind": KIND}
    about = {
        "sampler": "ancestral",
        "matches_likelihood": True,
        "n": 6,
        "options": {},
        "weights": "abc",
        "sample_ms_per_image": 2.0,
    }
    write(
        folder / "sampling.json",
        {**about, "peak_memory_mb": 9.0, "precision": "float32", **machine},
    )
    scores = {"nats": metric(90.5, 0.25, draws=16), "bits_per_dim": metric(0.125, 0.01)}
    made_from = {"weights": "abc", "kind": KIND}
    write(
        folder / "likelihood.json",
        {
            "entry": "e",
            "metrics": scores,
            "withheld": {"elbo_nats": "no draws"},
            "made_from": made_from,
        },
    )
    scores = {
        "fid_mnist": metric(12.75, reference_n=10),
        "min_class_share": metric(0.0625, shares=[0.0625, 0.9375]),
        "kid_mnist": metric(-1e-4),
    }
    write(
        folder / "quality.json",
        {
            "entry": "e",
            "metrics": scores,
            "withheld": {},
            "made_from": {"samples": "def", "kind": KIND},
        },
    )
    write(
        folder / "probe.json",
        {
            "entry": "e",
            "metrics": {"copied_share": metric(0.125, 0.01, flagged=True, p=0.25)},
            "withheld": {},
            "made_from": {"weights": "abc", "samples": "def", "memorisation": True, "kind": KIND},
        },
    )
    np.savez(folder / "neighbours.npz", distance=rng.normal(size=(7, 2)))
    write(
        folder / "cost.json",
        {
            "parameters": 25,
            "steps": 2,
            "train_seconds": 1.5,
            "train_images_per_second": 9.0,
            "peak_memory_mb": 5.0,
        },
    )
    write(
        folder / "provenance.json",
        {
            "git": "1",
            "versions": {"torch": "2.15.0"},
            "hardware": "h",
            **machine,
            "precision": "float32",
            "train": {},
        },
    )
    write(
        folder / "pictures" / "pictures.json",
        [{"file": "a.png", "kind": "process", "title": "t", "caption": "c"}],
    )
    (folder / "pictures" / "a.png").write_bytes(b"\x89PNG picture")


def equal_runs(folder: Path) -> tuple[Path, Path]:
    """Two projects with equal results of two entries and a data set."""
    first, second = folder / "one", folder / "two"
    for entry in ("made", "vae"):
        write_entry(first / "runs" / "quick" / entry)
    for folder, name in (("data", "test_x"), ("features", "features")):
        (first / "runs" / "quick" / folder).mkdir()
        np.savez(
            first / "runs" / "quick" / folder / "mnist.npz", **{name: np.arange(12.0).reshape(3, 4)}
        )
    write(first / "runs" / "quick" / "fingerprints" / "made" / "train.json", {"hash": "1"})
    shutil.copytree(first, second)
    return first / "runs" / "quick", second / "runs" / "quick"


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["diff", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


Change = Callable[[Path], object]


def tensors(
    change: Callable[[dict[str, np.ndarray]], object], about: dict[str, str] | None = None
) -> Change:
    def edit(run: Path) -> None:
        path = run / "made" / "weights.safetensors"
        found = {name: array.copy() for name, array in safetensors.numpy.load_file(path).items()}
        change(found)
        safetensors.numpy.save_file(found, path, about or METADATA)

    return edit


def arrays(name: str, change: Callable[[dict[str, np.ndarray]], object]) -> Change:
    def edit(run: Path) -> None:
        found = dict(np.load(run / name))
        change(found)
        np.savez(run / name, **found)  # type: ignore[arg-type]

    return edit


def record(name: str, change: Callable[[Any], object]) -> Change:
    def edit(run: Path) -> None:
        value = json.loads((run / "made" / name).read_text())
        change(value)
        write(run / "made" / name, value)

    return edit


def text(name: str, old: str, new: str) -> Change:
    def edit(run: Path) -> None:
        before = (run / "made" / name).read_text()
        assert old in before
        (run / "made" / name).write_text(before.replace(old, new, 1))

    return edit


def flip(array: np.ndarray, place: int) -> None:
    """Turn the last bit of one number."""
    array.view(f"u{array.itemsize}").reshape(-1)[place] ^= 1


def scaled(file: str, metric_: str, key: str, factor: float) -> Change:
    """Multiply a number of a score."""
    return record(
        file, lambda r: r["metrics"][metric_].update({key: factor * r["metrics"][metric_][key]})
    )


def detailed(file: str, metric_: str, **detail: object) -> Change:
    return record(file, lambda r: r["metrics"][metric_]["detail"].update(detail))


def removed(name: str) -> Change:
    return lambda run: (run / "made" / name).unlink()


def content(name: str, data: bytes) -> Change:
    return lambda run: (run / "made" / name).write_bytes(data)
