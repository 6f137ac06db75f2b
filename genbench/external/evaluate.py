"""Images that others made, scored as the samples of an entry are: the same features, reference,
metrics and random subsets, and as many images.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace

import torch

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.data.datasets import sizes_of, spec_of
from genbench.errors import UserError
from genbench.external.images import Images, chosen
from genbench.external.nats import Nats, nats_metrics
from genbench.external.rows import scored_by
from genbench.files import sha256
from genbench.hardware import device
from genbench.scoring.features import EXTRACTOR, extract
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.records import Metric, Record
from genbench.scoring.sample_scores import read_reference, score, unbiased, with_images
from genbench.seeding import seed_for

__all__ = ["evaluate"]


def evaluate(
    params: Params, dataset: str, images: Images, nats: Nats | None = None, *, name: str
) -> Record:
    """The scores of images, of more than ``protocol.samples`` those that
    :func:`~genbench.external.images.chosen` takes; of fewer, scores that depend on the number are
    withheld.

    Arguments:
        params: the profile.
        dataset: whose images they are like.
        images: what is scored.
        nats: likelihoods of test images that were reported with them.
        name: what the record calls them.

    Returns:
        the record; its ``made_from`` is ``made_elsewhere`` of the leaderboard's schema.

    Raises:
        UserError: the reference features are not there or not of this protocol; says how to make
            them.
    """
    reference, asked = _reference(params, dataset), params.protocol.samples
    place = device.setup(params.compute)
    scored = images.part(chosen(len(images), asked))
    x = torch.from_numpy(scored.images)[:, None]
    labels = None if scored.labels is None else torch.from_numpy(scored.labels)
    levels = spec_of(dataset).levels
    generated = FeatureSet(EXTRACTOR, *extract(x, levels, device=place), labels)
    if labels is not None:
        generated = replace(generated, images=x)
        reference = with_images(reference, Layout.of(params).data(dataset), dataset)
    # The subsets that the entries of the data set are compared on, by the stage score_samples.
    seed = seed_for("metrics", dataset)
    metrics, withheld = score(params.metrics, generated, reference, seed=seed)
    if len(images) < asked:
        metrics, biased = _without_biased(params, metrics, len(images))
        withheld |= biased
    made_from = {
        "samples": images.digest,
        "nats": None if nats is None else nats.digest,
        "images": len(images),
        "labels": images.labels is not None,
        **scored_by(params),
        "features": sha256(Layout.of(params).features(dataset)),
        "kind": device.identity(params.compute, place)["kind"],
    }
    reported = {} if nats is None else nats_metrics(nats, spec_of(dataset))
    return Record(name, {**reported, **metrics}, withheld, made_from)


def _reference(params: Params, dataset: str) -> FeatureSet:
    """The features that the entries are compared with."""
    path, profile = Layout.of(params).features(dataset), params.profile
    of = dataset if profile == "quick" else f"{dataset} --profile {shlex.quote(profile)}"
    make = f"`genbench prepare {of}` and `genbench features {of}` make it"
    if not path.is_file():
        raise UserError(
            f"{path} is not there: the features of the test images that samples are compared "
            f"with; {make}"
        )
    reference = read_reference(path)
    wanted = min(params.protocol.feature_reference_images, sizes_of(dataset)["test"])
    if len(reference) != wanted:
        raise UserError(
            f"{path} has the features of {len(reference)} test images, and the protocol of "
            f"{profile!r} asks for {wanted}; {make} anew"
        )
    return reference


def _without_biased(
    params: Params, metrics: Mapping[str, Metric], n: int
) -> tuple[dict[str, Metric], dict[str, str]]:
    """The metrics that do not depend on the number of samples, and the reason for each other."""
    fair = unbiased(params.metrics, EXTRACTOR)
    reason = (
        f"depends on the number of samples, and there are {n:,} where each entry has "
        f"{params.protocol.samples:,}"
    )
    kept = {key: metric for key, metric in metrics.items() if key in fair}
    return kept, {key: reason for key in metrics if key not in fair}
