"""What tells of memorisation: tests against scipy's, closed forms and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from genbench.errors import UserError
from genbench.scoring.memorisation import (
    ALPHA,
    CELLS,
    LEAST,
    Cells,
    copied_share,
    copying_z,
    nats_gap,
)
from genbench.scoring.metrics.base import TooFewSamples
from genbench.scoring.nearest import Nearest
from genbench.scoring.records import Metric


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---------------------------------------------------------------------- copies


def found(hits: int, n: int) -> Nearest:
    """Neighbours of n images, of which so many are copies by a hair, and the others not by one."""
    ratio = np.where(np.arange(n) < hits, 0.333, 0.334)
    return Nearest(np.zeros((n, 2), np.int64), 6.0 * np.stack([ratio, np.ones(n)], 1))


def p_of(hits: int, n: int, others: int, m: int) -> float:
    return copied_share(found(hits, n), found(others, m)).detail["p"]


def test_a_copy_is_nearer_than_a_third_of_the_distance_to_the_second() -> None:
    metric = copied_share(found(30, 400), found(2, 500))
    assert (metric.value, metric.n, metric.higher_is_better) == (0.075, 400, None)
    assert metric.stderr == pytest.approx(math.sqrt(0.075 * 0.925 / 400))
    assert (metric.detail["held_out_share"], metric.detail["held_out_n"]) == (0.004, 500)
    assert metric.detail["flagged"]


def test_images_equal_to_two_training_images_are_copies() -> None:
    twice = Nearest(np.zeros((50, 2), np.int64), np.zeros((50, 2)))
    assert copied_share(twice, found(0, 50)).value == 1


def test_without_a_hit_among_equal_numbers_each_one_halves_p() -> None:
    for hits in range(12):
        assert p_of(hits, 800, 0, 800) == pytest.approx(0.5**hits)
        assert p_of(hits, 800, 0, 1600) == pytest.approx((1 / 3) ** hits)
    flags = [copied_share(found(k, 800), found(0, 800)).detail["flagged"] for k in (9, 10)]
    assert (ALPHA, flags) == (0.001, [False, True])


@pytest.mark.parametrize(("hits", "others"), [(9, 1), (20, 5), (30, 12), (60, 30)])
def test_of_rare_hits_p_is_nearly_that_of_fishers_exact_test_and_no_smaller(
    hits: int, others: int
) -> None:
    n, m = 5000, 4000
    table = [[hits, n - hits], [others, m - others]]
    exact = scipy.stats.fisher_exact(table, alternative="greater").pvalue
    assert exact <= p_of(hits, n, others, m) <= 1.25 * exact


@pytest.mark.parametrize("share", [0.0002, 0.002, 0.02])
def test_equal_shares_are_flagged_no_more_often_than_the_level_allows(share: float) -> None:
    n, m, draws = 3000, 2000, 4000
    hits, others = rng(1).binomial(n, share, draws), rng(2).binomial(m, share, draws)
    p = [p_of(int(a), n, int(b), m) for a, b in zip(hits[:800], others[:800], strict=True)]
    for level in (0.05, 0.2):
        assert np.mean(np.array(p) <= level) <= level + 3 * math.sqrt(level / 800)


# ---------------------------------------------------------------------- the copying statistic


def distances(n: int, m: int, *, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Distances of samples and of held-out images, in cells of unequal sizes."""
    shares = np.arange(1, CELLS + 1) / 55
    own, others = (rng(seed + i).choice(CELLS, size, p=shares) for i, size in ((1, n), (2, m)))
    return (
        rng(seed + 3).normal(own + shift, 1.0),
        own,
        rng(seed + 4).normal(others, 1.0),
        others,
    )


def z_by_scipy(own: np.ndarray, others: np.ndarray) -> float:
    """From the probability that scipy gives without its correction for continuity."""
    test = scipy.stats.mannwhitneyu(
        own, others, alternative="less", method="asymptotic", use_continuity=False
    )
    return float(scipy.stats.norm.ppf(test.pvalue))


@pytest.mark.parametrize("decimals", [8, 0])  # without ties, and with many of them
def test_c_t_is_the_weighted_mean_of_z_over_the_cells(decimals: int) -> None:
    samples, own, held_out, others = distances(900, 700, shift=-0.1)
    samples, held_out = np.round(samples, decimals), np.round(held_out, decimals)
    metric = copying_z(samples, own, held_out, others)
    counts = np.bincount(others, minlength=CELLS)
    used = [c for c in range(CELLS) if min((own == c).sum(), counts[c]) >= LEAST]
    z = np.array([z_by_scipy(samples[own == c], held_out[others == c]) for c in used])
    weights = counts[used] / counts[used].sum()
    assert 2 < len(used) < CELLS
    assert metric.detail["cells"] == len(used)
    assert metric.detail["c_t"] == pytest.approx(weights @ z, rel=1e-9)
    spread = math.sqrt(np.square(weights).sum())
    assert metric.detail["spread"] == pytest.approx(spread, rel=1e-12)
    assert metric.value == pytest.approx(weights @ z / spread, rel=1e-9)
    assert (metric.stderr, metric.n, metric.higher_is_better) == (1.0, 900, None)


