"""Sample scores beside their closed forms: mixtures of good and bad points, divergences that can be
integrated, sets of known variety, pixels that can be learnt.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from benchmarks.metric_behaviour import features_of
from genbench.data.splits import Dataset
from genbench.scoring.metrics import classification_accuracy, clipped_density_coverage, jsd, kid_rbf
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.metrics.vendi import vendi_score
from genbench.scoring.records import Metric
from genbench.scoring.sample_scores import metric


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def feature_set(values: np.ndarray, logits: np.ndarray | None = None) -> FeatureSet:
    x = torch.as_tensor(values, dtype=torch.float32)
    return FeatureSet(
        "mnist", x, None if logits is None else torch.as_tensor(logits, dtype=torch.float32)
    )


def gaussian(n: int, d: int, *, shift: float = 0.0, seed: int = 0) -> FeatureSet:
    return feature_set(rng(seed).normal(shift, 1, (n, d)))


def values(family: str, generated: FeatureSet, reference: FeatureSet) -> dict[str, float]:
    return {key: m.value for key, m in metric(family)(generated, reference, seed=0).items()}


# ---------------------------------------------------------------------- precision and recall


def test_precision_and_recall_are_torch_fidelitys() -> None:
    x, y = gaussian(300, 5, shift=0.4, seed=1), gaussian(500, 5, seed=2)
    options = {"prc_neighborhood": 3, "prc_batch_size": 1000, "save_cpu_ram": True}
    library = prc_features_to_metric(x.features, y.features, verbose=False, **options)
    got = values("precision_recall", x, y)
    assert got["precision_mnist"] == pytest.approx(library["precision"])
    assert got["recall_mnist"] == pytest.approx(library["recall"])


# ------------------------------------------------------------------ clipped density and coverage


def expected_by_distribution(samples: int, reference: int, k: int) -> float:
    h = np.arange(samples + 1)
    return float(
        np.sum(np.minimum(h, k) * scipy.stats.betabinom.pmf(h, samples, k, reference - k)) / k
    )


@pytest.mark.parametrize(("samples", "reference"), [(1, 6), (3, 50), (40, 50), (500, 100)])
def test_expected_coverage_is_that_of_the_beta_binomial(samples: int, reference: int) -> None:
    table = clipped_density_coverage.expected_coverage(samples, reference)
    assert table[0] == 0
    assert table[-1] == pytest.approx(expected_by_distribution(samples, reference, 5))
    assert np.all(np.diff(table) >= 0)


def test_a_ball_holds_as_many_samples_as_the_calibration_expects() -> None:
    """Of distributions that agree, the mean of min(h, k)/k over balls is its expectation."""
    reference, made = gaussian(1500, 3, seed=1), gaussian(700, 3, seed=2)
    d = np.linalg.norm(
        reference.features.numpy()[:, None] - reference.features.numpy()[None], axis=2
    )
    radius = np.sort(d, 1)[:, 5]
    to_samples = np.linalg.norm(
        reference.features.numpy()[:, None] - made.features.numpy()[None], axis=2
    )
    held = (to_samples <= radius[:, None]).sum(1)
    expected = clipped_density_coverage.expected_coverage(700, 1500)[-1]
    assert np.mean(np.minimum(held, 5) / 5) == pytest.approx(expected, abs=0.02)


def test_clipped_scores_by_brute_force() -> None:
    x, y = gaussian(80, 4, shift=0.8, seed=1), gaussian(120, 4, seed=2)
    a, b = x.features.double().numpy(), y.features.double().numpy()
    real = np.linalg.norm(b[:, None] - b[None], axis=2)
    to_samples = np.linalg.norm(b[:, None] - a[None], axis=2)
    radius = np.sort(real, 1)[:, 5]
    cut = np.minimum(radius, np.median(radius))
    inside = (to_samples <= cut[:, None]).sum(0)
    among_real = (real <= cut[:, None]).sum(0) - 1  # not its own
    density = np.minimum(inside / 5, 1).mean() / np.minimum(among_real / 5, 1).mean()
    raw = np.mean(np.minimum((to_samples <= radius[:, None]).sum(1), 5) / 5)
    table = [expected_by_distribution(m, 120, 5) for m in range(81)]
    got = values("clipped_density_coverage", x, y)
    assert got["clipped_density_mnist"] == pytest.approx(density)
    assert got["clipped_coverage_mnist"] == pytest.approx(np.interp(raw, table, np.arange(81)) / 80)


def mixtures(good: np.ndarray, bad: np.ndarray, reference: FeatureSet) -> dict[str, list[float]]:
    """The scores at shares 0, 1/4, 1/2, 3/4 and 1 of good samples, divided by those at 1."""
    n, found = len(good), []
    for share in (0, 0.25, 0.5, 0.75, 1):
        m = round(share * n)
        samples = feature_set(np.concatenate([good[:m], bad[m:]]))
        found.append(values("clipped_density_coverage", samples, reference))
    return {key: [score[key] / found[-1][key] for score in found] for key in found[-1]}


@pytest.mark.parametrize(("n", "m"), [(1500, 1500), (800, 1600)])
def test_clipped_scores_are_the_share_of_good_points(n: int, m: int) -> None:
    bad = np.concatenate([rng(3).normal(40, 1, (n // 2, 6)), rng(4).normal(0, 60, (n // 2, 6))])
    good = gaussian(n, 6, seed=1).features.numpy()
    for key, scores in mixtures(good, bad[rng(5).permutation(n)], gaussian(m, 6, seed=2)).items():
        assert scores == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.03), key


def test_clipped_scores_are_the_share_of_real_digits_among_noise(mnist: Dataset) -> None:
    noise = torch.randint(0, 256, (2000, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    mixed = torch.randperm(2000, generator=torch.Generator().manual_seed(1))
    good, bad = (features_of(x).features.numpy() for x in (mnist.test_x[::5][mixed], noise.byte()))
    for key, scores in mixtures(good, bad, features_of(mnist.test_x[2::5])).items():
        assert scores == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.03), key


def test_good_samples_score_one() -> None:
    got = values("clipped_density_coverage", gaussian(2000, 4, seed=1), gaussian(2000, 4, seed=2))
    assert got["clipped_density_mnist"] == pytest.approx(1, abs=0.03)
    assert got["clipped_coverage_mnist"] == pytest.approx(1, abs=0.05)


def test_an_outlier_among_real_images_raises_density_and_no_clipped_one() -> None:
    """One far real image has a ball so large that bad samples near it lie in it."""
    y = rng(1).normal(size=(400, 3))
    y[0] = 20
    bad = feature_set(rng(2).normal(19, 0.1, (400, 3)))
    got = values("clipped_density_coverage", bad, feature_set(y))
    assert got["clipped_density_mnist"] == 0
    assert values("density_coverage", bad, feature_set(y))["density_mnist"] > 0.1


# ---------------------------------------------------------------------- the kernel distance


def test_kernel_distance_is_torch_fidelitys_on_whole_sets() -> None:
    x, y = gaussian(90, 5, shift=0.3, seed=1), gaussian(90, 5, seed=2)
    found = metric("kid_rbf")(x, y, seed=0)["kid_rbf_mnist"]
    library = kid_features_to_metric(
        x.features.double(),
        y.features.double(),
        kid_subsets=1,
        kid_subset_size=90,
        kid_kernel="rbf",
        kid_kernel_rbf_sigma=found.detail["bandwidth"],
        rng_seed=0,
        verbose=False,
    )
    assert found.value == pytest.approx(library[KEY_METRIC_KID_MEAN], rel=1e-9)


def test_the_bandwidth_is_the_median_distance_of_real_images() -> None:
    y = gaussian(300, 4).features
    d = np.linalg.norm(y.double().numpy()[:, None] - y.double().numpy()[None], axis=2)
    assert kid_rbf.bandwidth(y) == pytest.approx(np.median(d[np.triu_indices(300, 1)]), rel=1e-3)
    assert kid_rbf.bandwidth(torch.zeros(5, 2)) == 1.0


def test_kernel_distance_of_gaussians_in_closed_form() -> None:
    """E exp(-|x - y|²/(2 σ²)) of x - y ~ N(shift, 2 I) is (1 + 2/σ²)^(-d/2) exp(-|shift|²/(2 (σ² +
    2))).
    """
    d, shift = 3, 0.5
    for s in (0, 1):
        pair = gaussian(1000, d, shift=shift, seed=s), gaussian(1000, d, seed=50 + s)
        found = metric("kid_rbf")(*pair, seed=0)["kid_rbf_mnist"]
        variance = found.detail["bandwidth"] ** 2
        equal = (1 + 2 / variance) ** (-d / 2)
        truth = 2 * equal * (1 - math.exp(-d * shift**2 / (2 * (variance + 2))))
        assert found.stderr is not None
        assert abs(found.value - truth) < 3 * found.stderr
        assert found.stderr < truth / 5


# ---------------------------------------------------------------------- the divergence


def divergence(generated: np.ndarray, reference: np.ndarray) -> Metric:
    return jsd.compute(feature_set(generated), feature_set(reference), seed=0)["jsd_mnist"]


def true_divergence(spread: float) -> float:
    """Jensen–Shannon divergence of N(0, 1) and N(0, spread²) in bits, integrated."""
    p, q = scipy.stats.norm(0, 1).pdf, scipy.stats.norm(0, spread).pdf

    def integrand(x: float) -> float:
        a, b = p(x), q(x)
        middle = (a + b) / 2
        terms = [f * math.log2(f / middle) for f in (a, b) if f > 0]
        return sum(terms) / 2

    return float(scipy.integrate.quad(integrand, -30, 30, limit=200)[0])


def test_equal_distributions_are_not_told_apart() -> None:
    found = [
        divergence(rng(2 * s).normal(size=(600, 8)), rng(2 * s + 1).normal(size=(900, 8)))
        for s in range(8)
    ]
    assert sum(abs(one.value) <= 2 * (one.stderr or 0) for one in found) >= 7, found
    assert abs(np.mean([one.value for one in found])) < 0.003
    nothing = [one for one in found if one.value == 0]
    assert nothing, "no case in which the classifier found nothing"
    assert all(one.stderr is None for one in nothing), "a coin's spread is no error"


@pytest.mark.parametrize(("shift", "most"), [(0.2, 1.6), (0.6, 2.3)])
def test_the_error_of_the_divergence_is_its_spread_or_more(shift: float, most: float) -> None:
    found = [
        divergence(rng(2 * s).normal(shift, 1, (400, 6)), rng(2 * s + 1).normal(size=(400, 6)))
        for s in range(30)
    ]
    spread = np.std([one.value for one in found], ddof=1)
    assert all((one.stderr is None) == (one.value == 0) for one in found), "only of what is found"
    errors = [one.stderr or 0.0 for one in found]
    assert len(errors) - errors.count(0.0) >= 29
    assert 0.8 < np.mean(errors) / spread < most


def test_covariances_are_told_where_means_agree() -> None:
    turned = np.array([[1.0, 0.8], [0.8, 1.0]])
    x = rng(1).multivariate_normal([0, 0], turned, 1000)
    found = divergence(x, rng(2).normal(size=(1000, 2)))
    assert found.stderr is not None
    assert found.value > 4 * found.stderr > 0


@pytest.mark.parametrize("spread", [1.5, 3.0])
def test_the_bound_is_below_the_divergence_and_near_it(spread: float) -> None:
    found = divergence(rng(1).normal(0, spread, (3000, 1)), rng(2).normal(size=(3000, 1)))
    truth = true_divergence(spread)
    assert found.stderr is not None
    assert 0.8 * truth < found.value < truth + 2 * found.stderr


def test_sets_without_overlap_are_one_bit_apart() -> None:
    found = divergence(rng(1).normal(50, 1, (300, 3)), rng(2).normal(size=(300, 3)))
    assert found.value == pytest.approx(1, abs=0.02)


def test_no_image_is_judged_by_a_classifier_that_saw_it() -> None:
    """Labels dealt to one set by chance: whoever looks at the images themselves can tell them."""
    x = rng(3).normal(size=(60, 30))
    fake, real = jsd.image_terms(x[:30].astype(np.float32), x[30:].astype(np.float32))
    assert fake.shape == real.shape == (30,)
    assert 1 + (fake.mean() + real.mean()) / 2 < 0.1


# ---------------------------------------------------------------------- variety


def test_vendi_score_counts_different_rows() -> None:
    n = 12
    equal, orthogonal = np.ones((n, n)) / math.sqrt(n), np.eye(n)
    assert vendi_score(equal.T @ equal / n) == pytest.approx(1)
    assert vendi_score(orthogonal.T @ orthogonal) == pytest.approx(n)
    half = np.repeat(np.eye(n)[: n // 2], 2, 0)
    assert vendi_score(half.T @ half) == pytest.approx(n / 2)
    assert vendi_score(np.zeros((2, 3, 3))).tolist() == [0, 0]


def test_vendi_score_of_features_and_of_similarities_are_one() -> None:
    """λ of FᵀF/n are those of the n x n matrix of cosines, divided by n."""
    x = rng(1).normal(size=(40, 6)) + 1
    y = rng(2).normal(size=(50, 6))
    scores = []
    for z in (x, y):
        rows = z / np.linalg.norm(z, axis=1, keepdims=True)
        levels = np.linalg.eigvalsh(rows @ rows.T / len(z)).clip(1e-300)
        scores.append(math.exp(-np.sum(levels * np.log(levels))))
    found = metric("vendi")(feature_set(x), feature_set(y), seed=0)
    assert set(found) == {"vendi_mnist"}, "without logits there are no classes"
    assert found["vendi_mnist"].value == pytest.approx(scores[0] / scores[1], rel=1e-5)
    assert found["vendi_mnist"].detail["score"] == pytest.approx(scores[0], rel=1e-5)


def test_variety_within_classes_is_not_that_of_classes() -> None:
    """Three classes far apart; the samples of each are copies of one image, of the third there are
    none.
    """
    centres = 10 * np.eye(6)[:3]
    labels = np.arange(300) % 3
    y = centres[labels] + rng(1).normal(size=(300, 6))
    x = centres[labels % 2]
    sets = [feature_set(z, np.eye(3)[of]) for z, of in ((x, labels % 2), (y, labels))]
    found = values("vendi", *sets)
    within = []
    for c in range(3):
        rows = y[labels == c] / np.linalg.norm(y[labels == c], axis=1, keepdims=True)
        within.append(vendi_score(rows.T @ rows))
    expected = (1 / within[0] + 1 / within[1] + 0) / 3
    assert found["vendi_within_mnist"] == pytest.approx(expected, rel=1e-4)
    assert found["vendi_mnist"] > 0.4
    assert values("vendi", sets[1], sets[1]) == pytest.approx(
        {"vendi_mnist": 1, "vendi_within_mnist": 1}
    )


# ---------------------------------------------------------------------- labelled pixels


def stripes(n: int, seed: int) -> FeatureSet:
    """Images whose class is the place of a bright row, in noise."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 10
    images = torch.randint(0, 120, (n, 1, 28, 28), generator=draws)
    images[torch.arange(n), 0, 4 + 2 * labels] += 100
    x = torch.zeros(n, 2)
    return FeatureSet("mnist", x, labels=labels, images=images.byte())


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> FeatureSet:
    """Test images, with training images."""
    monkeypatch.setattr(classification_accuracy, "STEPS", 40)
    return replace(stripes(400, 1), training=stripes(300, 2))


