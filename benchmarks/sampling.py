"""Cached sampling of the autoregressive models against the naive loop, with the same weights.

The peak memory is that of a fresh process that draws ``MEMORY_IMAGES`` images, in several blocks.
The naive loop runs the whole network once per pixel, so its time is taken as 784 times one timed
full pass over the same images. Writes benchmarks/results/sampling.json.

    python -m benchmarks.sampling [--n 256] [--repeats 3] [--models 'pixel_transformer*']

With ``--models`` the others' results of an earlier run are kept.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatch
from typing import Any

import torch

from benchmarks.common import RESULTS, median, publish
from genbench.base import GenerativeModel
from genbench.config.load import load_params
from genbench.data.datasets import spec_of
from genbench.families.autoregressive import Autoregressive
from genbench.files import read_json
from genbench.hardware.compute import Compute
from genbench.hardware.device import peak_memory_mb, setup
from genbench.registry import model_class

LARGE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "made, one layer": ("made", "binary_mnist", {"hidden": [2048]}),
    "made, two layers": ("made", "binary_mnist", {"hidden": [2400, 2400]}),
    "gated_pixel_cnn, large": (
        "gated_pixel_cnn",
        "binary_mnist",
        {"channels": 80, "layers": 10, "hidden": 128},
    ),
    "wavenet, large": ("wavenet", "binary_mnist", {"channels": 128, "skip": 192}),
    "pixel_transformer, deep": (
        "pixel_transformer",
        "binary_mnist",
        {"width": 128, "layers": 6, "heads": 4},
    ),
    "pixel_transformer, wide": (
        "pixel_transformer",
        "binary_mnist",
        {"width": 192, "layers": 3, "heads": 6},
    ),
    "row_lstm, large": ("row_lstm", "binary_mnist", {"hidden": 64, "layers": 4}),
    "lstm, large": ("lstm", "binary_mnist", {"hidden": 320, "layers": 2, "window": 3}),
    "pixel_cnn, large": (
        "pixel_cnn",
        "binary_mnist",
        {"channels": 64, "blocks": 10, "hidden": 128},
    ),
}


MEMORY_IMAGES = 1_200


def _peak_memory(model: str, dataset: str, arch: dict[str, Any], compute: Compute) -> float:
    setup(compute)
    drawn = model_class(model)(spec_of(dataset), **arch).eval()
    drawn.sample(MEMORY_IMAGES, _labels(drawn, MEMORY_IMAGES), rng=torch.Generator().manual_seed(0))
    return peak_memory_mb(torch.device("cpu"))


def _labels(model: GenerativeModel, n: int) -> torch.Tensor | None:
    return torch.arange(n) % model.spec.classes if model.conditional else None


@torch.no_grad()
def speedup(model: Autoregressive, n: int, repeats: int = 3) -> dict[str, float]:
    """Seconds of n samples, cached and naive, and their ratio."""
    rng = torch.Generator().manual_seed(0)
    model.eval()
    y = _labels(model, n)
    x = model.sample(n, y, rng=rng)
    model.logits(x, y)
    cached, full = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        model.sample(n, y, rng=rng)
        cached.append(time.perf_counter() - start)
        start = time.perf_counter()
        model.logits(x, y)
        full.append(time.perf_counter() - start)
    naive = model.spec.dims * median(full)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "n": n,
        "cached_sec": median(cached),
        "full_pass_sec": median(full),
        "naive_sec": naive,
        "ratio": naive / median(cached),
        "ms_per_image": 1000 * median(cached) / n,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", default="*")
    options = parser.parse_args(arguments)
    params = load_params("quick")
    setup(params.compute)
    work: dict[str, tuple[str, str, dict[str, Any]]] = {
        f"{e.name} (quick)": (e.model, e.dataset, dict(e.arch)) for e in params.entries.values()
    } | LARGE
    path = RESULTS / "sampling.json"
    kept = read_json(path)["results"] if options.models != "*" and path.is_file() else {}
    results = {name: result for name, result in kept.items() if name in work}
    for name, (model, dataset, arch) in work.items():
        cls = model_class(model)
        if issubclass(cls, Autoregressive) and fnmatch(name, options.models):
            torch.manual_seed(0)
            results[name] = speedup(cls(spec_of(dataset), **arch), options.n, options.repeats)
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
                results[name]["peak_memory_mb"] = fresh.submit(
                    _peak_memory, model, dataset, arch, params.compute
                ).result()
            print(name, results[name], flush=True)
    rows = [
        [
            name,
            f"{r['parameters'] / 1e6:.2f} M",
            r["cached_sec"],
            r["naive_sec"],
            f"{r['ratio']:.0f}",
            f"{r['peak_memory_mb']:.0f}",
        ]
        for name, r in results.items()
    ]
    publish(
        "sampling",
        ["model", "parameters", f"cached s ({options.n} images)", "naive s", "ratio", "MB"],
        rows,
        {"results": results},
    )


if __name__ == "__main__":
    main()
