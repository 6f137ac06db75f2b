"""Groups, and the jackknife over them: closed forms, scores of what is left computed anew, and the
spread of repeats.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from genbench.data.splits import Dataset
from genbench.errors import UserError
from genbench.scoring import jackknife
from genbench.scoring.features import EXTRACTOR, extract
from genbench.scoring.groups import GROUPS, groups_of, groups_of_both
from genbench.scoring.jackknife import Estimate, means_without
from genbench.scoring.metrics import clipped_density_coverage, fid_unbiased, kid_rbf
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.moments import frechet, frechet_estimate, moments
from genbench.scoring.records import LEFT_OUT, Metric
from genbench.scoring.sample_scores import metric


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def feature_set(values: np.ndarray, logits: np.ndarray | None = None) -> FeatureSet:
    x = torch.as_tensor(values, dtype=torch.float32)
    return FeatureSet(
        "mnist", x, None if logits is None else torch.as_tensor(logits, dtype=torch.float32)
    )


def gaussian(n: int, d: int, *, shift: float = 0.0, seed: int = 0) -> FeatureSet:
    """Gaussian features, with logits that find four classes."""
    draws = rng(seed)
    return feature_set(draws.normal(shift, 1, (n, d)), draws.normal(size=(n, 4)))


# ---------------------------------------------------------------------- groups


@pytest.mark.parametrize("n", [20, 23, 64, 5000])
def test_groups_are_as_even_as_can_be(n: int) -> None:
    sizes = np.bincount(groups_of(n), minlength=GROUPS)
    assert sizes.sum() == n
    assert len(sizes) == GROUPS
    assert sizes.max() - sizes.min() == (0 if n % GROUPS == 0 else 1)


def test_groups_depend_on_the_number_alone_and_follow_no_order() -> None:
    groups = groups_of(5000)
    assert np.array_equal(groups, groups_of(5000))
    labels = np.arange(5000) % 10
    shares = np.array([[np.mean(labels[groups == g] == c) for c in range(10)] for g in range(20)])
    assert shares.min() > 0.02, "strided groups would hold one class each"
    halves = [np.mean(np.flatnonzero(groups == g) < 2500) for g in range(GROUPS)]
    assert 0.3 < min(halves) < max(halves) < 0.7, "consecutive groups would lie in one half"


def test_fewer_images_than_groups_have_none() -> None:
    with pytest.raises(UserError, match="at least 20 images, one in each group, got 19"):
        groups_of(19)
    assert groups_of_both(19, 100) is groups_of_both(100, 19) is None


# ---------------------------------------------------------------------- the jackknife


def test_the_standard_error_of_a_mean_is_that_of_its_group_means() -> None:
    x = rng().normal(3, 2, 500)
    groups = groups_of(500)
    found = Estimate.of(means_without(x, groups))
    means = np.array([x[groups == g].mean() for g in range(GROUPS)])
    assert found.value == pytest.approx(x.mean())
    assert found.stderr == pytest.approx(means.std(ddof=1) / math.sqrt(GROUPS))
    assert jackknife.bias_corrected(found.value, found.left_out) == pytest.approx(x.mean())


def test_a_bias_in_one_over_n_goes_whole() -> None:
    """The variance that divides by n has the expectation (1 - 1/n) of the true one; groups of one
    image correct it to the one that divides by n - 1.
    """
    x = rng(1).normal(size=GROUPS)
    left_out = [np.delete(x, g).var() for g in range(GROUPS)]
    assert jackknife.bias_corrected(x.var(), left_out) == pytest.approx(x.var(ddof=1))


def test_terms_that_depend_on_the_group_left_out() -> None:
    values, groups = rng(2).normal(size=(50, 1 + GROUPS)), groups_of(50)
    found = means_without(values, groups)
    assert found[0] == pytest.approx(values[:, 0].mean())
    for g in range(GROUPS):
        assert found[1 + g] == pytest.approx(values[groups != g, 1 + g].mean())
    assert means_without(values[:, :1], None) == pytest.approx([values[:, 0].mean()])


def test_a_paired_difference_is_surer_where_both_share_images() -> None:
    reference, groups = rng(3).normal(size=1000), groups_of(1000)
    own = [rng(seed).normal(0, 0.1, 1000) for seed in (4, 5)]
    first, second = (Estimate.of(means_without(reference + x, groups)) for x in own)
    paired = jackknife.paired_stderr(first.left_out, second.left_out)
    alone = Estimate.of(means_without(own[0] - own[1], groups))
    assert paired == pytest.approx(alone.stderr)
    assert first.stderr is not None
    assert paired < 0.3 * first.stderr


def test_values_without_groups_are_kept_short_and_found_again() -> None:
    found = Estimate.of(np.array([1.0, *(1 / np.arange(1, 21))]))
    stored = Metric(1.0, found.stderr, 40, True, detail={"reference_n": 40, **found.detail})
    assert jackknife.left_out_of(stored)[2] == 0.333333333333
    assert jackknife.stderr(jackknife.left_out_of(stored)) == pytest.approx(found.stderr)
    assert jackknife.left_out_of(replace(stored, detail={})) == ()


@pytest.mark.parametrize(
    ("left_out", "message"),
    [([], "at least two groups, got 0"), ([1.0], "got 1"), ([1.0, math.nan], "is not finite")],
)
def test_what_is_no_set_of_values_is_refused(left_out: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        jackknife.stderr(left_out)


def test_scores_with_other_groups_have_no_paired_error() -> None:
    with pytest.raises(UserError, match=r"without 2 and 3 groups .* score both again"):
        jackknife.paired_stderr([1.0, 2.0], [1.0, 2.0, 3.0])


# ---------------------------------------------------------------------- scores of what is left


def without(images: FeatureSet, group: int) -> FeatureSet:
    rest = groups_of(len(images)) != group
    logits = None if images.logits is None else images.logits[rest]
    return FeatureSet("mnist", images.features[rest], logits)


@pytest.mark.parametrize(
    "family",
    [
        "fid",
        "fid_unbiased",
        "kid_rbf",
        "vendi",
    ],
)
def test_values_without_a_group_are_those_of_the_images_that_are_left(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kid_rbf, "bandwidth", lambda _: 2.0)  # it stays that of all images
    monkeypatch.setattr(kid_rbf, "_ROWS", 17)
    generated, reference = gaussian(87, 4, shift=0.7, seed=1), gaussian(130, 4, seed=2)
    found = metric(family)(generated, reference, seed=0)
    assert len(found) == (2 if family == "vendi" else 1)
    again = "fid" if family == "fid_unbiased" else family  # the distances behind it
    for group in range(GROUPS):
        rest = metric(again)(without(generated, group), without(reference, group), seed=0)
        for key, value in zip(found, rest.values(), strict=True):
            assert found[key].detail[LEFT_OUT][group] == pytest.approx(value.value, rel=1e-6), key


def test_balls_keep_their_radii_when_a_group_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genbench.scoring.neighbours._ROWS", 17)
    generated, reference = gaussian(87, 4, shift=0.7, seed=1), gaussian(130, 4, seed=2)
    x, y = (images.features.double().numpy() for images in (generated, reference))
    d, own_x, own_y = (
        np.linalg.norm(a[:, None] - b[None], axis=2) for a, b in ((x, y), (x, x), (y, y))
    )
    third_x = np.sort(own_x, 1)[:, 3]
    third_y, fifth = np.sort(own_y, 1)[:, [3, 5]].T
    cut = np.minimum(fifth, np.median(fifth))
    table = clipped_density_coverage.expected_coverage(110, 130)
    found: dict[str, Metric] = {}
    for family in ("precision_recall", "density_coverage", "clipped_density_coverage"):
        found |= metric(family)(generated, reference, seed=0)
    for group in range(GROUPS):
        a, b = groups_of(87) != group, groups_of(130) != group
        near = d[np.ix_(a, b)]
        real = (own_y[np.ix_(b, b)] <= cut[b]).sum(1) - 1
        held = (near <= fifth[b]).sum(0)
        coverage = np.interp(np.minimum(held / 5, 1).mean(), table, np.arange(len(table)))
        clipped = np.minimum((near <= cut[b]).sum(1) / 5, 1).mean()
        expected = {
            "precision": (near <= third_y[b]).any(1).mean(),
            "recall": (near.T <= third_x[a]).any(1).mean(),
            "density": (near <= fifth[b]).sum(1).mean() / 5 * 130 / b.sum(),
            "coverage": (held > 0).mean(),
            "clipped_density": clipped / np.minimum(real / 5, 1).mean(),
            "clipped_coverage": coverage / a.sum(),
        }
        for name, value in expected.items():
            left_out = found[f"{name}_mnist"].detail[LEFT_OUT]
            assert left_out[group] == pytest.approx(value, rel=1e-6), name


def test_distances_to_training_images_leave_out_groups_of_these() -> None:
    made, test, train = gaussian(60, 3, seed=1), gaussian(50, 3, seed=2), gaussian(70, 3, seed=3)
    found = metric("fid_train")(made, replace(test, training=train), seed=0)["fid_train_mnist"]
    direct = metric("fid")(made, train, seed=0)["fid_mnist"]
    assert found.value == pytest.approx(direct.value, rel=1e-9)
    assert found.stderr == pytest.approx(direct.stderr)
    assert found.detail["training_n"] == 70
    assert metric("fid_train")(made, test, seed=0) == {}


# ---------------------------------------------------------------------- FID


def test_fréchet_distance_of_gaussians_in_closed_form() -> None:
    """Of diagonal covariances |shift|² + Σ (s1 - s2)²; and a rotation of both changes nothing."""
    s1, s2, shift = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.0]), np.array([1.0, -2.0, 0.5])
    turn = np.linalg.qr(rng(4).normal(size=(3, 3)))[0]
    made = moments(torch.zeros(3, 3, dtype=torch.float64))
    first = replace(made, means=np.zeros((1, 3)), covariances=(turn * s1**2 @ turn.T)[None])
    second = replace(made, means=(turn @ shift)[None], covariances=(turn * s2**2 @ turn.T)[None])
    expected = np.sum(shift**2) + np.sum((s1 - s2) ** 2)
    assert frechet(first, second)[0] == pytest.approx(expected)
    assert frechet(second, first)[0] == pytest.approx(expected)


def test_the_distance_and_torch_fidelitys_are_one_number() -> None:
    generated, reference = gaussian(300, 6, shift=0.2, seed=1), gaussian(200, 6, seed=2)
    library = metric("fid")(generated, reference, seed=0)["fid_mnist"].value
    assert frechet_estimate(generated, reference).value == pytest.approx(library, rel=1e-9)


def test_moments_without_a_group_are_those_of_the_rest() -> None:
    x = torch.from_numpy(1000 + rng(5).normal(size=(90, 4)))
    groups = groups_of(90)
    found = moments(x, groups)
    for g in range(GROUPS):
        rest = x.numpy()[groups != g]
        assert found.means[1 + g] == pytest.approx(rest.mean(0))
        assert found.covariances[1 + g] == pytest.approx(np.cov(rest, rowvar=False), abs=1e-9)


def halvings(x: np.ndarray, repeats: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FID, unbiased FID and its standard error between random halves."""
    found = []
    for repeat in range(repeats):
        order = rng(repeat).permutation(len(x))
        halves = [feature_set(x[part]) for part in np.array_split(order, 2)]
        result = fid_unbiased.compute(*halves, seed=0)["fid_unbiased_mnist"]
        found.append((frechet_estimate(*halves).value, result.value, result.stderr))
    plain, unbiased, errors = np.array(found, np.float64).T
    return plain, unbiased, errors


