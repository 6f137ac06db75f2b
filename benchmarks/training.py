"""What fit() costs over a bare loop, and what precision, memory layout and compilation bring for
each entry.

Writes benchmarks/results/training.json. The bare loop has the same batches, optimiser, clipping and
weight average, and nothing else: no schedule, no seeding, no log, no check for finite values, no
checkpoints. The choice of ``arithmetic`` in params.yaml is made from the second table. Entries of
one phase, or of phases that take turns; the others keep their rows.

    python -m benchmarks.training [--entries made,pixel_cnn,vae,dcgan] [--steps 60] [--compile]
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from benchmarks.common import RESULTS, fit, median, publish
from genbench.base import GenerativeModel
from genbench.config.load import load_params
from genbench.config.params import Entry
from genbench.data.datasets import spec_of
from genbench.data.splits import Dataset
from genbench.files import read_json
from genbench.hardware.device import setup
from genbench.registry import build

IMAGES = 4096


def synthetic(dataset: str) -> Dataset:
    """Random images: speed does not depend on what they show."""
    spec, rng = spec_of(dataset), torch.Generator().manual_seed(0)
    x = torch.randint(
        0, spec.levels, (IMAGES, 1, spec.height, spec.width), dtype=torch.uint8, generator=rng
    )
    y = torch.randint(0, spec.classes, (IMAGES,), generator=rng) if spec.classes else None
    few = None if y is None else y[:64]
    return Dataset(dataset, spec, x, y, x[:64], few, x[:64], few)


def bare_loop(model: GenerativeModel, data: Dataset, train: Mapping[str, Any], steps: int) -> None:
    """The least that a training loop with this optimiser, clipping and average can be."""
    rng = torch.Generator().manual_seed(0)
    model.train()
    parts = []
    for phase in model.phases():
        options = train["optim"][phase.name]
        adam = torch.optim.AdamW(
            phase.params,
            lr=options["lr"],
            betas=tuple(options.get("betas", (0.9, 0.999))),
            weight_decay=0.0,
            fused=True,
        )
        parts.append(
            (phase, adam, [p.detach().clone() for p in phase.params], options.get("clip", 1.0))
        )
    for _ in range(steps):
        for phase, adam, average, clip in parts:
            if len(parts) > 1:
                model.requires_grad_(False)
                for p in phase.params:
                    p.requires_grad_(True)
            chosen = torch.randint(0, IMAGES, (train["batch_size"],), generator=rng)
            phase.loss(data.train_x[chosen], None, rng=rng, progress=0.5).loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(phase.params, clip, foreach=True)
            adam.step()
            adam.zero_grad(set_to_none=True)
            with torch.no_grad():
                torch._foreach_lerp_(average, list(phase.params), 0.001)


def overhead(entry: Entry, steps: int, repeats: int) -> dict[str, float]:
    """Seconds per step of fit() and of the bare loop, both float32 and contiguous."""
    data = synthetic(entry.dataset)
    train = {
        "steps": steps,
        "batch_size": entry.train["batch_size"],
        "optim": entry.train["optim"],
        "validations": 1,
        "validate_images": 1,
    }

    # Seconds in steps: validation and batch-norm statistics come once per run, whatever its length.
    per_step: dict[str, list[float]] = {"fit": [], "bare": []}
    images = train["batch_size"] * sum(phase.repeats for phase in build(entry, data.spec).phases())
    for round_ in range(repeats + 1):
        fitted = fit(build(entry, data.spec), data, entry=entry.name, seed=0, **train)
        model = build(entry, data.spec)
        begun = time.perf_counter()
        bare_loop(model, data, train, steps)
        if round_:
            per_step["fit"].append(images / fitted.images_per_second)
            per_step["bare"].append((time.perf_counter() - begun) / steps)
    ratios = [a / b for a, b in zip(per_step["fit"], per_step["bare"], strict=True)]
    return {
        "fit_ms": 1000 * median(per_step["fit"]),
        "bare_ms": 1000 * median(per_step["bare"]),
        "ratio": median(ratios),
    }


def arithmetics(entry: Entry, steps: int, compiled: bool) -> dict[str, float]:
    """Images per second of each way to compute; the first steps, with compilation, are not
    counted.
    """
    data = synthetic(entry.dataset)
    speeds = {}
    for precision in ("float32", "bfloat16"):
        for channels_last in (False, True):
            for compile_ in (False, True) if compiled else (False,):
                arithmetic = {
                    "cpu": {
                        "precision": precision,
                        "channels_last": channels_last,
                        "compile": compile_,
                    }
                }
                train = {
                    k: v
                    for k, v in copy.deepcopy(dict(entry.train)).items()
                    if k in ("batch_size", "optim")
                }
                torch.manual_seed(0)
                start = time.perf_counter()
                fitted = fit(
                    build(entry, data.spec),
                    data,
                    entry=entry.name,
                    seed=0,
                    steps=steps,
                    validations=1,
                    validate_images=1,
                    arithmetic=arithmetic,
                    **train,
                )
                later = fitted.history[len(fitted.history) // 2 :]
                layout = ", channels_last" if channels_last else ""
                name = f"{precision}{layout}{', compiled' if compile_ else ''}"
                speeds[name] = median([row["images_per_second"] for row in later])
                seconds = time.perf_counter() - start
                told = f"{speeds[name]:.0f} images/s ({seconds:.0f} s)"
                print(f"{entry.name}: {name}: {told}", flush=True)
    return speeds


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", default="made,pixel_cnn,vae,dcgan")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args(arguments)
    params = load_params("quick")
    setup(params.compute)
    names = options.entries.split(",")
    costs = {name: overhead(params.entry(name), options.steps, options.repeats) for name in names}
    speeds = {
        name: arithmetics(params.entry(name), options.steps, options.compile) for name in names
    }
    path = RESULTS / "training.json"
    if path.is_file():  # entries that are not measured now keep their rows
        before = read_json(path)
        costs, speeds = {**before["overhead"], **costs}, {**before["images_per_second"], **speeds}
    rows: list[list[object]] = [
        [name, cost["bare_ms"], cost["fit_ms"], cost["ratio"]] for name, cost in costs.items()
    ]
    publish(
        "training",
        ["entry", "bare loop ms/step", "fit ms/step", "fit over bare"],
        rows,
        {"overhead": costs, "images_per_second": speeds},
    )


if __name__ == "__main__":
    main()
