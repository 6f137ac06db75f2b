"""Scored entries for the tests of comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genbench.comparison.scored import Scored


def entry(
    name: str,
    nats: np.ndarray | Sequence[Sequence[float]],
    *,
    family: str = "flow",
    kind: str = "exact",
    dataset: str = "mnist",
    images: Sequence[int] | np.ndarray | None = None,
    log_z_stderr: Sequence[float] | None = None,
) -> Scored:
    """An entry with these nats (seeds, n), of the first n test images where none are named."""
    values = np.asarray(nats, float)
    chosen = np.arange(values.shape[-1]) if images is None else np.asarray(images)
    errors = [0.0] * len(values) if log_z_stderr is None else log_z_stderr
    return Scored(name, family, dataset, kind, chosen, values, tuple(errors))


def shifted(means: Sequence[float], images: np.ndarray) -> np.ndarray:
    """Nats (seeds, n) of images (n,) that a seed moves all alike: no noise, and the test means are
    ``means`` where the images' is 0.
    """
    return np.asarray(means, float)[:, None] + images


def waves(n: int = 100, size: float = 1.0) -> np.ndarray:
    """Alternately +size and -size (n,): mean 0, variance (ddof 1) size² n / (n - 1) for even n."""
    return size * np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
