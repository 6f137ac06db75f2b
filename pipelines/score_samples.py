"""Stage ``score_samples``: samples and reference features in, sample scores out."""

from __future__ import annotations

from dataclasses import replace
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
from genbench.scoring.features import EXTRACTOR, extract, reference_images
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.records import Record, write_record
from genbench.scoring.sample_scores import read_reference, score, with_images
from genbench.seeding import seed_for

if TYPE_CHECKING:
    from genbench.scoring.inception import InceptionWeights

__all__ = ["run"]


def run(
    params: Params,
    name: str,
    *,
    features: Path,
    samples: Path,
    quality: Path,
    data: Path,
    inception: bool = False,
    inception_weights: Path | None = None,
) -> None:
    """Score the samples of an entry by every metric family of ``metrics:``, against the test split
    of its data set.

    Arguments:
        params: the profile.
        name: the entry.
        features: read: the reference features of its data set.
        samples: read: its samples.
        quality: written: the record of scores.
        data: read for Inception scores, and for samples with labels, whose pixels are compared:
            the arrays of its data set.
        inception: also compute ``fid_inception`` and ``is_inception``; slow.
        inception_weights: weights file for that, which implies ``inception``; None downloads it. A
            file of another content than the published one must be named by
            ``protocol.inception_sha256``.

    Raises:
        FileNotFoundError: no samples or no reference features yet; names the file.
        UserError: files of another content; an unknown metric; Inception weights that cannot be
            had.
    """
    entry = params.entry(name)
    net_weights = None
    if inception or inception_weights is not None:
        net_weights = _inception_weights(params, inception_weights)
    levels = spec_of(entry.dataset).levels
    place = device.setup(params.compute)
    images, labels = _samples(samples)
    generated = FeatureSet(EXTRACTOR, *extract(images, levels, device=place), labels)
    reference = read_reference(features)
    if labels is not None:
        generated = replace(generated, images=images)
        reference = with_images(reference, data, entry.dataset)
    # One seed for all entries of a data set: they are compared on the same random subsets.
    seed = seed_for("metrics", entry.dataset)
    metrics, withheld = score(params.metrics, generated, reference, seed=seed)
    made_from = {
        "samples": sha256(samples),
        "metrics": list(params.metrics),
        "kind": device.identity(params.compute, place)["kind"],
    }
    if net_weights is not None:
        from genbench.scoring.inception import METRICS

        x, _ = load_split(data, entry.dataset, "test")
        real = reference_images(x, params.protocol.feature_reference_images)
        sets = _inception_sets(images, real, levels, net_weights, place)
        more, reasons = score(METRICS, *sets, seed=seed)
        metrics, withheld = metrics | more, withheld | reasons
        made_from["inception"] = net_weights.sha256
    write_record(quality, Record(name, metrics, withheld, made_from))


def _samples(path: Path) -> tuple[Tensor, Tensor | None]:
    arrays = read_npz(path)
    if "images" not in arrays or arrays["images"].ndim != 3:
        raise UserError(
            f"{path}: must hold images uint8 (N, 28, 28), got {', '.join(arrays) or 'nothing'}; "
            "delete it and sample again"
        )
    labels = torch.from_numpy(arrays["labels"]) if "labels" in arrays else None
    return torch.from_numpy(arrays["images"])[:, None], labels


def _inception_weights(params: Params, path: Path | None) -> InceptionWeights:
    from genbench.scoring.inception import checked_weights

    return checked_weights(path, accepted=params.protocol.inception_sha256)


def _inception_sets(
    images: Tensor, real: Tensor, levels: int, weights: InceptionWeights, place: torch.device
) -> tuple[FeatureSet, FeatureSet]:
    """Inception features of samples and of test images, each uint8 (n, 1, H, W)."""
    from genbench.scoring.inception import EXTRACTOR, inception_features, load_inception

    net = load_inception(weights)
    generated, reference = (
        FeatureSet(EXTRACTOR, *inception_features(batch, levels, net, device=place))
        for batch in (images, real)
    )
    return generated, reference
