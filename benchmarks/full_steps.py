"""Every entry of the profile `full` trains: some steps on one small batch on this machine, with the
loss at the beginning and at the end.

It says that the configuration fits the models and that they train, not how good they become. Needs
the prepared data of the profile (`genbench prepare mnist --profile full`). Writes
benchmarks/results/full_steps.json; with `--entries` the others keep their rows.

    python -m benchmarks.full_steps [--steps 12] [--batch 4] [--entries 'binary-*']
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.common import RESULTS, fit, publish
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.data import splits
from genbench.files import read_json
from genbench.hardware.device import setup
from genbench.pipeline.targets import match_entries
from genbench.registry import build
from genbench.seeding import seed_for


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--entries", default=None)
    options = parser.parse_args(arguments)
    params, quick = load_params("full"), load_params("quick")
    setup(quick.compute)
    path = RESULTS / "full_steps.json"
    results: dict[str, Any] = (
        read_json(path)["results"] if options.entries and path.is_file() else {}
    )
    for name in match_entries(params, options.entries):
        entry = params.entry(name)
        torch.manual_seed(seed_for("init", name, entry.seed))
        path = Layout.of(params).data(entry.dataset)
        dataset = splits.load(
            path if path.is_file() else Layout.of(quick).data(entry.dataset), entry.dataset
        )
        few = None if dataset.train_y is None else dataset.train_y[: options.batch]
        # The same images again and again.
        dataset = dataclasses.replace(
            dataset, train_x=dataset.train_x[: options.batch], train_y=few
        )
        model = build(entry, dataset.spec)
        if not model.phases():
            continue
        train = dict(entry.train) | {
            "steps": options.steps,
            "batch_size": options.batch,
            "validations": 1,
            "validate_images": 4,
        }
        # The warm-up of the entry would be over before the first step, and the first full ones of a
        # flow may lead it far off.
        train["optim"] = {
            phase: {**options_, "warmup": 0.5} for phase, options_ in train["optim"].items()
        }
        start = time.monotonic()
        fitted = fit(model, dataset, entry=name, seed=entry.seed, **train)
        losses = {
            key: [row[key] for row in fitted.history if key in row]
            for key in fitted.history[0]
            if key.endswith("/loss")
        }
        results[name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "steps": options.steps,
            "batch": options.batch,
            "seconds": time.monotonic() - start,
            **{key: {"first": values[0], "last": values[-1]} for key, values in losses.items()},
        }
        print(name, results[name], flush=True)
    rows = []
    for name, result in results.items():
        change = "; ".join(
            f"{k}: {v['first']:.4g} to {v['last']:.4g}"
            for k, v in result.items()
            if isinstance(v, dict)
        )
        rows.append([name, f"{result['parameters'] / 1e6:.2f} M", change, result["seconds"]])
    publish("full_steps", ["entry", "parameters", "loss", "s"], rows, {"results": results})


if __name__ == "__main__":
    main()
