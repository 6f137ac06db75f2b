"""Spreads over seeds: against tables worked out by hand, two-way tables in loops and scipy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from genbench.comparison.scored import Scored
from genbench.comparison.seed_spread import (
    LEVEL,
    Spread,
    bartlett_p,
    noise,
    own_spread,
    pooled,
    seed_spreads,
)
from genbench.errors import UserError
from tests.comparison_entries import entry, shifted, waves


def of_means(name: str, means: Sequence[float], family: str = "flow") -> Scored:
    return entry(name, shifted(means, waves(4)), family=family)


# ---------------------------------------------------------------------- one entry


def test_a_spread_by_hand() -> None:
    """Two seeds, two images: means 1 and 3, residuals of size 1 in all four places."""
    found = own_spread(entry("made", [[0, 2], [4, 2]]))
    assert found == Spread(variance=2.0, noise=2.0, df=1, entries=("made",))


def test_one_seed_has_no_spread() -> None:
    assert own_spread(entry("made", [[0, 2]])) is None


@pytest.mark.parametrize(("seeds", "n"), [(2, 3), (3, 4), (5, 2)])
def test_noise_is_the_residual_mean_square_of_a_two_way_table(seeds: int, n: int) -> None:
    y = 100 + np.random.default_rng(seeds).normal(size=(seeds, n))
    total = 0.0
    for r, i in itertools.product(range(seeds), range(n)):
        total += (y[r, i] - y[r].mean() - y[:, i].mean() + y.mean()) ** 2
    assert noise(y) == pytest.approx(total / ((seeds - 1) * (n - 1) * n), rel=1e-10)


def test_images_and_seeds_that_only_add_up_have_no_noise() -> None:
    y = shifted([0.0, 2.0, 4.0], np.array([500.0, 100.0, 300.0, 700.0]))
    assert noise(y) == pytest.approx(0, abs=1e-12)
    spread = own_spread(entry("made", y))
    assert spread is not None and spread.variance == pytest.approx(4, rel=1e-12)


def test_noise_is_what_it_adds_to_the_spread_of_means() -> None:
    """Many tables whose seeds are equal but for noise of variance 9 on 20 images: the means of s²
    and of the noise are both 9 / 20.
    """
    y = np.random.default_rng(0).normal(scale=3, size=(4000, 3, 20))
    for values in ([table.mean(1).var(ddof=1) for table in y], [noise(table) for table in y]):
        error = np.std(values) / math.sqrt(len(values))
        assert abs(np.mean(values) - 9 / 20) < 4 * error


# ---------------------------------------------------------------------- several entries


def test_a_pool_is_weighted_by_degrees_of_freedom() -> None:
    found = pooled([Spread(4.0, 1.0, 2, ("a",)), Spread(10.0, 0.25, 4, ("b", "c"))])
    assert found == Spread(variance=8.0, noise=0.5, df=6, entries=("a", "b", "c"))


@pytest.mark.parametrize("sizes", [(3, 3), (3, 3, 3, 3), (2, 5, 9)])
def test_bartletts_test_is_scipys(sizes: Sequence[int]) -> None:
    rng = np.random.default_rng(len(sizes))
    samples = [rng.normal(scale=1 + k, size=size) for k, size in enumerate(sizes)]
    spreads = [Spread(float(x.var(ddof=1)), 0.0, len(x) - 1, ()) for x in samples]
    assert bartlett_p(spreads) == pytest.approx(stats.bartlett(*samples).pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("variances", "expected"), [((), 1), ((3.0,), 1), ((0.0, 0.0), 1), ((0.0, 1.0), 0)]
)
def test_bartletts_test_at_its_edges(variances: Sequence[float], expected: float) -> None:
    assert bartlett_p([Spread(v, 0.0, 2, ()) for v in variances]) == expected


def test_bartletts_test_has_the_power_that_the_docs_name() -> None:
    """Of two entries with three seeds and s of 3 : 1, the ratio of s² is 9 F, with F of 2 and 2
    degrees of freedom, whose distribution function is f / (1 + f).
    """
    edges = {}
    for level in (0.05, LEVEL):
        ratios = np.linspace(2, 60, 5801)
        p = np.array([bartlett_p([Spread(r, 0.0, 2, ()), Spread(1, 0.0, 2, ())]) for r in ratios])
        edges[level] = float(ratios[np.argmax(p < level)])

    def power(edge: float) -> float:
        above, below = 9 / (9 + edge), (1 / edge) / (9 + 1 / edge)
        return above + below

    assert power(edges[LEVEL]) == pytest.approx(1 / 2, abs=0.02)
    assert power(edges[0.05]) == pytest.approx(1 / 6, abs=0.02)


def test_equal_families_share_one_spread() -> None:
    """s² is 1 and 4, a ratio that three seeds each do not tell apart."""
    made, vae = of_means("made", (-1, 0, 1)), of_means("vae", (-2, 0, 2), "variational")
    glow = of_means("glow", (7,))
    found = seed_spreads([made, vae, glow])
    assert found.equal_p > LEVEL
    assert found.families == {}
    assert found.of(made) == found.of(vae) == found.of(glow) == found.whole
    assert found.whole is not None
    assert found.whole.variance == pytest.approx(2.5)
    assert (found.whole.df, found.whole.entries) == (4, ("made", "vae"))
    assert found.of_pair(made, vae) == (found.whole, found.whole)


def test_families_that_differ_have_their_own_and_others_borrow_the_largest() -> None:
    made, vae = of_means("made", (-1, 0, 1)), of_means("vae", (-40, 0, 40), "variational")
    glow, ddpm = of_means("glow", (7,)), of_means("ddpm", (7,), "diffusion")
    found = seed_spreads([made, vae, glow, ddpm])
    assert found.equal_p < LEVEL
    variances = {}
    for one in (made, glow, vae, ddpm):
        spread = found.of(one)
        assert spread is not None
        variances[one.name] = spread.variance, spread.df, spread.entries
    assert variances == {
        "made": (pytest.approx(1), 2, ("made",)),
        "glow": (pytest.approx(1), 2, ("made",)),
        "vae": (pytest.approx(1600), 2, ("vae",)),
        "ddpm": (pytest.approx(1600), 2, ("vae",)),
    }


def test_entries_of_a_family_that_differ_are_compared_with_their_own() -> None:
    """In one family, so that its pool has both; against a third entry each has the pool's."""
    made, glow = of_means("made", (-1, 0, 1)), of_means("glow", (-40, 0, 40))
    other = of_means("nice", (5,))
    found = seed_spreads([made, glow, other])
    pair = found.of_pair(made, glow)
    assert pair is not None
    assert [spread.entries for spread in pair] == [("made",), ("glow",)]
    assert [spread.variance for spread in pair] == pytest.approx([1, 1600])
    assert [spread.df for spread in pair] == [2, 2]
    with_other = found.of_pair(other, glow)
    assert with_other is not None
    assert [spread.entries for spread in with_other] == [("made", "glow")] * 2


