"""Milliseconds per image of the samplers of diffusion and flow matching, by number of steps: in
bfloat16, against a plain float32 loop.

The same network and sampler, untrained, since the time does not depend on the weights. Each version
has a process of its own: ours is set up as a stage is and draws in bfloat16, as the entries of
`quick` do; the plain one is a script that runs the network on contiguous float32 features, with the
C library's allocator as it comes; the third is plain with the allocator set as ours. Medians of
rounds that take turns. Writes benchmarks/results/diffusion_sampling.json.

    python -m benchmarks.diffusion_sampling [--images 500] [--repeats 3]
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator

from benchmarks.common import contiguous, median, publish
from benchmarks.processes import VERSIONS, Workers
from genbench.config.load import load_params
from genbench.data.datasets import spec_of
from genbench.registry import build

SAMPLERS: dict[str, Callable[[int], dict[str, Any]]] = {
    "ddpm": lambda steps: {"ddim_steps": steps},
    "flow_matching": lambda steps: {"solver": "midpoint", "ode_steps": steps},
}
STEPS = (5, 10, 20, 50)


def measure(version: str, name: str, steps: int, images: int) -> float:
    """What a worker runs: milliseconds per image of one draw."""
    entry = load_params("quick").entry(name)
    torch.manual_seed(0)
    model: Any = build(entry, spec_of(entry.dataset)).eval()
    if version != "ours":
        contiguous(model)
    start = time.perf_counter()
    model.sample(
        images,
        rng=Generator().manual_seed(0),
        precision="bfloat16" if version == "ours" else "float32",
        **SAMPLERS[name](steps),
    )
    return 1000 * (time.perf_counter() - start) / images


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    rows, results = [], {}
    with Workers(load_params("quick").compute) as workers:
        for name, steps in itertools.product(SAMPLERS, STEPS):
            times: dict[str, list[float]] = {version: [] for version in VERSIONS}
            for round_, version in itertools.product(range(options.repeats + 1), VERSIONS):
                taken = workers.call(version, measure, version, name, steps, options.images)
                if round_:  # the first round warms up
                    times[version].append(taken)
            ratios = {
                v: median([a / b for a, b in zip(times[v], times["ours"], strict=True)])
                for v in VERSIONS[1:]
            }
            results[f"{name}, {steps} steps"] = {
                "ms_per_image": {version: median(values) for version, values in times.items()},
                "ratio": ratios["plain"],
                "ratio_memory_kept": ratios["plain, memory kept"],
            }
            rows.append(
                [name, steps, *(median(values) for values in times.values()), *ratios.values()]
            )
            print(rows[-1], flush=True)
    columns = [
        "entry",
        "steps",
        *(f"{version}, ms/image" for version in VERSIONS),
        "ratio",
        "memory kept",
    ]
    publish("diffusion_sampling", columns, rows, {"images": options.images, "results": results})


if __name__ == "__main__":
    main()
