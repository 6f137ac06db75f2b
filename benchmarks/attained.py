"""What share of the processor's arithmetic training and sampling reach in float32, entry by entry
of `quick`, and where the time goes.

Writes benchmarks/results/attained.json. Floating point operations are counted by
torch.utils.flop_counter over one step (loss and backward), or over the sampling of a chunk by the
model before training, with the entry's own options. The attainable is what a 3 x 3 convolution of
32 to 64 channels and a matrix product of 1024 reach, measured in the same run, weighed by the
entry's operations of each sort. For a processor limited to AVX2:

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.attained
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import publish
from benchmarks.training import synthetic
from genbench.config.load import load_params
from genbench.config.params import Entry
from genbench.hardware.device import setup
from genbench.hardware.kind import in_words, kind_of
from genbench.hardware.speed import speeds
from genbench.registry import build

SAMPLED = (
    "gated_pixel_cnn",
    "wavenet",
    "row_lstm",
    "pixel_transformer",
    "ddpm",
    "flow_matching",
    "real_nvp",
    "vq_vae",
)
"""Entries whose sampling takes longest."""


def stepper(entry: Entry) -> Callable[[], None]:
    """One step of an entry's first phase, without the optimiser, in float32 and the entry's
    layout.
    """
    data = synthetic(entry.dataset)
    model = build(entry, data.spec)
    labels = data.train_y if model.conditional else None
    rng = torch.Generator().manual_seed(0)
    model.init_from_data(data.train_x, labels, rng=rng)
    if entry.train["arithmetic"]["cpu"].get("channels_last"):
        model.to(memory_format=torch.channels_last)
    model.train()
    batch = entry.train["batch_size"]
    x, y = data.train_x[:batch], None if labels is None else labels[:batch]
    phase = model.phases()[0]

    def step() -> None:
        phase.loss(x, y, rng=rng, progress=0.5).loss.backward()
        model.zero_grad(set_to_none=True)

    return step


def sampler(entry: Entry, n: int) -> Callable[[], None]:
    """Sampling of ``n`` images in float32, by a model that was not trained: its operations are the
    same.
    """
    model = build(entry, synthetic(entry.dataset).spec).eval()
    labels = torch.arange(n) % model.spec.classes if model.conditional else None
    options = {name: value for name, value in entry.sample.items() if name != "precision"}
    rng = torch.Generator().manual_seed(0)

    def sample() -> None:
        model.sample(n, labels, rng=rng, **options)

    return sample


def measure(
    step: Callable[[], None], attainable: dict[str, float], seconds: float, *, warm_up: int
) -> dict[str, Any]:
    """GFLOP and milliseconds of a step, and its slowest operations."""
    for _ in range(warm_up):
        step()
    with FlopCounterMode(display=False) as counter:
        step()
    counts = {
        str(operation): count for operation, count in counter.get_flop_counts()["Global"].items()
    }
    convolutions = sum(count for operation, count in counts.items() if "convolution" in operation)
    total, end = sum(counts.values()), time.perf_counter() + seconds
    times: list[float] = []
    while not times or time.perf_counter() < end:
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    best = sorted(times)[len(times) // 4]
    ideal = (
        convolutions / attainable["convolution"]
        + (total - convolutions) / attainable["matrix_product"]
    ) / 1e9
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    events = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in events)
    slowest = {
        event.key.removeprefix("aten::"): round(event.self_cpu_time_total / whole, 3)
        for event in events[:5]
    }
    return {
        "gflop": total / 1e9,
        "ms": 1000 * best,
        "gflops": total / best / 1e9,
        "share": ideal / best,
        "slowest": slowest,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", default="")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of steps measured, for each entry"
    )
    parser.add_argument("--chunk", type=int, default=100, help="images of a sampling")
    options = parser.parse_args(arguments)
    params = load_params("quick")
    setup(params.compute)
    # Energy-based models take gradients of their inputs inside of a step, which the counter does
    # not support; LSTMs are one operation that it does not count.
    skipped = ("ebm", "rbm", "lstm")
    wanted = (
        options.entries.split(",")
        if options.entries
        else [n for n, e in params.entries.items() if e.train and e.model not in skipped]
    )
    attainable = speeds(params.compute.threads)["float32"]
    found = {
        f"train {n}": measure(stepper(params.entry(n)), attainable, options.seconds, warm_up=3)
        for n in wanted
    }
    found |= {
        f"sample {n}": measure(sampler(params.entry(n), options.chunk), attainable, 0.0, warm_up=0)
        for n in SAMPLED
        if n in wanted
    }
    rows = [
        [
            n,
            row["gflop"],
            row["ms"],
            row["gflops"],
            row["share"],
            ", ".join(f"{k} {v:.0%}" for k, v in row["slowest"].items()),
        ]
        for n, row in found.items()
    ]
    publish(
        "attained",
        ["work", "GFLOP", "ms", "GFLOP/s", "of attainable", "slowest operations"],
        rows,
        {
            "processor": in_words(kind_of(torch.device("cpu")).record()),
            "attainable": attainable,
            "work": found,
        },
    )


if __name__ == "__main__":
    main()
