"""What the solver's error adds to the score of flow matching: the same images, noise and probes
with the entry's steps and with several times as many.

On validation images. Needs the trained entry; writes benchmarks/results/solver_error.json.

    python -m benchmarks.solver_error [--entry flow_matching] [--images 50] [--times 4]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import torch
from torch import Tensor

import genbench
from benchmarks.common import publish
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.data import splits
from genbench.data.subsets import strided
from genbench.hardware.device import setup
from genbench.models.flow_matching import FlowMatching
from genbench.seeding import generator_for


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entry", default="flow_matching")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--times", type=int, default=4)
    options = parser.parse_args(arguments)
    params = load_params("quick")
    setup(params.compute)
    entry = params.entry(options.entry)
    dataset = splits.load(Layout.of(params).data(entry.dataset), entry.dataset)
    model = genbench.load(Layout.of(params).run_dir(options.entry).path)
    if not isinstance(model, FlowMatching) or model.conditional:
        raise SystemExit(f"{options.entry} is no unconditional flow matching")
    x = dataset.valid_x[torch.from_numpy(strided(len(dataset.valid_x), options.images))]
    steps, found = model.ode_steps, []
    for model.ode_steps in (steps, options.times * steps):
        parts: list[Tensor] = []
        for i in range(0, len(x), 25):
            rng = generator_for("benchmark", options.entry, i)
            parts.append(model.log_likelihood(x[i : i + 25], rng=rng, **entry.score))
        found.append(-torch.cat(parts))
    difference = found[0] - found[1]
    result = {
        "entry": options.entry,
        "images": len(x),
        "steps": [steps, options.times * steps],
        "nats": [float(nats.mean()) for nats in found],
        "difference": float(difference.mean()),
        "stderr": float(difference.std()) / math.sqrt(len(x)),
        "largest": float(difference.abs().max()),
    }
    row = [
        options.entry,
        *result["nats"],
        result["difference"],
        result["stderr"],
        result["largest"],
    ]
    publish(
        "solver_error",
        ["entry", f"nats, {steps} steps", f"{options.times} times", "difference", "±", "largest"],
        [row],
        result,
    )


if __name__ == "__main__":
    main()
