"""Metrics against closed forms, direct computations, and the damage that they must see on real
digits.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from torch import Tensor

import genbench.scoring.metrics
from benchmarks.metric_behaviour import DAMAGES, digits, features_of
from genbench.data.splits import Dataset
from genbench.errors import UserError
from genbench.scoring.metrics import inception_score, kid
from genbench.scoring.metrics.base import FeatureSet, TooFewSamples
from genbench.scoring.metrics.class_shares import compute as class_shares
from genbench.scoring.metrics.label_fidelity import compute as label_fidelity
from genbench.scoring.sample_scores import metric, metric_names, score

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = [
    "fid",
    "fid_unbiased",
    "fid_train",
    "inception_score",
    "kid",
    "kid_rbf",
    "precision_recall",
    "density_coverage",
    "clipped_density_coverage",
    "jsd",
    "vendi",
    "label_fidelity",
    "classification_accuracy",
    "class_shares",
]
PAIRED = [
    family
    for family in FAMILIES
    if family
    not in (
        "fid_train",
        "inception_score",
        "label_fidelity",
        "classification_accuracy",
        "class_shares",
    )
]
"""Families that compare features of samples with those of the reference."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def feature_set(
    values: np.ndarray | Tensor, logits: Tensor | None = None, labels: Tensor | None = None
) -> FeatureSet:
    return FeatureSet("mnist", torch.as_tensor(values, dtype=torch.float32), logits, labels)


def gaussian(n: int, d: int, *, shift: float = 0.0, seed: int = 0) -> FeatureSet:
    return feature_set(rng(seed).normal(shift, 1, (n, d)))


def values(family: str, generated: FeatureSet, reference: FeatureSet) -> dict[str, float]:
    return {key: m.value for key, m in metric(family)(generated, reference, seed=0).items()}


# ---------------------------------------------------------------------- FID


def exact_gaussian(n: int, mean: np.ndarray, covariance: np.ndarray, seed: int) -> FeatureSet:
    """Points whose sample mean and sample covariance are exactly the given ones."""
    x = rng(seed).normal(size=(n, len(mean)))
    x -= x.mean(0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(x, rowvar=False)), x.T).T
    return feature_set(white @ np.linalg.cholesky(covariance).T + mean)


def random_covariance(d: int, seed: int) -> np.ndarray:
    a = rng(seed).normal(size=(d, d))
    return a @ a.T / d + 0.1 * np.eye(d)


def test_fid_of_independent_gaussians_is_the_squared_distance_of_means_and_deviations() -> None:
    s1, s2, shift = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.5]), np.array([1.0, -2.0, 0.0])
    a, b = (
        exact_gaussian(500, np.zeros(3), np.diag(s1**2), 1),
        exact_gaussian(700, shift, np.diag(s2**2), 2),
    )
    assert values("fid", a, b)["fid_mnist"] == pytest.approx(
        np.sum(shift**2) + np.sum((s1 - s2) ** 2), rel=1e-5
    )


def test_fid_of_correlated_gaussians() -> None:
    d = 8
    m1, m2, c1, c2 = (
        rng(3).normal(size=d),
        rng(4).normal(size=d),
        random_covariance(d, 5),
        random_covariance(d, 6),
    )
    root = scipy.linalg.sqrtm(c1)
    expected = np.sum((m1 - m2) ** 2) + np.trace(
        c1 + c2 - 2 * scipy.linalg.sqrtm(root @ c2 @ root).real
    )
    assert values("fid", exact_gaussian(400, m1, c1, 7), exact_gaussian(300, m2, c2, 8))[
        "fid_mnist"
    ] == pytest.approx(expected, rel=1e-5)


def test_fid_of_identical_sets_is_zero_even_with_dead_features() -> None:
    x = rng().normal(size=(50, 6)).clip(0)
    x[:, 2] = 0
    assert values("fid", feature_set(x), feature_set(x))["fid_mnist"] == pytest.approx(0, abs=1e-6)


# ---------------------------------------------------------------------- Inception Score


