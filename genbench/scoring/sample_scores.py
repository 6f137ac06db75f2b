"""The sample scores by name: finds the metrics of `metrics:` and asks each of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch

from genbench.data.splits import load_split
from genbench.errors import UserError, near
from genbench.files import read_npz
from genbench.scoring import metrics
from genbench.scoring.features import EXTRACTOR, reference_images
from genbench.scoring.metrics.base import FeatureSet, TooFewSamples
from genbench.scoring.records import Metric

__all__ = ["metric", "metric_names", "read_reference", "score", "unbiased", "with_images"]


def metric_names() -> list[str]:
    """All metric families: the modules of :mod:`genbench.scoring.metrics` but ``base``."""
    names = {module.name for module in pkgutil.iter_modules(metrics.__path__)}
    return sorted(names - {"base"})


def metric(name: str) -> Callable[..., dict[str, Metric]]:
    """``compute`` of the metric family ``name``, imported when asked for; UserError with near
    matches if there is none.
    """
    compute: Callable[..., dict[str, Metric]] = _module(name).compute
    return compute


def unbiased(names: Iterable[str], extractor: str) -> frozenset[str]:
    """Keys of those scores of the named families whose mean does not depend on the number of
    samples, by ``UNBIASED`` of their modules; errors as of :func:`metric`.
    """
    stems = [stem for name in names for stem in getattr(_module(name), "UNBIASED", ())]
    return frozenset([*stems, *(f"{stem}_{extractor}" for stem in stems)])


def _module(name: str) -> ModuleType:
    if name not in metric_names():
        raise UserError(f"metrics: {name!r} is no metric{near(name, metric_names())}")
    return importlib.import_module(f"{metrics.__name__}.{name}")


def read_reference(path: Path) -> FeatureSet:
    """The reference features that the stage ``features`` wrote.

    Raises:
        FileNotFoundError: there are none yet; names the file.
        ValueError: a file of another content; names it.
    """
    arrays = read_npz(path)
    if not {"features", "logits", "train_features"} <= set(arrays):
        got = ", ".join(arrays) or "nothing"
        raise UserError(
            f"{path}: must hold features, logits and train_features, got {got}; delete it and run "
            "`genbench features` again"
        )
    found = {key: torch.from_numpy(array) for key, array in arrays.items()}
    training = FeatureSet(EXTRACTOR, found["train_features"], labels=found.get("train_labels"))
    values, logits = found["features"], found["logits"]
    return FeatureSet(EXTRACTOR, values, logits, found.get("labels"), training=training)


def with_images(reference: FeatureSet, data: Path, dataset: str) -> FeatureSet:
    """Reference features with the images that they are of, which scores of labelled samples need.

    Arguments:
        reference: what :func:`read_reference` gives.
        data: the arrays of the data set.
        dataset: its name.
    """
    training = reference.training
    assert training is not None
    test, train = (load_split(data, dataset, split)[0] for split in ("test", "train"))
    return replace(
        reference,
        images=reference_images(test, len(reference)),
        training=replace(training, images=reference_images(train, len(training))),
    )


def score(
    names: Iterable[str], generated: FeatureSet, reference: FeatureSet, *, seed: int
) -> tuple[dict[str, Metric], dict[str, str]]:
    """The metrics of the named families, and the reasons for those that have too few images.

    Arguments:
        names: metric families.
        generated: features of the samples.
        reference: features of real images.
        seed: of the random subsets that some metrics use.

    Returns:
        metrics by key, and reasons by key.

    Raises:
        UserError: unknown family, features that do not belong together.
    """
    found: dict[str, Metric] = {}
    withheld: dict[str, str] = {}
    for compute in [metric(name) for name in names]:
        try:
            found |= compute(generated, reference, seed=seed)
        except TooFewSamples as error:
            withheld |= dict.fromkeys(error.keys, str(error))
    return found, withheld
