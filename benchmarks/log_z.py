"""How far the normalisers of the trained energy-based models can be trusted.

Annealed importance sampling as the entry has it, with several times as many temperatures, and
backwards. Forwards log Z is on average too small, so the score too good; the more temperatures, the
less. Backwards it is on average too large if it starts from exact samples of the model. The ends of
two kinds of Markov chains stand for these, so that it is a diagnostic and no bound: those of the
model's own sampler, and those that moved away from real images, which know of places that no chain
may find from independent pixels. Nats are those of validation images. Needs the trained entries;
writes benchmarks/results/log_z.json, where other entries keep their rows.

    python -m benchmarks.log_z [--entries binary-ebm,binary-rbm] [--times 2]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch

import genbench
from benchmarks.common import RESULTS, publish
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.data import splits
from genbench.data.subsets import strided
from genbench.families.energy import EnergyBased
from genbench.files import read_json
from genbench.hardware.device import setup
from genbench.mcmc.ais import ais, reverse_ais, schedule
from genbench.seeding import generator_for

IMAGES = 1000
MOVES = 1000
"""From real images, before the way back."""


@torch.no_grad()
def measure(params: Params, name: str, times: int) -> dict[str, dict[str, float]]:
    """Log Z, its standard error, the effective number of chains and the nats that follow, for each
    way.
    """
    entry = params.entry(name)
    dataset = splits.load(Layout.of(params).data(entry.dataset), entry.dataset)
    model: EnergyBased[Any] = genbench.load(Layout.of(params).run_dir(name).path)  # type: ignore[assignment]
    if not isinstance(model, EnergyBased):
        raise SystemExit(f"{name} is no energy-based model")
    x = dataset.valid_x[torch.from_numpy(strided(len(dataset.valid_x), IMAGES))]
    energy = -float(model.log_f(model.from_images(x)).mean())
    chains, temperatures, zero = (
        entry.score["chains"],
        entry.score["temperatures"],
        model.initial_log_z(),
    )
    more = f"{times} times the temperatures"
    ways = {
        "as scored": temperatures,
        more: times * temperatures,
        "back from samples": temperatures,
        "back from images": temperatures,
    }
    found = {}
    for way, steps in ways.items():
        rng, betas = (
            generator_for("benchmark", name, way),
            schedule(steps, pieces=model.ais_schedule),
        )
        if way.startswith("back"):
            state = model.from_images(
                x[:chains] if way == "back from images" else model.sample(chains, rng=rng)
            )
            for _ in range(MOVES if way == "back from images" else 0):
                state = model.move(state, rng=rng)
            result = reverse_ais(model.log_f, model.move, state, zero, betas, rng=rng)
        else:
            result = ais(
                model.log_f, model.move, model.initial_states(chains, rng=rng), zero, betas, rng=rng
            )
        found[way] = {
            "log_z": result.log_z,
            "stderr": result.stderr,
            "ess": result.ess,
            "nats": energy + result.log_z,
        }
        print(name, way, found[way], flush=True)
    return {way: {"chains": chains, **values} for way, values in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", default="binary-ebm,binary-rbm")
    parser.add_argument("--times", type=int, default=2)
    options = parser.parse_args(arguments)
    params = load_params("quick")
    setup(params.compute)
    path = RESULTS / "log_z.json"
    # Entries that are not measured now keep their rows.
    results = read_json(path)["results"] if path.is_file() else {}
    results |= {name: measure(params, name, options.times) for name in options.entries.split(",")}
    rows = [
        [name, way, r["log_z"], r["stderr"], r["ess"], r["nats"]]
        for name, ways in results.items()
        for way, r in ways.items()
    ]
    publish(
        "log_z",
        ["entry", "way", "log Z", "±", "effective chains", "nats"],
        rows,
        {"images": IMAGES, "results": results},
    )


if __name__ == "__main__":
    main()
