"""How many moves of an energy-based model's chains change anything, by the number of pixels that a
move draws anew.

From the chains that its training left. Needs the trained entry; writes
benchmarks/results/moves.json.

    python -m benchmarks.moves [--entry ebm] [--blocks 16,8,4,2,1]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

import genbench
from benchmarks.common import publish
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.hardware.device import setup
from genbench.models.ebm import EBM
from genbench.seeding import generator_for

CHAINS, MOVES = 64, 40


@torch.no_grad()
def accepted(model: EBM, block: int) -> float:
    """Share of the moves at the target that change a chain's image."""
    rng = generator_for("benchmark", "moves", block)
    model.block_size = block
    images = (
        ((model.chain[:CHAINS] + 1) / 2 * (model.spec.levels - 1))
        .round()
        .to(torch.uint8)
        .view(-1, 1, model.spec.height, model.spec.width)
    )
    state, changed = model.from_images(images), 0.0
    for _ in range(MOVES):
        before = model.to_images(state).clone()
        state = model.move(state, rng=rng)
        changed += (
            float((model.to_images(state) != before).flatten(1).any(1).float().mean()) / MOVES
        )
    return changed


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entry", default="ebm")
    parser.add_argument("--blocks", default="16,8,4,2,1")
    options = parser.parse_args(arguments)
    params = load_params("quick")
    setup(params.compute)
    model = genbench.load(Layout.of(params).run_dir(options.entry).path)
    if not isinstance(model, EBM):
        raise SystemExit(f"{options.entry} is no ebm")
    results = {block: accepted(model, int(block)) for block in options.blocks.split(",")}
    rows = [[block, share] for block, share in results.items()]
    publish(
        "moves",
        ["pixels", "share of moves"],
        rows,
        {"entry": options.entry, "chains": CHAINS, "moves": MOVES, "results": results},
    )


if __name__ == "__main__":
    main()
