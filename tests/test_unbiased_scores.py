"""What metrics declare of the number of samples: the mean of an unbiased score over small parts of
a set is the score of the whole set, that of others is another one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import torch

from genbench.errors import UserError
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.sample_scores import metric_names, score, unbiased

PARTS, SEEDS = 40, 5
DEPENDENT = {
    "fid": "fid_mnist",
    "inception_score": "is_mnist",
    "density_coverage": "coverage_mnist",
    "class_shares": "min_class_share",
}
"""Families, and a score of each that more samples make better."""


def features(spread: float, n: int, seed: int) -> FeatureSet:
    """Gaussian features, their classes by direction, and labels that are right for most."""
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.normal(0, spread, (n, 4))).float()
    random = torch.from_numpy(rng.integers(0, 4, n))
    labels = torch.where(torch.from_numpy(rng.random(n) < 0.6), values.argmax(1), random)
    return FeatureSet("mnist", values, 2 * values, labels)


def part(whole: FeatureSet, seed: int) -> FeatureSet:
    index = torch.from_numpy(np.random.default_rng(seed).permutation(len(whole))[:40])
    assert whole.logits is not None
    assert whole.labels is not None
    return FeatureSet("mnist", whole.features[index], whole.logits[index], whole.labels[index])


@pytest.fixture(scope="module")
def distances() -> dict[str, float]:
    """By how many standard errors the mean over small parts and the whole set's score differ."""
    whole, reference = features(0.9, 400, 1), features(1.0, 300, 2)
    declaring = [name for name in metric_names() if unbiased([name], "mnist")]
    families = sorted({*declaring, *DEPENDENT})

    def collected(sets: Iterable[FeatureSet]) -> dict[str, np.ndarray]:
        found = [score(families, one, reference, seed=i)[0] for i, one in enumerate(sets)]
        return {key: np.array([scores[key].value for scores in found]) for key in found[0]}

    small = collected(part(whole, seed) for seed in range(PARTS))
    large = collected([whole] * SEEDS)  # some draw random subsets
    return {
        key: abs(small[key].mean() - large[key].mean())
        / np.sqrt(small[key].var(ddof=1) / PARTS + large[key].var(ddof=1) / SEEDS)
        for key in small
    }


def test_an_unbiased_score_does_not_depend_on_the_number_of_samples(
    distances: dict[str, float],
) -> None:
    declared = unbiased(metric_names(), "mnist") & distances.keys()
    assert {"kid_mnist", "precision_mnist", "density_mnist", "label_fidelity"} <= declared
    assert {key: distances[key] for key in declared if distances[key] > 4} == {}


@pytest.mark.parametrize("key", DEPENDENT.values())
def test_what_depends_on_the_number_of_samples_is_not_declared_unbiased(
    distances: dict[str, float], key: str
) -> None:
    assert distances[key] > 5
    assert key not in unbiased(metric_names(), "mnist")


def test_the_declared_ones_are_found_by_family_and_extractor() -> None:
    assert "fid_mnist" not in unbiased(["fid", "kid"], "mnist")
    assert {"kid_mnist"} <= unbiased(["fid", "kid"], "mnist")
    assert "precision_inception" in unbiased(["precision_recall"], "inception")
    assert "precision_mnist" not in unbiased(["precision_recall"], "inception")
    with pytest.raises(UserError, match="'fidd' is no metric"):
        unbiased(["fidd"], "mnist")
