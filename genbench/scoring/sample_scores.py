"""The sample scores by name: finds the metrics of `metrics:` and asks each of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import torch

from genbench.errors import UserError, near
from genbench.files import read_npz
from genbench.scoring import metrics
from genbench.scoring.features import EXTRACTOR
from genbench.scoring.metrics.base import FeatureSet, TooFewSamples
from genbench.scoring.records import Metric

__all__ = ["metric", "metric_names", "read_reference", "score", "unbiased"]


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
    if not {"features", "logits"} <= set(arrays):
        got = ", ".join(arrays) or "nothing"
        raise UserError(
            f"{path}: must hold features and logits, got {got}; delete it and run `genbench "
            "features` again"
        )
    values, logits = (torch.from_numpy(arrays[key]) for key in ("features", "logits"))
    return FeatureSet(EXTRACTOR, values, logits)


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
