"""What the number of images adds to FID, and what the jackknife leaves of it: draws
docs/figures/fid_bias.png.

Real digits of all splits are dealt into pairs of sets of n images by chance, so the true distance
is 0; and into pairs of which one set is blurred a little, so it is not. Both FIDs of each pair are
averaged over disjoint pairs, below the number of images that the unbiased one asks for too, so that
it is seen why it does. Run ``python -m benchmarks.fid_bias`` in a project whose ``mnist`` is
prepared (``genbench prepare``). Prints a table, writes benchmarks/results/fid_bias.json and the
figure.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch import Tensor

from benchmarks.common import publish
from benchmarks.metric_behaviour import blur, features_of
from genbench.config.layout import Layout
from genbench.config.load import find_root, load_params
from genbench.data.splits import Dataset, load
from genbench.hardware.device import set_threads
from genbench.scoring.jackknife import bias_corrected
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.moments import frechet_estimate
from genbench.seeding import generator_for

SIZES = (40, 100, 250, 500, 1000, 2500, 5000)
DRAWN = 250  # images: the fewest in the figure, whose axis of 1/n smaller sets would fill
PAIRS = 12  # at most: of 5,000 images there are not as many
BLUR = 0.6  # pixels
_CURVES = (("fid", "FID", "#1f5fa8"), ("fid_unbiased", "unbiased", "#d1601a"))


def measure(data: Dataset) -> list[dict[str, float]]:
    """A row for each size and each kind of pair: mean and standard error of both FIDs."""
    images = torch.cat([data.train_x, data.valid_x, data.test_x])
    images = images[torch.randperm(len(images), generator=generator_for("fid_bias"))]
    half = len(images) // 2
    first, second = features_of(images[:half]).features, features_of(images[half:]).features
    blurred = features_of(blur(images[half:], images[half:], half, BLUR)).features
    rows = []
    for blurring, other in ((0.0, second), (BLUR, blurred)):
        for n in SIZES:
            rows.append({"blur": blurring, "n": n, **_pairs(first, other, n)})
    return rows


def _pairs(first: Tensor, second: Tensor, n: int) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    pairs = min(PAIRS, len(first) // n)
    for i in range(pairs):
        sets = (FeatureSet("mnist", part[i * n : (i + 1) * n]) for part in (first, second))
        distance = frechet_estimate(*sets)
        found.setdefault("fid", []).append(distance.value)
        unbiased = bias_corrected(distance.value, distance.left_out)
        found.setdefault("fid_unbiased", []).append(unbiased)
    means = {key: fmean(values) for key, values in found.items()}
    errors = {f"{key}_stderr": stdev(v) / math.sqrt(pairs) for key, v in found.items()}
    return {"pairs": pairs, **means, **errors}


def draw(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Write the figure: both FIDs against 1/n, a panel for each kind of pair."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    titles = ("the same distribution", f"one set blurred by {BLUR} pixels")
    for axis, title, blurring in zip(axes, titles, (0.0, BLUR), strict=True):
        some = [row for row in rows if row["blur"] == blurring and row["n"] >= DRAWN]
        for key, label, colour in _CURVES:
            axis.errorbar(
                [1 / row["n"] for row in some],
                [row[key] for row in some],
                [row[f"{key}_stderr"] for row in some],
                marker="o",
                color=colour,
                label=label,
            )
        ticks = [row["n"] for row in some]
        axis.set_xticks([1 / n for n in ticks], [f"1/{n:g}" for n in ticks], rotation=60)
        axis.set(title=title, xlabel="1/n", xlim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].axhline(0, color="grey", linewidth=0.8)
    axes[0].set_ylabel("distance of real digits")
    axes[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={"Software": None})


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    rows = measure(load(Layout.of(load_params()).data("mnist"), "mnist"))
    publish("fid_bias", list(rows[0]), [list(row.values()) for row in rows], {"rows": rows})
    draw(rows, find_root() / "docs" / "figures" / "fid_bias.png")


if __name__ == "__main__":
    main()
