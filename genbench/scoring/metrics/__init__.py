"""One file per metric family, pure functions of features.

A metric is a module of this package, named in ``metrics:`` of params.yaml, with
``compute(generated, reference, *, seed) -> dict[str, Metric]``: features of the samples first,
always. A metric that does not apply returns ``{}``, one that has too few images raises
:class:`~genbench.scoring.metrics.base.TooFewSamples`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from genbench.errors import UserError, near

if TYPE_CHECKING:
    from genbench.scoring.metrics.base import FeatureSet
    from genbench.scoring.records import Metric

__all__ = ["metric", "metric_names", "score"]


def metric_names() -> list[str]:
    """All metric families: the modules of this package but ``base``."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def metric(name: str) -> Callable[..., dict[str, Metric]]:
    """``compute`` of the metric family ``name``, imported when asked for; UserError with near
    matches if there is none.
    """
    if name not in metric_names():
        raise UserError(f"metrics: {name!r} is no metric{near(name, metric_names())}")
    module = importlib.import_module(f"{__name__}.{name}")
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
    from genbench.scoring.metrics.base import TooFewSamples

    metrics: dict[str, Metric] = {}
    withheld: dict[str, str] = {}
    for compute in [metric(name) for name in names]:
        try:
            metrics |= compute(generated, reference, seed=seed)
        except TooFewSamples as error:
            withheld |= dict.fromkeys(error.keys, str(error))
    return metrics, withheld
