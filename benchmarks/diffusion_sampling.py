"""Milliseconds per image of the samplers of diffusion and flow matching, by number of steps, in bfloat16 and in float32.

Untrained weights: the time does not depend on them. Each figure is the best of several rounds that take turns. Writes
benchmarks/results/diffusion_sampling.json.

    python -m benchmarks.diffusion_sampling [--images 100] [--repeats 3]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from benchmarks.common import interleaved, publish
from genbench import device
from genbench.base import GenerativeModel
from genbench.data import SPECS
from genbench.params import load_params
from genbench.registry import build

SAMPLERS: dict[str, Callable[[int], dict[str, Any]]] = {
    "ddpm": lambda steps: {"ddim_steps": steps},
    "flow_matching": lambda steps: {"solver": "midpoint", "ode_steps": steps},
}
STEPS = (5, 10, 20, 50)


def draw(model: GenerativeModel, images: int, options: dict[str, Any]) -> Tensor:
    """Images of a sampler, seeded."""
    return model.sample(images, rng=Generator().manual_seed(0), **options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    params = load_params("quick")
    device.setup(params.compute)
    rows, results = [], {}
    for name, sampler in SAMPLERS.items():
        entry = params.entry(name)
        torch.manual_seed(0)
        model = build(entry, SPECS[entry.dataset]).eval()
        for steps in STEPS:
            calls = {
                kind: partial(draw, model, options.images, {**sampler(steps), "bfloat16": kind == "bfloat16"})
                for kind in ("bfloat16", "float32")
            }
            best = {kind: 1000 * min(times) / options.images for kind, times in interleaved(calls, repeats=options.repeats).items()}
            results[f"{name}, {steps} steps"] = {
                **{f"{kind}_ms_per_image": ms for kind, ms in best.items()},
                "ratio": best["float32"] / best["bfloat16"],
            }
            rows.append([name, steps, best["bfloat16"], best["float32"], best["float32"] / best["bfloat16"]])
            print(rows[-1], flush=True)
    publish(
        "diffusion_sampling",
        ["entry", "steps", "bfloat16 ms/image", "float32 ms/image", "ratio"],
        rows,
        {"images": options.images, "results": results},
    )


if __name__ == "__main__":
    main()