def check_halvings(x: np.ndarray) -> None:
    plain, unbiased, errors = halvings(x, 50)
    spread = unbiased.std(ddof=1)
    assert abs(unbiased.mean()) < 2 * spread / math.sqrt(50)
    assert plain.mean() > 10 * spread / math.sqrt(50), "the bias that there was to remove"
    assert 0.8 < errors.mean() / spread < 1.6


def test_unbiased_fid_of_halves_is_zero_on_average_and_its_error_the_spread() -> None:
    mixed = rng(6).normal(size=(2000, 10)) @ rng(7).normal(size=(10, 10))
    check_halvings(mixed.clip(-1))


def test_unbiased_fid_of_halves_of_real_test_digits(mnist: Dataset) -> None:
    check_halvings(extract(mnist.test_x[::5], 256)[0].numpy())


def test_unbiased_fid_does_not_depend_on_the_number_of_samples() -> None:
    """Gaussians of known distance: both estimates at 200 and at 2,000 samples."""
    found = {}
    for n in (200, 2000):
        seeds = range(30)
        pairs = [(gaussian(n, 8, shift=0.3, seed=s), gaussian(n, 8, seed=99 + s)) for s in seeds]
        plain = [frechet_estimate(*pair).value for pair in pairs]
        unbiased = [
            fid_unbiased.compute(*pair, seed=0)["fid_unbiased_mnist"].value for pair in pairs
        ]
        found[n] = np.mean(plain), np.mean(unbiased), np.std(unbiased, ddof=1) / math.sqrt(30)
    truth = 8 * 0.3**2
    assert found[200][0] - truth > 5 * (found[2000][0] - truth) > 0
    for _, mean, error in found.values():
        assert abs(mean - truth) < 3 * error