def test_inception_score_of_even_certain_classes_is_their_number() -> None:
    # Where a sample comes to lie in the splits.
    of_place = np.argsort(np.random.RandomState(2020).permutation(200))
    logits = 100 * torch.eye(10)[torch.from_numpy(of_place) % 10]  # so that each split is even
    result = inception_score.compute(
        feature_set(torch.zeros(200, 2), logits), gaussian(2, 2), seed=0
    )["is_mnist"]
    assert result.value == pytest.approx(10, rel=1e-6)
    assert result.stderr == pytest.approx(0, abs=1e-6)


def test_inception_score_of_uncertain_classes_is_one() -> None:
    assert values(
        "inception_score", feature_set(torch.zeros(50, 2), torch.zeros(50, 10)), gaussian(2, 2)
    )["is_mnist"] == pytest.approx(1)


def test_inception_score_is_the_mean_of_ten_splits_of_permuted_samples() -> None:
    # Not exchangeable: another permutation, or none, would show.
    logits = (
        torch.from_numpy(rng().normal(size=(300, 10))).float() * torch.linspace(0, 3, 300)[:, None]
    )
    # Its stream is frozen, unlike that of a Generator.
    order = np.random.RandomState(2020).permutation(300)
    p = scipy.special.softmax(logits.double().numpy(), 1)[order].reshape(10, 30, 10)
    q = p.mean(1, keepdims=True)
    scores = np.exp((p * np.log(p / q)).sum(2).mean(1))
    result = inception_score.compute(
        feature_set(torch.zeros(300, 2), logits), gaussian(2, 2), seed=0
    )["is_mnist"]
    assert result.value == pytest.approx(scores.mean(), rel=1e-6)
    assert result.stderr == pytest.approx(scores.std(ddof=1) / math.sqrt(10), rel=1e-6)


def test_inception_score_of_samples_in_the_order_of_their_classes_is_not_one() -> None:
    # With consecutive splits each would hold one class.
    logits = 100 * torch.eye(10).repeat_interleave(100, 0)
    score = values("inception_score", feature_set(torch.zeros(1000, 2), logits), gaussian(2, 2))[
        "is_mnist"
    ]
    assert 9 < score <= 10


# ---------------------------------------------------------------------- KID


def mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared MMD under the kernel (x.y/D + 1)^3, by its definition."""

    def k(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (np.einsum("id,jd->ij", a, b) / a.shape[1] + 1) ** 3

    off = ~np.eye(len(x), dtype=bool)
    return float(k(x, x)[off].mean() + k(y, y)[off].mean() - 2 * k(x, y).mean())


def test_kid_of_whole_sets_is_the_unbiased_mmd() -> None:
    x, y = gaussian(60, 5, shift=0.3, seed=1), gaussian(60, 5, seed=2)
    result = kid.compute(x, y, seed=0)["kid_mnist"]
    assert result.value == pytest.approx(
        mmd(x.features.double().numpy(), y.features.double().numpy()), rel=1e-9
    )
    assert result.stderr is None  # one subset, a hundred times: its spread says nothing


def kid_repeats(shift: float) -> tuple[list[float], list[float]]:
    """Values and standard errors of 30 independent repeats."""
    pairs = [
        (gaussian(400, 4, shift=shift, seed=2 * s), gaussian(400, 4, seed=2 * s + 1))
        for s in range(30)
    ]
    results = [kid.compute(*pair, seed=s)["kid_mnist"] for s, pair in enumerate(pairs)]
    return [r.value for r in results], [r.stderr for r in results if r.stderr is not None]


def test_kid_of_equal_distributions_is_zero_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kid, "SUBSET_SIZE", 50)
    got, stderrs = kid_repeats(0)
    assert abs(np.mean(got)) < 4 * np.std(got, ddof=1) / math.sqrt(30)
    assert np.std(got, ddof=1) < np.mean(stderrs) < 4 * np.std(got, ddof=1)


def test_the_standard_error_of_kid_is_its_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kid, "SUBSET_SIZE", 50)
    got, stderrs = kid_repeats(0.4)
    assert np.mean(stderrs) == pytest.approx(np.std(got, ddof=1), rel=0.4)


def test_kid_depends_on_nothing_but_features_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kid, "SUBSET_SIZE", 50)
    x, y = gaussian(100, 3, seed=1), gaussian(100, 3, seed=2)
    assert kid.compute(x, y, seed=5) == kid.compute(x, y, seed=5)
    assert kid.compute(x, y, seed=5) != kid.compute(x, y, seed=6)


# ------------------------------------------------------------- precision, recall, density, coverage


def brute_force(x: np.ndarray, y: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances (N, M), and the radii to the k-th other point within x and within y."""

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(2))

    return distance(x, y), np.sort(distance(x, x))[:, k], np.sort(distance(y, y))[:, k]


