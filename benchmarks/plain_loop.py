"""Training throughput of entries against a plain loop over the same network: float32, contiguous,
eager, batches from a DataLoader.

The plain loop is what a tutorial has: a data set that makes a tensor of a PIL image at each access,
a shuffling DataLoader, Adam, one optimiser per phase. Ours are the steps of ``fit`` with the
entry's arithmetic, clipping, weight average and checks; validation is in neither. Each has a
process of its own, and runs are taken in turn: ours, set up as a stage is; the plain one as a
script is; and the plain one with the allocator set as ours. Writes
benchmarks/results/plain_loop.json, with the operations that take most of the time of ours, and with
what the precision alone brings a convolution on this machine, memory kept in both: the ratio that a
network of nothing but convolutions would have.

    python -m benchmarks.plain_loop [--entries vae,vq_vae,dcgan,hinge_gan] [--profiles quick,full]
    [--repeats 3] [--images 6400]
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from statistics import harmonic_mean
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.functional import pil_to_tensor

from benchmarks.common import RESULTS, contiguous, fit, median, publish
from benchmarks.processes import VERSIONS, Workers
from benchmarks.training import IMAGES, synthetic
from genbench.config.load import load_params
from genbench.config.params import Entry
from genbench.files import read_json
from genbench.registry import build


class _Images(TorchDataset[tuple[Tensor, int]]):
    """As torchvision's: an array of each image becomes a PIL image, and that a tensor."""

    def __init__(self, x: Tensor, y: Tensor | None) -> None:
        self.x, self.y = x.numpy()[:, 0], torch.zeros(len(x)).long() if y is None else y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return pil_to_tensor(Image.fromarray(self.x[i])), int(self.y[i])


def ours(entry: Entry, steps: int) -> float:
    """Images per second of ``fit``, all steps but the first fifth; each is a row of its history and
    takes as many images.
    """
    data = synthetic(entry.dataset)
    model = build(entry, data.spec)
    fitted = fit(
        model,
        data,
        entry=entry.name,
        seed=0,
        **{**entry.train, "steps": steps, "validations": 1, "validate_images": 1},
    )
    return harmonic_mean([row["images_per_second"] for row in fitted.history[steps // 5 :]])


def plain(entry: Entry, steps: int) -> float:
    """Images per second of the plain loop, all steps but the first fifth."""
    data = synthetic(entry.dataset)
    model = build(entry, data.spec).train()
    contiguous(model)
    model.init_from_data(
        data.train_x,
        data.train_y if model.conditional else None,
        rng=torch.Generator().manual_seed(0),
    )
    loader = DataLoader(
        _Images(data.train_x, data.train_y),
        batch_size=entry.train["batch_size"],
        shuffle=True,
        drop_last=True,
    )
    batches: Iterator[Any] = itertools.chain.from_iterable(iter(loader) for _ in itertools.count())
    rng = torch.Generator().manual_seed(0)
    phases = model.phases()
    optimizers = [torch.optim.Adam(phase.params, lr=1e-4) for phase in phases]
    seconds, images = 0.0, 0
    for step in range(steps):
        begun, taken = time.perf_counter(), 0
        for phase, optimizer in zip(phases, optimizers, strict=True):
            first, last = phase.span
            if not first <= step / steps < last:
                continue
            for _ in range(phase.repeats):
                x, y = next(batches)
                model.zero_grad()
                out = phase.loss(x, y if model.conditional else None, rng=rng, progress=0.5)
                out.loss.backward()
                optimizer.step()
                model.after_step(phase.name, out.aux, rng=rng, progress=0.5)
                taken += len(x)
        if step >= steps // 5:
            seconds, images = seconds + time.perf_counter() - begun, images + taken
    return images / seconds


def measure(version: str, profile: str, name: str, steps: int) -> float:
    """What a worker runs."""
    entry = load_params(profile).entry(name)
    torch.manual_seed(0)
    return (ours if version == "ours" else plain)(entry, steps)


def operations(profile: str, name: str, steps: int) -> dict[str, float]:
    """Shares of the operations that take most of the time of ours."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        measure("ours", profile, name, steps)
    events = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return {event.key: event.self_cpu_time_total / total for event in events[:12]}


def convolution(dtype: torch.dtype, layout: torch.memory_format) -> float:
    """GFLOP/s of a 3x3 convolution of 64 channels on 14 x 14 features of 128 images, forward and
    backward: the best of some rounds.
    """
    images, channels, size = 128, 64, 14
    x, weight = (
        torch.randn(images, channels, size, size, dtype=dtype),
        torch.randn(channels, channels, 3, 3, dtype=dtype),
    )
    x, weight = (t.to(memory_format=layout).requires_grad_() for t in (x, weight))
    gradient = torch.ones_like(x)
    best = math.inf
    for _ in range(30):
        start = time.perf_counter()
        torch.nn.functional.conv2d(x, weight, padding=1).backward(gradient)
        best = min(best, time.perf_counter() - start)
    return 3 * 2 * 9 * channels**2 * images * size**2 / best / 1e9


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", default="vae,vq_vae,dcgan,hinge_gan")
    parser.add_argument("--profiles", default="quick,full")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=6400, help="of a run, in 10 to 200 steps")
    options = parser.parse_args(arguments)
    compute = load_params("quick").compute
    torch.set_num_threads(compute.threads)
    results: dict[str, Any] = {}
    rows = []
    with Workers(compute) as workers:
        peaks = {
            "bfloat16": workers.call("ours", convolution, torch.bfloat16, torch.channels_last),
            "float32": workers.call(
                "plain, memory kept", convolution, torch.float32, torch.contiguous_format
            ),
        }
        for profile, name in itertools.product(
            options.profiles.split(","), options.entries.split(",")
        ):
            batch = load_params(profile).entry(name).train["batch_size"]
            # Up to 200 have a row of the history each.
            steps = min(200, max(10, options.images // batch))
            speeds: dict[str, list[float]] = {version: [] for version in VERSIONS}
            for round_, version in itertools.product(range(options.repeats + 1), VERSIONS):
                speed = workers.call(version, measure, version, profile, name, steps)
                if round_:  # the first round warms up
                    speeds[version].append(speed)
            ratios = {
                v: median([a / b for a, b in zip(speeds["ours"], speeds[v], strict=True)])
                for v in VERSIONS[1:]
            }
            results[f"{name} ({profile})"] = {
                "batch_size": batch,
                "images_per_second": {
                    version: median(values) for version, values in speeds.items()
                },
                "ratio": ratios["plain"],
                "ratio_memory_kept": ratios["plain, memory kept"],
                "operations": workers.call("ours", operations, profile, name, 8),
            }
            rows.append(
                [
                    f"{name} ({profile})",
                    *(median(values) for values in speeds.values()),
                    *ratios.values(),
                ]
            )
            print(rows[-1], flush=True)
    path = RESULTS / "plain_loop.json"
    if path.is_file():  # entries that are not measured now keep their rows
        results = {**read_json(path)["results"], **results}
    publish(
        "plain_loop",
        ["entry", *(f"{v} images/s" for v in VERSIONS), "ratio", "memory kept"],
        rows,
        {"data": f"{IMAGES} random images", "convolution_gflops": peaks, "results": results},
    )


if __name__ == "__main__":
    main()
