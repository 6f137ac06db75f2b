"""A lower bound on the Jensen–Shannon divergence of samples and real images in feature space, in
bits, by a classifier that tells them apart.

For a classifier D, which gives the probability that an image is real, and equal numbers of both,

    JSD >= 1 + 1/2 mean over real images of log2 D + 1/2 mean over samples of log2 (1 - D)

on average, with equality for D = p/(p + q): Goodfellow et al., "Generative Adversarial Nets", 2014,
https://arxiv.org/abs/1406.2661, theorem 1. Krimmel et al., "PolyGraph Discrepancy", 2025,
https://arxiv.org/abs/2510.06122, score generative models of graphs by it. 0 bits: nothing to tell
them apart by was found; 1 bit: each image is told.

D is a logistic regression on the features with their squares and products, so that it sees
covariances too. It is fitted to other images than those that it is asked about, else a set would be
told from its own copy.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from genbench.scoring.groups import GROUPS, groups_of
from genbench.scoring.jackknife import Estimate, means_without
from genbench.scoring.metrics.base import FeatureSet, need_pair
from genbench.scoring.records import Metric
from genbench.seeding import generator_for

__all__ = ["FOLDS", "compute", "image_terms"]

FOLDS = 5
_INVERSE_PENALTY = 1e-3  # of the regression, which has a column for every three rows or so
_TOLERANCE = 1e-3  # of its gradient: half the steps of sklearn's default, and bounds as high
_WIDEST = 100  # features; of wider ones the squares and products no longer fit
_STEEPEST = 20.0  # factor up to which the logits of the strongly penalised regression are scaled
_CHANCE = 4.0  # nats of gain over a coin that chance gives in a few of a hundred cases


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``jsd_<extractor>`` in bits, 0 where the classifier found nothing, and negative where what it
    found does not hold for other images; empty for features wider than 100. ``seed`` is unused.

    Of the larger set only as many images are used as the smaller one has, chosen by one fixed
    permutation. An image counts twice, when it is judged and when it is learnt from. Refitting
    without each group would take too long; so what a group weighs among those that are judged is
    doubled, as it is right where the fit is limited by the number of images, and up to twice too
    much where differences are plain. The standard error leaves training out; where nothing was
    found there is none, since a coin has no spread, which says nothing of how well it was looked.

    Raises:
        UserError: features that do not belong together.
        TooFewSamples: fewer than one image a group.
    """
    key = f"jsd_{generated.extractor}"
    need_pair([key], generated, reference, GROUPS, f"one in each of {GROUPS} groups")
    if generated.features.shape[1] > _WIDEST:
        return {}
    n = min(len(generated), len(reference))
    fake, real = image_terms(_some(generated.features, n), _some(reference.features, n))
    groups = groups_of(n)
    bound = 1 + (means_without(fake, groups) + means_without(real, groups)) / 2
    bound[1:] += bound[1:] - bound[0]
    found = Estimate.of(bound)
    detail = {"folds": FOLDS, "compared_n": n, "reference_n": len(reference), **found.detail}
    error = found.stderr or None
    return {key: Metric(found.value, error, len(generated), higher_is_better=False, detail=detail)}


def _some(features: Tensor, n: int) -> np.ndarray:
    order = torch.randperm(len(features), generator=generator_for("jsd", len(features)))
    return features[order[:n]].numpy()


def image_terms(generated: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log2 (1 - D) of each sample and log2 D of each real image, float64 (n,) each.

    Each image has been no part of what its D was made from. Of five folds every two are left out of
    one regression. Of the four that left out an image's own fold, the logits are averaged, and
    scaled by one factor that is fitted to what these regressions say of the other four folds. It is
    0 where that is no better than chance, so that D is a half where there is nothing to find.

    Arguments:
        generated: features float32 (n, D).
        reference: features float32 (n, D).
    """
    n = len(generated)
    x = _expanded(np.concatenate([generated, reference]))
    is_real = np.repeat([0, 1], n)
    fold = np.concatenate([_folds(n, "generated"), _folds(n, "reference")])
    logits = _logits(x, is_real, fold)
    final = np.empty(2 * n)
    for own in range(FOLDS):
        others, mine = fold != own, fold == own
        factor = _factor(logits[others, own], is_real[others])
        final[mine] = factor * np.delete(logits[mine], own, axis=1).mean(1)
    terms = -np.logaddexp(0, np.where(is_real == 1, -final, final)) / np.log(2)
    return terms[:n], terms[n:]


def _expanded(x: np.ndarray) -> np.ndarray:
    """Standardised features with their squares and products, standardised, float32 (n, D + D (D +
    1)/2).
    """
    x = _standardised(x)
    first, second = np.triu_indices(x.shape[1])
    return np.concatenate([x, _standardised(x[:, first] * x[:, second])], 1)


def _standardised(x: np.ndarray) -> np.ndarray:
    spread = x.std(0, dtype=np.float64)
    # A feature that is the same everywhere tells nothing.
    scale = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0)
    return ((x - x.mean(0, dtype=np.float64)) * scale).astype(np.float32)


def _folds(n: int, name: str) -> np.ndarray:
    """The fold of each of n images, shuffled, with as many images in each as can be."""
    order = torch.randperm(n, generator=generator_for("jsd folds", name, n)).numpy()
    folds = np.empty(n, np.int64)
    folds[order] = np.arange(n) % FOLDS
    return folds


def _logits(x: np.ndarray, is_real: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Column j: the logit by the regression on all images but those of fold j and of the image's
    own fold; (images, ``FOLDS``), 0 where both are the same.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second

    found = np.zeros((len(x), FOLDS))
    for i, j in itertools.combinations(range(FOLDS), 2):
        rest = (fold != i) & (fold != j)
        model = LogisticRegression(C=_INVERSE_PENALTY, tol=_TOLERANCE, max_iter=200)
        model.fit(x[rest], is_real[rest])
        for own, other in ((i, j), (j, i)):
            found[fold == own, other] = model.decision_function(x[fold == own])
    return found


def _factor(logits: np.ndarray, is_real: np.ndarray) -> float:
    """The factor, not negative, under which logits describe the images best; 0 unless they do so
    by more than chance.
    """
    signed = np.where(is_real == 1, -logits, logits)
    best = minimize_scalar(
        lambda factor: np.logaddexp(0, factor * signed).mean(),
        bounds=(0, _STEEPEST),
        method="bounded",
    )
    gain = len(signed) * (np.log(2) - float(best.fun))
    return float(best.x) if gain > _CHANCE else 0.0
