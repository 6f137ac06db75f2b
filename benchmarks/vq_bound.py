"""How loose the bound of a VQ-VAE is: what the grids of codes that differ from the encoder's in one
place add to log P(x).

The scored bound is one term of P(x) = sum over k of P(k) P(x|k). The sum over its neighbours is a
better bound; how much better is a lower bound of the gap. On validation images. Needs the trained
entry; writes benchmarks/results/vq_bound.json.

    python -m benchmarks.vq_bound [--entry vq_vae] [--images 32]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

import genbench
from benchmarks.common import median, publish
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.data import splits
from genbench.data.subsets import strided
from genbench.hardware.device import setup
from genbench.models.vq_vae import VQVAE


def neighbours(codes: Tensor, levels: int) -> Tensor:
    """The grid (h, w) itself, then all that differ from it in one place: (1 + h w (levels - 1), h,
    w).
    """
    flat = codes.flatten()
    others = torch.arange(levels).expand(len(flat), -1)
    others = others[others != flat[:, None]].view(len(flat), -1)  # (h w, levels - 1)
    grids = flat.repeat(others.numel(), 1)
    grids[torch.arange(len(grids)), torch.arange(len(flat)).repeat_interleave(levels - 1)] = (
        others.flatten()
    )
    return torch.cat([flat[None], grids]).view(-1, *codes.shape)


@torch.no_grad()
def terms(model: VQVAE, x: Tensor) -> Tensor:
    """Log P(k) + log P(x|k) in nats of an image (1, 1, H, W), for the encoder's codes and for all
    neighbours of them.
    """
    rng = Generator()  # nothing is drawn
    grids = neighbours(model.encode(x, rng=rng)[0], model.grid.levels)
    parts = []
    for part in grids.split(500):
        pixels = model.log_p_x_given_codes(x.expand(len(part), -1, -1, -1), part)
        parts.append(
            model.code_prior.log_likelihood(part[:, None].to(torch.uint8), rng=rng) + pixels
        )
    return torch.cat(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entry", default="vq_vae")
    parser.add_argument("--images", type=int, default=32)
    options = parser.parse_args(arguments)
    params = load_params("quick")
    setup(params.compute)
    dataset = splits.load(
        Layout.of(params).data(params.entry(options.entry).dataset),
        params.entry(options.entry).dataset,
    )
    model = genbench.load(Layout.of(params).run_dir(options.entry).path)
    if not isinstance(model, VQVAE):
        raise SystemExit(f"{options.entry} is no VQ-VAE")
    found = []
    for i in strided(len(dataset.valid_x), options.images):
        each = terms(model, dataset.valid_x[i : i + 1])
        found.append(
            {
                "gain_nats": float(each.logsumexp(0) - each[0]),
                "best_neighbour_nats": float(each[1:].max() - each[0]),
                "better_neighbours": int((each[1:] > each[0]).sum()),
            }
        )
    summary: dict[str, Any] = {"images": len(found)}
    for key in found[0]:
        values = [one[key] for one in found]
        summary[key] = {"least": min(values), "median": median(values), "most": max(values)}
    rows = [
        [key, *(summary[key][part] for part in ("least", "median", "most"))] for key in found[0]
    ]
    publish(
        "vq_bound",
        [options.entry, "least", "median", "most"],
        rows,
        {"entry": options.entry, **summary},
    )


if __name__ == "__main__":
    main()