def test_precision_and_recall_by_brute_force() -> None:
    x, y = gaussian(80, 4, shift=0.8, seed=1), gaussian(120, 4, seed=2)
    d, radius_x, radius_y = brute_force(x.features.double().numpy(), y.features.double().numpy(), 3)
    got = values("precision_recall", x, y)
    assert got["precision_mnist"] == pytest.approx((d <= radius_y).any(1).mean())
    assert got["recall_mnist"] == pytest.approx((d.T <= radius_x).any(1).mean())
    assert 0 < got["recall_mnist"] < got["precision_mnist"] < 1


def test_density_and_coverage_by_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = gaussian(80, 4, shift=0.8, seed=1), gaussian(120, 4, seed=2)
    d, _, radius = brute_force(x.features.double().numpy(), y.features.double().numpy(), 5)
    held = d <= radius
    got = values("density_coverage", x, y)
    assert got["density_mnist"] == pytest.approx(held.sum() / (5 * 80))
    assert got["coverage_mnist"] == pytest.approx(held.any(0).mean())
    monkeypatch.setattr("genbench.scoring.neighbours._ROWS", 7)
    again = values("density_coverage", feature_set(x.features), feature_set(y.features))
    assert again == got


def test_a_collapsed_generator_is_precise_and_recalls_nothing() -> None:
    real = gaussian(500, 8)
    collapsed = feature_set(
        real.features[:1] + 1e-4 * torch.from_numpy(rng(1).normal(size=(500, 8)))
    )
    got = values("precision_recall", collapsed, real) | values("density_coverage", collapsed, real)
    assert got["precision_mnist"] == 1
    assert got["recall_mnist"] <= 1.01 / 500  # the one image that it copies
    assert got["coverage_mnist"] < 0.1
    swapped = values("precision_recall", real, collapsed)
    assert swapped["precision_mnist"] <= 1.01 / 500, "the samples are the first argument"
    assert swapped["recall_mnist"] == 1


def test_identical_sets_have_full_precision_recall_and_coverage() -> None:
    x = gaussian(300, 8)
    assert values("precision_recall", x, x) == {"precision_mnist": 1, "recall_mnist": 1}
    got = values("density_coverage", x, x)
    assert got["coverage_mnist"] == 1
    # Each ball holds its five neighbours and its own centre.
    assert got["density_mnist"] == pytest.approx(6 / 5)


def test_two_samples_of_one_distribution_have_the_density_and_coverage_of_theory() -> None:
    got = values("density_coverage", gaussian(2000, 3, seed=1), gaussian(2000, 3, seed=2))
    assert got["density_mnist"] == pytest.approx(1, abs=0.03)
    assert got["coverage_mnist"] == pytest.approx(1 - 2**-5, abs=0.015)


# ---------------------------------------------------------------------- labels


def test_label_fidelity_and_class_shares_count() -> None:
    logits = torch.eye(10)[[0, 1, 2, 3, 4, 5, 6, 7, 8, 0]]
    made = feature_set(torch.zeros(10, 2), logits, torch.arange(10))
    fidelity = label_fidelity(made, gaussian(2, 2), seed=0)["label_fidelity"]
    assert fidelity.value == pytest.approx(0.9)
    assert fidelity.stderr == pytest.approx(math.sqrt(0.9 * 0.1 / 10))
    shares = class_shares(made, gaussian(2, 2), seed=0)["min_class_share"]
    assert shares.value == 0
    assert shares.detail["shares"] == pytest.approx([0.2] + 8 * [0.1] + [0])