def accuracy(generated: FeatureSet, reference: FeatureSet) -> Metric:
    return classification_accuracy.compute(generated, reference, seed=3)["cas"]


def test_a_classifier_learns_from_good_samples_what_it_learns_from_real_images(
    learnt: FeatureSet,
) -> None:
    good = accuracy(stripes(200, 3), learnt)
    assert good.value > 0.95
    assert good.detail["real"] > 0.95
    assert good.detail["real_n"] == 200
    assert good.detail["reference_n"] == 400
    assert good.stderr == pytest.approx(math.sqrt(good.value * (1 - good.value) / 400))
    assert good == accuracy(stripes(200, 3), learnt)


def test_a_classifier_learns_no_class_whose_samples_show_another(learnt: FeatureSet) -> None:
    made = stripes(200, 3)
    assert made.labels is not None
    swapped = accuracy(replace(made, labels=(made.labels + 1) % 10), learnt)
    assert swapped.value < 0.05
    assert swapped.detail["real"] > 0.95, "the same training on real images is not concerned"
    lacking = replace(made, images=made.images[made.labels < 5].repeat(2, 1, 1, 1))  # type: ignore[index]
    lacking = replace(lacking, labels=made.labels[made.labels < 5].repeat(2))
    assert 0.45 < accuracy(lacking, learnt).value < 0.55


def test_without_labels_or_pixels_there_is_no_classification_score(learnt: FeatureSet) -> None:
    made = stripes(200, 3)
    for generated, reference in (
        (replace(made, labels=None), learnt),
        (replace(made, images=None), learnt),
        (made, replace(learnt, training=None)),
        (made, replace(learnt, labels=None)),
    ):
        assert classification_accuracy.compute(generated, reference, seed=0) == {}
