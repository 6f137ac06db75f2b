"""What the sampler of a trained diffusion model adds to its FID: the entry's own, float32,
clipping, more steps, and the chain that is scored, in bfloat16.

Against the validation images. Needs the trained entry; writes benchmarks/results/samplers.json.

    python -m benchmarks.samplers [--entry ddpm] [--samples 1000]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch

import genbench
from benchmarks.common import publish
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.data import splits
from genbench.families.diffusion import GaussianDiffusion
from genbench.hardware.device import setup
from genbench.scoring import features
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.sample_scores import score
from genbench.seeding import generator_for

SAMPLERS: tuple[dict[str, Any], ...] = (
    {"ddim_steps": 20, "precision": "bfloat16"},
    {"ddim_steps": 20},
    {"ddim_steps": 20, "precision": "bfloat16", "clip": True},
    {"ddim_steps": 100, "precision": "bfloat16"},
    {"precision": "bfloat16"},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, score, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entry", default="ddpm")
    parser.add_argument("--samples", type=int, default=1000)
    options = parser.parse_args(arguments)
    params = load_params("quick")
    setup(params.compute)
    entry = params.entry(options.entry)
    dataset = splits.load(Layout.of(params).data(entry.dataset), entry.dataset)
    model = genbench.load(Layout.of(params).run_dir(options.entry).path)
    if not isinstance(model, GaussianDiffusion):
        raise SystemExit(f"{options.entry} is no diffusion model")
    reference = FeatureSet(
        features.EXTRACTOR, *features.extract(dataset.valid_x, dataset.spec.levels)
    )
    y = torch.arange(options.samples) % dataset.spec.classes if model.conditional else None
    rows, results = [], {}
    for sampler in SAMPLERS:
        x = model.sample(
            options.samples, y, rng=generator_for("benchmark", options.entry), **sampler
        )
        found = score(
            ["fid"],
            FeatureSet(features.EXTRACTOR, *features.extract(x, dataset.spec.levels)),
            reference,
            seed=0,
        )[0]
        name = model.describe_sampler(**sampler)[0]
        results[name] = {metric: value.value for metric, value in found.items()}
        rows.append([name, *results[name].values()])
        print(rows[-1], flush=True)
    publish(
        "samplers",
        ["sampler", "FID"],
        rows,
        {"entry": options.entry, "samples": options.samples, "results": results},
    )


if __name__ == "__main__":
    main()