def test_metrics_that_do_not_apply_are_absent() -> None:
    plain = gaussian(20, 2)
    assert (
        label_fidelity(plain, plain, seed=0)
        == class_shares(plain, plain, seed=0)
        == inception_score.compute(plain, plain, seed=0)
        == {}
    )
    assert label_fidelity(feature_set(torch.zeros(10, 2), torch.zeros(10, 10)), plain, seed=0) == {}


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(UserError, match=r"labels: must be 0\.\.9, got 3\.\.10"):
        label_fidelity(
            feature_set(torch.zeros(2, 2), torch.zeros(2, 10), torch.tensor([3, 10])),
            gaussian(2, 2),
            seed=0,
        )


# ---------------------------------------------------------------------- errors and lookup


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(bad: float) -> None:
    x = torch.zeros(5, 3)
    x[[1, 3], 2] = bad
    with pytest.raises(UserError, match="mnist features: 2 of 5 rows hold NaN or infinity"):
        feature_set(x)
    with pytest.raises(UserError, match="mnist logits: 2 of 5"):
        feature_set(torch.zeros(5, 2), x)


@pytest.mark.parametrize(
    ("family", "n", "keys"),
    [
        ("fid", 1, {"fid_mnist"}),
        ("fid_unbiased", 39, {"fid_unbiased_mnist"}),
        ("kid", 1, {"kid_mnist"}),
        ("kid_rbf", 1, {"kid_rbf_mnist"}),
        ("inception_score", 9, {"is_mnist"}),
        ("precision_recall", 3, {"precision_mnist", "recall_mnist"}),
        ("density_coverage", 5, {"density_mnist", "coverage_mnist"}),
        ("clipped_density_coverage", 5, {"clipped_density_mnist", "clipped_coverage_mnist"}),
        ("jsd", 19, {"jsd_mnist"}),
        ("vendi", 1, {"vendi_mnist", "vendi_within_mnist"}),
    ],
)
def test_too_few_images_are_a_reason_to_withhold(family: str, n: int, keys: set[str]) -> None:
    few = feature_set(rng().normal(size=(n, 3)), torch.zeros(n, 10))
    enough = feature_set(rng().normal(size=(n + 1, 3)), torch.zeros(n + 1, 10))
    with pytest.raises(TooFewSamples, match=rf"at least {n + 1} images .*got {n}"):
        metric(family)(few, few, seed=0)
    metrics, withheld = score([family, "class_shares"], few, few, seed=0)
    assert set(withheld) == keys
    assert set(metrics) == {"min_class_share"}
    assert set(metric(family)(enough, enough, seed=0)) == keys


def test_an_unbiased_distance_needs_five_images_for_each_feature() -> None:
    few, enough = gaussian(49, 10), gaussian(50, 10)
    for generated, reference in ((few, enough), (enough, few)):
        with pytest.raises(TooFewSamples, match=r"at least 50 images \(5 for each feature.*got 49"):
            metric("fid_unbiased")(generated, reference, seed=0)
    assert set(metric("fid_unbiased")(enough, enough, seed=0)) == {"fid_unbiased_mnist"}


@pytest.mark.parametrize("family", PAIRED)
def test_features_that_do_not_belong_together_are_refused(family: str) -> None:
    with pytest.raises(UserError, match="have 3 dimensions, reference features 4"):
        score([family], gaussian(20, 3), gaussian(20, 4), seed=0)
    with pytest.raises(UserError, match="extractor 'mnist', reference features of 'inception'"):
        score([family], gaussian(20, 3), FeatureSet("inception", gaussian(20, 3).features), seed=0)


def test_all_families_together_give_the_keys_of_the_leaderboard() -> None:
    made = feature_set(
        rng().normal(size=(50, 4)), torch.eye(10).repeat(5, 1), torch.arange(50) % 10
    )
    made = replace(made, images=torch.zeros(50, 1, 8, 8, dtype=torch.uint8))
    metrics, withheld = score(FAMILIES, made, replace(made, training=made), seed=0)
    distances = {f"{name}_mnist" for name in ("fid", "fid_unbiased", "fid_train", "kid", "kid_rbf")}
    distances |= {"jsd_mnist"}
    shares = ("is", "precision", "recall", "density", "coverage")
    shares += ("clipped_density", "clipped_coverage")
    better = {f"{name}_mnist" for name in shares} | {"label_fidelity", "min_class_share", "cas"}
    neither = {"vendi_mnist", "vendi_within_mnist"}
    assert {key for key, m in metrics.items() if m.higher_is_better is False} == distances
    assert {key for key, m in metrics.items() if m.higher_is_better} == better
    assert {key for key, m in metrics.items() if m.higher_is_better is None} == neither
    assert withheld == {}
    assert all(m.n == 50 for m in metrics.values())


