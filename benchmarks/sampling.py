"""Cached sampling of the autoregressive models against the naive loop, with the same weights.

The naive loop runs the whole network once per pixel, so its time is taken as 784 times one timed full pass over the same images.
Writes benchmarks/results/sampling.json.

    python -m benchmarks.sampling [--n 256] [--repeats 3]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch

from benchmarks.common import median, publish
from genbench.data import SPECS
from genbench.device import setup
from genbench.families.autoregressive import Autoregressive
from genbench.params import load_params
from genbench.registry import model_class

LARGE = {
    "made, 3.4 M": ("made", "binary_mnist", {"hidden": [2048]}),
    "made, 9.7 M": ("made", "binary_mnist", {"hidden": [2400, 2400]}),
    "gated_pixel_cnn, 1.4 M": ("gated_pixel_cnn", "binary_mnist", {"channels": 80, "layers": 10, "hidden": 128}),
    "wavenet, 1.1 M": ("wavenet", "binary_mnist", {"channels": 128, "skip": 192}),
    "pixel_transformer, 1.1 M": ("pixel_transformer", "binary_mnist", {"width": 128, "layers": 6, "heads": 4}),
    "row_lstm, 0.5 M": ("row_lstm", "binary_mnist", {"hidden": 64, "layers": 4}),
    "lstm, 1.0 M": ("lstm", "binary_mnist", {"hidden": 320, "layers": 2, "window": 3}),
    "pixel_cnn, 0.5 M": ("pixel_cnn", "binary_mnist", {"channels": 64, "blocks": 10, "hidden": 128}),
}


@torch.no_grad()
def speedup(model: Autoregressive, n: int, repeats: int = 3) -> dict[str, float]:
    """Seconds of n samples, cached and naive, and their ratio."""
    rng = torch.Generator().manual_seed(0)
    model.eval()
    y = torch.arange(n) % model.spec.classes if model.conditional else None
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    params = load_params("quick")
    setup(params.compute)
    work = {f"{e.name} (quick)": (e.model, e.dataset, dict(e.arch)) for e in params.entries.values()} | LARGE
    results = {}
    for name, (model, dataset, arch) in work.items():
        cls = model_class(model)
        if issubclass(cls, Autoregressive):
            torch.manual_seed(0)
            results[name] = speedup(cls(SPECS[dataset], **arch), options.n, options.repeats)
    rows = [[name, f"{r['parameters'] / 1e6:.2f} M", r["cached_sec"], r["naive_sec"], f"{r['ratio']:.0f}"] for name, r in results.items()]
    publish("sampling", ["model", "parameters", f"cached s ({options.n} images)", "naive s", "ratio"], rows, {"results": results})


if __name__ == "__main__":
    main()
