"""Stage ``score_samples@entry``: samples and reference features in, sample scores out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genbench.config.params import Params
from genbench.data.datasets import spec_of
from genbench.data.splits import load_split
from genbench.errors import UserError
from genbench.files import read_npz, sha256
from genbench.hardware import device
from genbench.scoring import features
from genbench.scoring.metrics import score
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.records import Record, write_record
from genbench.seeding import seed_for

if TYPE_CHECKING:
    from genbench.scoring.inception import InceptionWeights

__all__ = ["run"]


def run(
    params: Params, entry: str, *, inception: bool = False, inception_weights: Path | None = None
) -> None:
    """Write ``quality.json`` of an entry: every metric family of ``metrics:``, against the test
    split of the entry's data set.

    Arguments:
        params: the profile.
        entry: the entry.
        inception: also compute ``fid_inception`` and ``is_inception``; slow.
        inception_weights: weights file for that, which implies ``inception``; None downloads it. A
            file of another content than the published one must be named by
            ``protocol.inception_sha256``.

    Raises:
        FileNotFoundError: no samples or no reference features yet; names the file.
        UserError: files of another content; an unknown metric; Inception weights that cannot be
            had.
    """
    block = params.entry(entry)
    weights = (
        _inception_weights(params, inception_weights)
        if inception or inception_weights is not None
        else None
    )
    levels = spec_of(block.dataset).levels
    place = device.setup(params.compute)
    path = params.run(entry) / "samples.npz"
    images, labels = _samples(path)
    generated = FeatureSet(
        features.EXTRACTOR, *features.extract(images, levels, device=place), labels
    )
    # One seed for all entries of a data set: they are compared on the same random subsets.
    seed = seed_for("metrics", block.dataset)
    metrics, withheld = score(
        params.metrics, generated, _reference(params.features(block.dataset)), seed=seed
    )
    made_from = {
        "samples": sha256(path),
        "metrics": list(params.metrics),
        "kind": device.identity(params.compute, place)["kind"],
    }
    if weights is not None:
        from genbench.scoring.inception import METRICS

        more, reasons = score(
            METRICS,
            *_inception_sets(params, block.dataset, images, levels, weights, place),
            seed=seed,
        )
        metrics, withheld, made_from["inception"] = (
            metrics | more,
            withheld | reasons,
            weights.sha256,
        )
    write_record(params.run(entry) / "quality.json", Record(entry, metrics, withheld, made_from))


def _samples(path: Path) -> tuple[Tensor, Tensor | None]:
    arrays = read_npz(path)
    if "images" not in arrays or arrays["images"].ndim != 3:
        raise UserError(
            f"{path}: must hold images uint8 (N, 28, 28), got {', '.join(arrays) or 'nothing'}; "
            "delete it and sample again"
        )
    labels = torch.from_numpy(arrays["labels"]) if "labels" in arrays else None
    return torch.from_numpy(arrays["images"])[:, None], labels


def _reference(path: Path) -> FeatureSet:
    arrays = read_npz(path)
    if not {"features", "logits"} <= set(arrays):
        got = ", ".join(arrays) or "nothing"
        raise UserError(
            f"{path}: must hold features and logits, got {got}; delete it and run `genbench "
            "features` again"
        )
    return FeatureSet(
        features.EXTRACTOR, torch.from_numpy(arrays["features"]), torch.from_numpy(arrays["logits"])
    )


def _inception_weights(params: Params, path: Path | None) -> InceptionWeights:
    from genbench.scoring.inception import checked_weights

    return checked_weights(path, accepted=params.protocol.inception_sha256)


def _inception_sets(
    params: Params,
    dataset: str,
    images: Tensor,
    levels: int,
    weights: InceptionWeights,
    place: torch.device,
) -> tuple[FeatureSet, FeatureSet]:
    from genbench.scoring.inception import EXTRACTOR, inception_features, load_inception

    net = load_inception(weights)
    x, _ = load_split(params.data(dataset), dataset, "test")
    real = features.reference_images(x, params.protocol.feature_reference_images)
    generated, reference = (
        FeatureSet(EXTRACTOR, *inception_features(batch, levels, net, device=place))
        for batch in (images, real)
    )
    return generated, reference
