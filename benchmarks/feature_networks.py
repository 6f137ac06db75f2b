"""One feature network is one opinion: the FID of all finished entries of a profile under three
nets, the pinned one, one that was trained in the same way from another seed, and one of random
weights.

Writes benchmarks/results/feature_networks.json: the distances by net and entry, rank correlations
of each two nets, and the pairs of entries of which two nets say the opposite, both by more than two
standard errors of the difference. Training the second net takes ten minutes or so.

    python -m benchmarks.feature_networks [--root FOLDER] [--profile quick] [--dataset mnist]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import kendalltau, spearmanr

from benchmarks.common import publish
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.data.datasets import spec_of
from genbench.data.splits import Dataset, load
from genbench.files import read_npz
from genbench.scoring.feature_training import train_feature_net
from genbench.scoring.features import EXTRACTOR, FeatureNet, extract, load_net, reference_images
from genbench.scoring.jackknife import Estimate, paired_stderr
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.moments import frechet_estimate
from genbench.seeding import seed_for

ROOT = Path(__file__).resolve().parents[1]
CLEAR = 2.0  # standard errors
CALIBRATION = 2000  # training images, from which random layers have their batch statistics


def random_net(data: Dataset) -> FeatureNet:
    """A net of the same shape with weights as they are drawn; its batch normalisation knows
    training images, so that no layer is dead.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("feature_networks", "random"))
        net = FeatureNet()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    net.train()
    with torch.no_grad():
        for batch in data.train_x[:CALIBRATION].split(250):
            net(batch.float() / (data.spec.levels - 1))
    return net.eval()


def nets(data: Dataset) -> dict[str, FeatureNet]:
    """The three by name. The trained ones are of grey digits and of binarized ones."""
    return {
        "pinned": load_net(),
        "another seed": train_feature_net(data, seed=1).net,
        "random weights": random_net(data),
    }


def distances(params: Params, dataset: str, net: FeatureNet) -> dict[str, Estimate]:
    """The FID of each entry that has samples, with its values without each group of images."""
    layout, levels = Layout.of(params), spec_of(dataset).levels
    test = load(layout.data(dataset), dataset).test_x
    real = reference_images(test, params.protocol.feature_reference_images)
    reference = FeatureSet(EXTRACTOR, extract(real, levels, net=net)[0])
    found = {}
    for entry in params.entries.values():
        path = layout.run_dir(entry.name).samples
        if entry.dataset == dataset and path.is_file():
            images = torch.from_numpy(read_npz(path)["images"])[:, None]
            generated = FeatureSet(EXTRACTOR, extract(images, levels, net=net)[0])
            found[entry.name] = frechet_estimate(generated, reference)
            print(f"{entry.name}: {found[entry.name].value:.4g}", flush=True)
    return found


def opposed(first: Mapping[str, Estimate], second: Mapping[str, Estimate]) -> list[list[str]]:
    """Pairs of entries, the better one by the first net first, of which the second net says the
    opposite, both clearly.
    """
    found = []
    for a, b in itertools.permutations(first, 2):
        if _clearly_below(first[a], first[b]) and _clearly_below(second[b], second[a]):
            found.append([a, b])
    return found


def _clearly_below(a: Estimate, b: Estimate) -> bool:
    return a.value - b.value < -CLEAR * paired_stderr(a.left_out, b.left_out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--dataset", default="mnist")
    options = parser.parse_args(arguments)
    params = load_params(options.profile, root=options.root.resolve())
    data = load(Layout.of(params).data("mnist"), "mnist")
    found = {name: distances(params, options.dataset, net) for name, net in nets(data).items()}
    entries = list(found["pinned"])
    if len(entries) < 3:
        raise SystemExit(f"only {len(entries)} entries of {options.dataset} have samples")
    result: dict[str, Any] = {
        "fid": {name: {e: one.value for e, one in by.items()} for name, by in found.items()},
        "pairs": len(entries) * (len(entries) - 1) // 2,
        "between": {},
    }
    rows = []
    for one, other in itertools.combinations(found, 2):
        x, y = ([found[name][entry].value for entry in entries] for name in (one, other))
        rho, tau = float(spearmanr(x, y).statistic), float(kendalltau(x, y).statistic)
        flips = opposed(found[one], found[other])
        result["between"][f"{one}, {other}"] = {"spearman": rho, "kendall": tau, "opposed": flips}
        rows.append([f"{one}, {other}", rho, tau, len(flips), result["pairs"]])
    heads = ["nets", "Spearman", "Kendall", "pairs opposed", "of"]
    publish("feature_networks", heads, rows, result)


if __name__ == "__main__":
    main()