@pytest.mark.parametrize("family", PAIRED)
def test_the_samples_are_the_first_argument(family: str) -> None:
    for result in metric(family)(gaussian(60, 2), gaussian(40, 2), seed=0).values():
        assert (result.n, result.detail["reference_n"]) == (60, 40)


def test_a_metric_is_one_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The one that docs/adding-other-parts.md shows."""
    assert metric_names() == sorted(FAMILIES)
    page = (ROOT / "docs" / "adding-other-parts.md").read_text("utf-8")
    (source,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "mean_distance.py").write_text(source, "utf-8")
    monkeypatch.setattr(
        genbench.scoring.metrics, "__path__", [*genbench.scoring.metrics.__path__, str(tmp_path)]
    )
    made, real = gaussian(100, 2, shift=1), gaussian(100, 2)
    found, withheld = score(["mean_distance"], made, real, seed=0)
    shift = made.features.numpy().mean(0) - real.features.numpy().mean(0)
    assert found["mean_distance_mnist"].value == pytest.approx(np.hypot(*shift), rel=1e-5)
    assert not withheld
    assert list(score(["mean_distance"], gaussian(99, 2), real, seed=0)[1]) == [
        "mean_distance_mnist"
    ]


def test_an_unknown_metric_names_near_ones() -> None:
    with pytest.raises(UserError, match="'kdi' is no metric; did you mean 'kid'"):
        score(["kdi"], gaussian(10, 2), gaussian(10, 2), seed=0)


# ---------------------------------------------------------------------- real digits


@pytest.fixture(scope="module")
def real(mnist: Dataset) -> FeatureSet:
    return features_of(mnist.test_x[::5])


@pytest.fixture(scope="module")
def whole(mnist: Dataset) -> FeatureSet:
    """Training digits without damage: the first strength of every damage."""
    for damage in DAMAGES.values():
        assert torch.equal(digits(mnist, damage, damage.strengths[0], 2000), mnist.train_x[:2000])
    return features_of(mnist.train_x[:2000])


def test_real_digits_are_near_real_digits(
    mnist: Dataset, whole: FeatureSet, real: FeatureSet
) -> None:
    dropped = features_of(digits(mnist, DAMAGES["drop_classes"], 1, 2000))
    got, worse = score(FAMILIES, whole, real, seed=0)[0], score(FAMILIES, dropped, real, seed=0)[0]
    assert 0 <= got["fid_mnist"].value < 0.2 * worse["fid_mnist"].value
    assert abs(got["kid_mnist"].value) < 0.2 * worse["kid_mnist"].value
    assert got["is_mnist"].value > 9
    assert (
        min(got[f"{key}_mnist"].value for key in ("precision", "recall", "density", "coverage"))
        > 0.8
    )
    assert got["min_class_share"].value > 0.07
    assert worse["min_class_share"].value < 0.005


@pytest.mark.parametrize("name", DAMAGES)
def test_fid_grows_with_damage(
    name: str, mnist: Dataset, whole: FeatureSet, real: FeatureSet
) -> None:
    damage = DAMAGES[name]
    sets = [whole, *[features_of(digits(mnist, damage, s, 2000)) for s in damage.strengths[1:]]]
    fids = [values("fid", generated, real)["fid_mnist"] for generated in sets]
    assert all(after > before for before, after in itertools.pairwise(fids)), fids
    assert fids[-1] > 3 * fids[0]


def test_diversity_scores_see_dropped_classes_and_duplicates(
    mnist: Dataset, whole: FeatureSet, real: FeatureSet
) -> None:
    for name, strength in (("drop_classes", 5), ("duplicate", 100)):
        less = features_of(digits(mnist, DAMAGES[name], strength, 2000))
        for family, key in (
            ("precision_recall", "recall_mnist"),
            ("density_coverage", "coverage_mnist"),
        ):
            assert values(family, less, real)[key] < 0.7 * values(family, whole, real)[key]
