"""The score as a distribution: the probabilities of all images."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from genbench.base import GenerativeModel, Likelihood
from tests.contract.images import each_label, every_image, labels_of, rng

__all__ = [
    "EXHAUSTIVE",
    "Scores",
    "check_mass",
    "check_more_draws_tighten",
    "log_likelihood_of",
    "scores",
]


EXHAUSTIVE = ("terms", "probes")
"""Keywords of ``log_likelihood`` that thin out a sum by chance; 0 stands for the whole sum."""


@dataclass(frozen=True)
class Scores:
    """Probabilities that the score gives all images of a shape, for one label.

    Attributes:
        p: float64 (S,); for a bound, a lower bound of them.
        mass: their sum.
        mass_stderr: standard error of ``mass`` over repeated draws.
        p_error: sum of the standard errors of ``p``; half of it bounds what they add to a total
            variation, on average.
        two_sided: whether ``p`` is P itself (up to noise) and no mere bound.
    """

    p: np.ndarray
    mass: float
    mass_stderr: float
    p_error: float
    two_sided: bool


@torch.no_grad()
def scores(model: GenerativeModel, y: Tensor | None) -> Scores:
    """Score every image. Bounds are averaged over repeated draws: as weights where these are
    unbiased, else as logs.
    """
    x = every_image(model.spec)
    if model.likelihood in (Likelihood.EXACT, Likelihood.ESTIMATE):
        p = log_likelihood_of(model, x, y, 5).exp().numpy()
        return Scores(p, float(p.sum()), 0.0, 0.0, two_sided=True)
    keywords = inspect.signature(model.log_likelihood).parameters
    draws = {"draws": 32} if model.sums_classes and "draws" in keywords else {}
    exhaustive = {name: 0 for name in EXHAUSTIVE if name in keywords}
    # A bound without draws is dear, and only its excess over 1 is tested.
    repeats = 16 if draws else 8
    many, labels = x.repeat(repeats, 1, 1, 1), None if y is None else y.repeat(repeats)
    logs = (
        log_likelihood_of(model, many, labels, 5, **draws, **exhaustive)
        .view(repeats, len(x))
        .numpy()
    )
    mean = logs.mean(0)
    weights = np.exp(logs) if model.sums_classes else np.exp(mean) * (1 + logs - mean)
    stderr = weights.std(0, ddof=1) / repeats**0.5
    masses = weights.sum(1)
    return Scores(
        weights.mean(0),
        float(masses.mean()),
        float(masses.std(ddof=1) / repeats**0.5),
        float(stderr.sum()),
        two_sided=bool(draws),  # a bound without draws never estimates P, however often it is taken
    )


def log_likelihood_of(
    model: GenerativeModel, x: Tensor, y: Tensor | None, seed: int, **options: int
) -> Tensor:
    log_p = model.log_likelihood(x, y, rng=rng(seed), **options)
    form = f"{log_p.dtype} {tuple(log_p.shape)}"
    assert log_p.shape == (len(x),) and log_p.dtype == torch.float64, (
        f"log_likelihood must be torch.float64 (B,), got {form}"
    )
    assert bool(log_p.isfinite().all()), "log_likelihood is not finite"
    return log_p


def check_mass(model: GenerativeModel) -> None:
    """Probabilities of all images sum to 1 for EXACT (in float64), to at most 1 for a bound (to 1
    if its weights are unbiased), to about 1 for an estimate; for each label.
    """
    if model.likelihood is Likelihood.NONE:
        pytest.skip("it has no likelihood")
    if model.likelihood is Likelihood.EXACT:
        model = copy.deepcopy(model).double()
    info = model.prepare_likelihood(rng=rng(4))
    for y in each_label(model, len(every_image(model.spec))):
        found = scores(model, y)
        if model.likelihood is Likelihood.EXACT:
            tolerance = 1e-9
        elif model.likelihood is Likelihood.ESTIMATE:
            assert info["log_z_stderr"] < 0.2, f"log Z is too uncertain to test: {info}"
            tolerance = 0.01 + 5 * info["log_z_stderr"]
        else:
            assert found.mass_stderr < 0.1, (
                f"the sum of the bound is too uncertain to test: {found.mass:.3f} +- "
                f"{found.mass_stderr:.3f}"
            )
            tolerance = 1e-3 + 5 * found.mass_stderr
        excess = abs(found.mass - 1) if found.two_sided else found.mass - 1
        assert excess <= tolerance, (
            f"the probabilities of all images sum to {found.mass:.12f} (tolerance {tolerance:.1e})"
        )


def check_more_draws_tighten(model: GenerativeModel) -> None:
    """A bound with the keyword ``draws`` grows with it, on average over all images."""
    if "draws" not in inspect.signature(model.log_likelihood).parameters:
        pytest.skip("its log_likelihood has no keyword `draws`")
    x = every_image(model.spec)
    y = labels_of(model, len(x))
    gains = []
    with torch.no_grad():
        for seed in range(12):
            one, many = (log_likelihood_of(model, x, y, seed, draws=k).mean() for k in (1, 16))
            gains.append(float(many - one))
    gain, stderr = float(np.mean(gains)), float(np.std(gains, ddof=1)) / len(gains) ** 0.5
    assert gain > -4 * stderr - 1e-6, (
        f"16 draws give a bound {-gain:.4f} +- {stderr:.4f} nats below that of 1"
    )
