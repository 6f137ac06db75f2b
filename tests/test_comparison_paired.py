"""Paired comparisons against closed forms and scipy's tests, to which they come down in special
cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from genbench.comparison.paired import Comparison, compare_models, compare_weights
from genbench.comparison.scored import Scored
from genbench.comparison.seed_spread import Spread, noise, seed_spreads
from genbench.errors import UserError
from tests.comparison_entries import entry, shifted, waves

N = 100
FLAT = np.zeros(N)


def models(a: Scored, b: Scored, *others: Scored) -> Comparison:
    return compare_models(a, b, seed_spreads([a, b, *others]))


def variances(found: Comparison) -> dict[str, float]:
    return {term.name: term.variance for term in found.terms}


# ---------------------------------------------------------------------- closed forms


def test_the_error_of_two_models_by_hand() -> None:
    """d alternates between 1 and 3: mean 2, var(d)/n = 1/99. Seeds have s² of 1 and 4, pooled 2.5
    with 4 degrees of freedom, of which 2/3 count.
    """
    a = entry("made", shifted((9, 10, 11), waves(N)))
    b = entry("vae", shifted((6, 8, 10), FLAT), family="variational", kind="lower_bound")
    found = models(a, b)
    images, seeds = 1 / 99, 2.5 * 2 / 3
    assert variances(found) == {"images": pytest.approx(images), "seeds": pytest.approx(seeds)}
    assert found.delta == pytest.approx(2)
    assert found.stderr == pytest.approx(math.sqrt(images + seeds))
    df = (images + seeds) ** 2 / (images**2 / 99 + seeds**2 / 4)
    assert found.df == pytest.approx(df)
    t = 2 / math.sqrt(images + seeds)
    assert found.p == pytest.approx(2 * stats.t.sf(t, df))
    half = stats.t.ppf(0.975, df) * math.sqrt(images + seeds)
    assert found.interval() == pytest.approx((2 - half, 2 + half))
    assert (found.a, found.b, found.kinds) == ("made", "vae", ("exact", "lower_bound"))
    assert (found.dataset, found.n, found.borrowed) == ("mnist", N, {})


def test_spreads_that_differ_stand_for_themselves() -> None:
    """s² is 1 with five seeds and 1600 with three."""
    a = entry("made", shifted(math.sqrt(0.4) * np.arange(5), waves(N)))
    b = entry("glow", shifted((-40, 0, 40), FLAT))
    found = models(a, b)
    parts = {"images": 1 / 99, "seeds of made": 1 / 5, "seeds of glow": 1600 / 3}
    assert variances(found) == pytest.approx(parts)
    total = sum(parts.values())
    uncertain = (1 / 99) ** 2 / 99 + 0.2**2 / 4 + (1600 / 3) ** 2 / 2
    assert found.df == pytest.approx(total**2 / uncertain)


def test_an_entry_with_one_seed_borrows() -> None:
    """s² = 4 of three seeds of the third entry, for one seed against one and against two."""
    a, b = entry("made", shifted((9,), waves(N))), entry("glow", shifted((8,), FLAT))
    two, third = entry("nice", shifted((7, 7), FLAT)), entry("vae", shifted((-2, 0, 2), FLAT))
    found = models(a, b, third)
    assert variances(found) == pytest.approx({"images": 1 / 99, "seeds": 4 * 2})
    assert found.borrowed == {"made": ("vae",), "glow": ("vae",)}
    found = models(a, two, third)
    assert variances(found) == pytest.approx({"images": 1 / 99, "seeds": (8 / 3) * 1.5})
    assert found.borrowed == {"made": ("nice", "vae")}


def test_two_seeds_borrow_where_families_differ() -> None:
    a = entry("ddpm", shifted((-3, 3), FLAT), family="diffusion")
    b, third = entry("glow", shifted((-40, 0, 40), FLAT)), entry("vae", shifted((-1, 0, 1), FLAT))
    found = models(a, b, replace(third, family="variational"))
    assert found.borrowed == {"ddpm": ("glow",)}
    assert variances(found)["seeds"] == pytest.approx(1600 * (1 / 2 + 1 / 3))


def test_without_seeds_models_are_not_compared() -> None:
    a, b = entry("made", shifted((9,), waves(N))), entry("glow", shifted((8, 9), FLAT))
    found = models(a, b)
    assert (found.stderr, found.df, found.p, found.interval()) == (None, None, None, None)
    assert found.delta == pytest.approx(0.5)
    assert found.bits_per_dim(10) == (pytest.approx(0.05 / math.log(2)), None)


def test_the_error_of_log_z_counts_for_one_seed() -> None:
    """With several it moves the means of the seeds, and is in their spread."""
    a = entry("rbm", shifted((9,), FLAT), kind="estimate", log_z_stderr=[0.3])
    b = entry("ebm", shifted((8,), FLAT), kind="estimate", log_z_stderr=[0.4])
    third = entry("nice", shifted((0, 1, 2), FLAT), kind="estimate", log_z_stderr=[5, 5, 5])
    found = models(a, b, third)
    assert variances(found) == pytest.approx(
        {"images": 0, "seeds": 2, "log Z of rbm": 0.09, "log Z of ebm": 0.16}
    )
    assert found.df == pytest.approx(2.25**2 / (2**2 / 2))
    assert variances(models(a, third)).keys() == {"images", "seeds", "log Z of rbm"}
    assert "log Z of rbm" in variances(compare_weights(a, b))


# ---------------------------------------------------------------------- noise is counted once


def noisy(n: int, size: float) -> np.ndarray:
    """Nats (2, n) of two seeds with equal means whose images differ by ± size: c is 2 size² / (n -
    1), and the mean over seeds shows nothing of it.
    """
    return np.stack([waves(n, size), -waves(n, size)])


def test_noise_that_both_parts_have_is_taken_off_once() -> None:
    """c is 2/99 of A and 8/99 of B, whose pool has the mean, 5/99. So 2/99 are shared for A and
    5/99 for B, each over 2 seeds; var(d)/n = 100 / 99 before.
    """
    a = entry("made", noisy(N, 1) + waves(N, 10))
    b = entry("glow", noisy(N, 2))
    found = models(a, b)
    assert variances(found)["images"] == pytest.approx(100 / 99 - (2 / 99 + 5 / 99) / 2)


def test_noise_is_that_of_the_common_images() -> None:
    """On its other images A has ten times the noise of the common ones, which its c for the pool
    has, and what is taken off has not.
    """
    quiet, loud = noisy(N, 1), noisy(N, 10)
    a = entry("made", np.concatenate([quiet + waves(N, 10), loud], axis=1))
    b = entry("glow", noisy(N, 1))
    assert variances(models(a, b))["images"] == pytest.approx(100 / 99 - 2 * (2 / 99) / 2)


def test_of_one_seed_nothing_is_taken_off() -> None:
    a, b = entry("made", noisy(N, 5)[:1]), entry("glow", noisy(N, 5))
    third = entry("vae", noisy(N, 5))
    shared = 50 / 99 / 2
    found = models(a, b, third)
    assert variances(found)["images"] == pytest.approx(25 / 99 - shared)


def test_no_more_is_taken_off_than_there_is() -> None:
    """Noise that cancels in the mean over seeds leaves nothing in var(d), and the part of the
    images is 0 then, not less.
    """
    a, b = entry("made", noisy(N, 5)), entry("glow", noisy(N, 5))
    assert variances(models(a, b))["images"] == 0


def test_the_noise_of_others_is_not_taken_off() -> None:
    """Without noise of their own, entries lose nothing to a noisy pool."""
    a, b = entry("made", shifted((0, 0), waves(N))), entry("glow", shifted((0, 0), FLAT))
    pool = entry("vae", noisy(N, 50))
    assert variances(models(a, b, pool))["images"] == pytest.approx(1 / 99)


# ---------------------------------------------------------------------- against scipy's tests


MEANS = (5.0, 6.2, 4.1)


@pytest.mark.parametrize("means", [(3.0, 2.1, 4.4), (3.0, 2.1, 4.4, 3.3, 2.0)])
def test_without_noise_equal_spreads_are_students_test_of_the_means(means: Sequence[float]) -> None:
    images = np.random.default_rng(2).normal(90, 30, N)
    a, b = entry("made", shifted(MEANS, images)), entry("vae", shifted(means, images))
    found, expected = models(a, b), stats.ttest_ind(MEANS, means)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.df == pytest.approx(expected.df, rel=1e-6)
    interval = expected.confidence_interval(0.9)
    assert found.interval(0.9) == pytest.approx((interval.low, interval.high), rel=1e-6)


def test_without_noise_different_spreads_are_welchs_test_of_the_means() -> None:
    means, images = (-60.0, 70.0, 4.4, 30.3, 2.0), np.random.default_rng(3).normal(90, 30, N)
    a, b = entry("made", shifted(MEANS, images)), entry("vae", shifted(means, images))
    found, expected = models(a, b), stats.ttest_ind(MEANS, means, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.df == pytest.approx(expected.df, rel=1e-6)


def test_weights_are_the_paired_t_test_of_their_images() -> None:
    rng = np.random.default_rng(4)
    nats = rng.normal(100, 20, (2, 150))
    nats[0] += 0.3 * nats[1] + 2
    found = compare_weights(entry("made", nats[:1]), entry("vae", nats[1:]))
    expected = stats.ttest_rel(nats[0], nats[1])
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.df == pytest.approx(149)
    interval = expected.confidence_interval()
    assert found.interval() == pytest.approx((interval.low, interval.high), rel=1e-9)


# ---------------------------------------------------------------------- symmetry


def random_entries() -> list[Scored]:
    rng = np.random.default_rng(5)
    settings: list[tuple[str, int, float, dict[str, Any]]] = [
        ("made", 3, 1.0, {}),
        ("glow", 5, 1.0, {}),
        ("vae", 3, 40.0, {"family": "variational"}),
        ("rbm", 1, 1.0, {"kind": "estimate", "log_z_stderr": [0.5]}),
    ]
    made = []
    for name, seeds, spread, others in settings:
        nats = rng.normal(90, spread, (seeds, 1)) + rng.normal(0, 9, 120)
        noise_of_each = rng.normal(0, 3, (seeds, 120))
        made.append(entry(name, nats + noise_of_each, images=rng.permutation(120), **others))
    return made


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2), (0, 3), (2, 3)])
def test_the_order_of_a_pair_turns_the_sign_and_nothing_else(pair: tuple[int, int]) -> None:
    entries = random_entries()
    spreads = seed_spreads(entries)
    a, b = entries[pair[0]], entries[pair[1]]
    one, other = compare_models(a, b, spreads), compare_models(b, a, spreads)
    assert one.delta == pytest.approx(-other.delta, rel=1e-12)
    assert (one.stderr, one.df, one.p) == pytest.approx((other.stderr, other.df, other.p))
    assert sorted(variances(one)) == sorted(variances(other))
    assert (one.borrowed, one.kinds) == (other.borrowed, other.kinds[::-1])
    low, high = one.interval() or (0, 0)
    assert other.interval() == pytest.approx((-high, -low))


def test_the_pairs_of_images_matter_and_their_order_does_not() -> None:
    a, b = random_entries()[:2]
    spreads = seed_spreads([a, b])
    turned = entry("made", a.nats[:, ::-1], images=a.images[::-1])
    expected = pytest.approx(compare_models(a, b, spreads).stderr, rel=1e-9)
    assert compare_models(turned, b, spreads).stderr == expected
    wrong = entry("made", a.nats[:, ::-1], images=a.images)
    assert compare_models(wrong, b, spreads).stderr != expected


# ---------------------------------------------------------------------- parts and edges


def test_bits_per_dim() -> None:
    """784 ln 2 nats per image of 784 pixels are a bit per pixel."""
    one = compare_weights(
        entry("made", shifted((784 * math.log(2),), waves(N))), entry("vae", [FLAT])
    )
    bits, error = one.bits_per_dim(784)
    assert bits == pytest.approx(1)
    assert error == pytest.approx(math.sqrt(1 / 99) / (784 * math.log(2)))


def test_no_error_at_all() -> None:
    same, other = entry("made", [FLAT + 1]), entry("vae", [FLAT + 1])
    assert (compare_weights(same, other).stderr, compare_weights(same, other).p) == (0, 1)
    higher = entry("glow", [FLAT + 2])
    assert compare_weights(same, higher).p == 0
    assert compare_weights(same, higher).interval() == (-1, -1)


@pytest.mark.parametrize(
    ("b", "message"),
    [
        (entry("made", [FLAT]), "made is compared with itself"),
        (entry("rbm", [FLAT], dataset="binary_mnist"), "of mnist and rbm of binary_mnist"),
        (entry("vae", [FLAT[:99]]), "made and vae were both scored on 99 images"),
        (entry("vae", [FLAT, FLAT]), "vae has 2 seeds, and weights are compared of one"),
    ],
)
def test_pairs_that_do_not_compare_are_refused(b: Scored, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare_weights(entry("made", [FLAT]), b)


def test_shares_of_noise_follow_the_pool_of_each() -> None:
    """Where each entry stands for itself, it is its own noise that is taken off."""
    rng = np.random.default_rng(6)
    a = entry("made", shifted((-1, 0, 1), waves(N, 30)) + rng.normal(0, 2, (3, N)))
    b = entry("glow", shifted((-40, 0, 40), FLAT) + rng.normal(0, 5, (3, N)))
    spreads = seed_spreads([a, b])
    assert isinstance(spreads.own["made"], Spread)
    d = a.nats.mean(0) - b.nats.mean(0)
    expected = d.var(ddof=1) / N - (noise(a.nats) + noise(b.nats)) / 3
    assert variances(compare_models(a, b, spreads))["images"] == pytest.approx(expected)


def test_seeds_of_two_numbers() -> None:
    """The mean over seeds is of each entry, however many it has."""
    a: Sequence[float] = (1, 2, 3, 6)
    found = models(
        entry("made", shifted(a, FLAT)), entry("vae", shifted((1, 2), FLAT), kind="lower_bound")
    )
    assert found.delta == pytest.approx(3 - 1.5)
