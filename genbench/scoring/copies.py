"""Copies among an entry's samples: its samples and held-out images against all training images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from genbench.data.splits import Dataset
from genbench.data.subsets import strided
from genbench.scoring.memorisation import Cells, copied_share, copying_z
from genbench.scoring.metrics.base import TooFewSamples
from genbench.scoring.nearest import Nearest, centred, nearest
from genbench.scoring.records import Metric

__all__ = ["SHOWN", "Copies", "find_copies"]

SHOWN = 20
"""Samples that are shown with their nearest training images: the first ones, and as many that are
most like a copy.
"""


@dataclass(frozen=True, slots=True)
class Copies:
    """What was found.

    Attributes:
        metrics: ``copied_share`` and ``copying_z``.
        withheld: the reason for one that is not there.
        shown: of :data:`SHOWN` samples ``sample`` int64 (n,), their places among the samples;
            ``train`` int64 (n, 2), the places of the two nearest training images; ``distance``
            float64 (n, 2); ``images`` uint8 (n, H, W), the nearest ones.
    """

    metrics: Mapping[str, Metric]
    withheld: Mapping[str, str]
    shown: Mapping[str, np.ndarray]


def find_copies(samples: np.ndarray, data: Dataset) -> Copies:
    """Look for copies among samples uint8 (n, H, W), beside as many validation images.

    All images are centred first (:func:`genbench.scoring.nearest.centred`), so that a copy which is
    moved by some pixels is one.
    """
    train, valid = data.train_x[:, 0].numpy(), data.valid_x[:, 0].numpy()
    stored, drawn = centred(train), centred(samples)
    held_out = centred(valid[strided(len(valid), len(samples))])
    found, beside = nearest(drawn, stored), nearest(held_out, stored)
    metrics, withheld = {"copied_share": copied_share(found, beside)}, {}
    cells = Cells(stored)
    try:
        metrics["copying_z"] = copying_z(
            found.distance[:, 0],
            cells.of(drawn),
            beside.distance[:, 0],
            cells.of(held_out),
        )
    except TooFewSamples as error:
        withheld = dict.fromkeys(error.keys, str(error))
    return Copies(metrics, withheld, _shown(found, train))


def _shown(found: Nearest, train: np.ndarray) -> dict[str, np.ndarray]:
    first, second = found.distance.T
    likest = np.argsort(first / np.maximum(second, 1e-9), kind="stable")
    half = np.arange(min(SHOWN // 2, len(found)))
    chosen = np.concatenate([half, likest[~np.isin(likest, half)][: SHOWN - len(half)]])
    index = found.index[chosen]
    return {
        "sample": chosen,
        "train": index,
        "distance": found.distance[chosen],
        "images": train[index[:, 0]],
    }
