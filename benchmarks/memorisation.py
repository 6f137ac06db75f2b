"""How the memorisation scores answer to copies of training images: which share of them is found
after some changes, in plain pixels and after centring; the copying statistic without copying; time
and memory of one entry.

Run ``python -m benchmarks.memorisation`` in a project whose data sets are prepared
(``genbench prepare``).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.common import publish
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.data.splits import load
from genbench.hardware.device import peak_memory_mb, set_threads
from genbench.scoring.copies import find_copies
from genbench.scoring.memorisation import RATIO, Cells, copying_z
from genbench.scoring.nearest import Nearest, centred, nearest

COPIES, BESIDE, SAMPLES = 600, 1000, 5000
SPLITS = 40
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def moved(rows: int, columns: int) -> Change:
    """Images moved by some pixels."""
    return lambda images, rng: np.roll(images, (rows, columns), (1, 2))


def noisy(deviation: float) -> Change:
    """Grey levels with Gaussian noise, rounded and cut off."""

    def change(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = rng.normal(0, deviation, images.shape)
        return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)

    return change


def flipped(share: float) -> Change:
    """Binary pixels, some of them flipped."""
    return lambda images, rng: images ^ (rng.random(images.shape) < share).astype(np.uint8)


def changes(levels: int) -> dict[str, Change]:
    """What is done to copies of images of so many levels."""
    shared = {"moved by a pixel": moved(0, 1), "moved by a pixel, both ways": moved(1, 1)}
    if levels == 2:
        return shared | {f"{share:.2%} flipped": flipped(share) for share in (0.0025, 0.005, 0.01)}
    return shared | {f"noise of {sd} levels": noisy(sd) for sd in (10, 20, 30)}


def ratios(found: Nearest) -> np.ndarray:
    """Distance to the nearest by that to the second (n,)."""
    return found.distance[:, 0] / np.maximum(found.distance[:, 1], 1e-9)


def shares(levels: int, train: np.ndarray, valid: np.ndarray) -> Iterator[tuple[str, float, float]]:
    """What was done to copies, and the share of them that is found, plain and centred; of
    validation images the smallest ratio.
    """
    stored, rng = centred(train), np.random.default_rng(0)
    copies = train[rng.choice(len(train), COPIES, replace=False)]
    for name, change in changes(levels).items():
        images = change(copies, rng)
        found = nearest(images, train), nearest(centred(images), stored)
        plain, after = (float((ratios(one) < RATIO).mean()) for one in found)
        yield name, plain, after
    beside = valid[:: len(valid) // BESIDE]
    found = nearest(beside, train), nearest(centred(beside), stored)
    plain, after = (float(ratios(one).min()) for one in found)
    yield "validation images, smallest ratio", plain, after


def without_copying(train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """The copying statistic of halves of validation images against each other, and of all of them
    against test images.
    """
    stored, rng = centred(train), np.random.default_rng(0)
    cells = Cells(stored)
    sets = [centred(images[::2]) for images in (valid, test)]
    (d, own), (others, theirs) = (
        (nearest(images, stored).distance[:, 0], cells.of(images)) for images in sets
    )
    values = []
    for _ in range(SPLITS):
        order = rng.permutation(len(d))
        one, other = order[: len(d) // 2], order[len(d) // 2 :]
        values.append(copying_z(d[one], own[one], d[other], own[other]).value)
    return {
        "mean": float(np.mean(values)),
        "spread": float(np.std(values, ddof=1)),
        "valid_against_test": copying_z(d, own, others, theirs).value,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    params = load_params()
    set_threads(threads)
    rows, result = [], {}
    for name in params.datasets:
        data = load(Layout.of(params).data(name), name)
        train, valid, test = (x[:, 0].numpy() for x in (data.train_x, data.valid_x, data.test_x))
        start = time.perf_counter()
        find_copies(test[:SAMPLES], data)
        cost = {
            "samples": SAMPLES,
            "seconds": round(time.perf_counter() - start, 2),
            "peak_rss_mb": round(peak_memory_mb(torch.device("cpu"))),
        }
        found = list(shares(data.spec.levels, train, valid))
        null = without_copying(train, valid, test)
        rows += [(name, *one) for one in found]
        told = {what: {"plain": plain, "centred": after} for what, plain, after in found}
        result[name] = {"found": told, "copying_z_without_copying": null, "cost": cost}
        print(name, null, cost)
    publish("memorisation", ("data set", "copies", "plain", "centred"), rows, result)


if __name__ == "__main__":
    main()