def test_two_seeds_are_never_used_alone() -> None:
    """Neither against an entry that differs, nor for their family where families differ."""
    made, glow = of_means("made", (-1, 1)), of_means("glow", (-40, 0, 40))
    found = seed_spreads([made, glow])
    assert found.of_pair(made, glow) == (found.whole, found.whole)
    vae = of_means("vae", (-1, 0, 1), "variational")
    ddpm = of_means("ddpm", (-3, 3), "diffusion")
    found = seed_spreads([glow, vae, ddpm])
    assert set(found.families) == {"flow", "variational"}
    assert found.of(ddpm) == found.of(glow)


@pytest.mark.parametrize(
    ("seeds", "df"), [([1, 1], None), ([2, 1], None), ([2, 2], 2), ([3, 1], 2), ([3, 2, 1], 3)]
)
def test_two_seeds_of_one_entry_are_no_pool(seeds: Sequence[int], df: int | None) -> None:
    entries = [of_means(f"made-{k}", range(count)) for k, count in enumerate(seeds)]
    whole = seed_spreads(entries).whole
    assert (None if whole is None else whole.df) == df
    assert (seed_spreads(entries).of_pair(entries[0], entries[1]) is None) == (df is None)


def test_entries_that_do_not_belong_together_are_refused() -> None:
    made, other = of_means("made", (1, 2)), entry("rbm", [[1, 2]], dataset="binary_mnist")
    with pytest.raises(UserError, match=r"different data sets \(binary_mnist, mnist\)"):
        seed_spreads([made, other])
    with pytest.raises(UserError, match="made: named more than once"):
        seed_spreads([made, of_means("made", (3, 4))])
