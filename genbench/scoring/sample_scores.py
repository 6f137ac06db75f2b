"""The sample scores by name: finds the metrics of `metrics:` and asks each of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable

from genbench.errors import UserError, near
from genbench.scoring import metrics
from genbench.scoring.metrics.base import FeatureSet, TooFewSamples
from genbench.scoring.records import Metric

__all__ = ["metric", "metric_names", "score"]


def metric_names() -> list[str]:
    """All metric families: the modules of :mod:`genbench.scoring.metrics` but ``base``."""
    names = {module.name for module in pkgutil.iter_modules(metrics.__path__)}
    return sorted(names - {"base"})


def metric(name: str) -> Callable[..., dict[str, Metric]]:
    """``compute`` of the metric family ``name``, imported when asked for; UserError with near
    matches if there is none.
    """
    if name not in metric_names():
        raise UserError(f"metrics: {name!r} is no metric{near(name, metric_names())}")
    module = importlib.import_module(f"{metrics.__name__}.{name}")
    compute: Callable[..., dict[str, Metric]] = module.compute
    return compute


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