def test_extractor_of_the_features_names_the_score() -> None:
    wide = feature_set(rng().normal(size=(45, 300)))
    assert fid_unbiased.compute(wide, wide, seed=0) == {}
    assert metric("fid")(wide, wide, seed=0)["fid_mnist"].stderr is None
    assert EXTRACTOR == "mnist"


# ---------------------------------------------------------------------- errors are the spread


@pytest.mark.parametrize(
    "family", ["precision_recall", "density_coverage", "clipped_density_coverage", "kid_rbf"]
)
def test_standard_errors_are_the_spread_of_repeats(family: str) -> None:
    """Over 40 draws of both sets; a standard deviation of 40 is good to 11 %. The jackknife errs
    towards too much where counts are cut at a threshold.
    """
    found: dict[str, list[Metric]] = {}
    for s in range(40):
        pair = gaussian(300, 4, shift=0.5, seed=2 * s), gaussian(300, 4, seed=2 * s + 1)
        for key, value in metric(family)(*pair, seed=0).items():
            found.setdefault(key, []).append(value)
    for key, repeats in found.items():
        spread = np.std([repeat.value for repeat in repeats], ddof=1)
        error = np.mean([repeat.stderr or math.nan for repeat in repeats])
        assert 0.8 < error / spread < 1.7, key