def test_without_copying_its_mean_is_zero_and_its_spread_one() -> None:
    draws = 400
    values = [copying_z(*distances(600, 500, seed=10 * i)).value for i in range(draws)]
    assert abs(np.mean(values)) < 4 / math.sqrt(draws)
    assert np.std(values, ddof=1) == pytest.approx(1, abs=4 / math.sqrt(2 * draws))


def test_its_spread_is_one_by_the_root_of_the_number_of_even_cells() -> None:
    cells = np.repeat(np.arange(CELLS), 40)
    metric = copying_z(rng(1).random(400), cells, rng(2).random(400), cells)
    assert metric.detail["spread"] == pytest.approx(1 / math.sqrt(CELLS))


def test_nearer_samples_are_below_zero_and_equal_ones_at_zero() -> None:
    assert copying_z(*distances(900, 700, shift=-0.5)).value < -5
    assert copying_z(*distances(900, 700, shift=0.5)).value > 5
    cells = np.zeros(50, int)
    assert copying_z(np.ones(50), cells, np.ones(50), cells).value == 0


def test_too_few_in_every_cell_is_an_error_that_says_so() -> None:
    cells = np.arange(LEAST * CELLS - 1) % CELLS
    cells[cells == CELLS - 1] = 0
    few = np.arange(CELLS * (LEAST - 1)) % CELLS
    with pytest.raises(TooFewSamples, match=rf"no cell holds {LEAST} samples .* {len(few)}"):
        copying_z(np.ones(len(few)), few, np.ones(len(cells)), cells)


def test_cells_are_those_of_the_nearest_mean_and_always_the_same() -> None:
    train = rng(5).integers(0, 256, (300, 6, 5), dtype=np.uint8)
    cells = Cells(train)
    own = cells.of(train)
    assert set(own) == set(range(CELLS))
    flat = train.reshape(300, -1).astype(float)
    means = np.stack([flat[own == c].mean(0) for c in range(CELLS)])
    apart = ((flat[:, None] - means) ** 2).sum(2)
    # Twenty rounds from a fixed start leave hardly any image nearer to another mean.
    assert (apart.argmin(1) == own).mean() > 0.9
    assert np.array_equal(Cells(train).of(train), own)
    with pytest.raises(UserError, match=rf"{CELLS} cells need as many training images, got 9"):
        Cells(train[:9])


# ---------------------------------------------------------------------- the gap of nats


def simulated(n: int, m: int, gap: float, seed: int) -> Metric:
    """Images that differ in how hard they are, for both models; the splits differ in that too."""
    hard_test, hard_seen = rng(seed).normal(105, 9, n), rng(seed + 1).normal(100, 9, m)
    noise = [rng(seed + i).normal(0, 2, size) for i, size in ((2, n), (3, m), (4, n), (5, m))]
    return nats_gap(
        hard_test + gap + noise[0],
        hard_seen + noise[1],
        control_test=2 * 105 + (hard_test - 105) + noise[2],
        control_seen=2 * 105 + (hard_seen - 105) + noise[3],
        seen_share=0.25,
    )


def test_the_gap_is_that_beyond_the_controls_and_its_error_is_its_spread() -> None:
    metrics = [simulated(300, 200, 1.5, seed=10 * i) for i in range(400)]
    values = np.array([metric.value for metric in metrics])
    errors = np.array([metric.stderr for metric in metrics])
    assert abs(values.mean() - 1.5) < 4 * values.std() / 20
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.12)
    covered = np.mean(np.abs(values - 1.5) < 1.96 * errors)
    assert 0.92 < covered < 0.98


def test_the_pair_of_an_image_takes_away_how_hard_it_is() -> None:
    """Without pairs, the error would be that of images whose nats spread by 9."""
    metric = simulated(300, 200, 0.0, seed=3)
    alone = math.sqrt(2 * 85 / 300 + 2 * 85 / 200)
    assert metric.stderr is not None
    assert metric.stderr < alone / 2
    assert metric.detail["seen_share"] == 0.25
    assert metric.detail["uncorrected"] - metric.detail["control"] == pytest.approx(metric.value)
    assert metric.detail["uncorrected"] == pytest.approx(5, abs=3)
    assert (metric.n, metric.detail["seen_n"], metric.higher_is_better) == (300, 200, None)


def test_one_image_has_no_spread() -> None:
    one, two = np.ones(1), np.ones(2)
    with pytest.raises(TooFewSamples, match="got 2 and 1"):
        nats_gap(two, one, control_test=two, control_seen=one, seen_share=1.0)
