r"""How far the score of an entry moves from seed to seed, and whose seeds tell it.

s is the standard deviation over seeds (ddof 1) of an entry's test means. All seeds are scored on
the same images, so which images these are does not spread the means of the seeds. What does is the
seed of the training, and, to a small part, noise: what is drawn anew for each image and seed
(draws of a bound, dequantisation, terms), and that seeds differ from image to image. This part is

.. math::
    c = \frac{1}{n (n - 1) (S - 1)}
        \sum_{r,i} (y_{ri} - \bar y_{r \cdot} - \bar y_{\cdot i} + \bar y_{\cdot \cdot})^2

of s² for S seeds and n images: the residual mean square of a two-way table, over n. It is left in
s², as it is a part of what a new seed would change, and told beside it, because the variance of
differences over images has it too: :mod:`genbench.comparison.paired` counts it once.

The error of an estimated log Z differs from seed to seed too, and is in s² as a whole.

Three seeds tell s badly (the middle 95 % of s² lie between 0.025 and 3.7 times the true one), so
entries share an estimate: the mean of their s², weighted by degrees of freedom.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from genbench.comparison.scored import Scored
from genbench.errors import UserError

__all__ = [
    "LEAST_DF",
    "LEVEL",
    "SeedSpreads",
    "Spread",
    "bartlett_p",
    "noise",
    "own_spread",
    "pooled",
    "seed_spreads",
]

LEVEL = 0.2
"""Bartlett's p below which spreads count as different and are not pooled.

It is higher than is usual for a test, since with three seeds the test sees little: where two
entries have three each and their true s are 3 : 1, it finds a difference in half of cases, at a
level of 0.05 in a sixth. So equal spreads are never shown, only not told apart. To pool what
differs makes intervals too short; to keep apart what is equal only makes them wider. Simulated:
where one of five entries has four times the spread of the others, the 95 % interval of its
difference to another holds in 90 % of cases, with a level of 0.05 in 86 %.
"""

LEAST_DF = 2
"""Degrees of freedom below which a spread is no pool: two seeds of one entry have a single one, and
an interval of 13 standard errors to each side.
"""


@dataclass(frozen=True, slots=True)
class Spread:
    """An estimate of s².

    Attributes:
        variance: s² of the mean over test images of one seed, in nats squared.
        noise: the part c of it that noise of single images makes up, on average.
        df: degrees of freedom, seeds minus entries.
        entries: names of those whose seeds it comes from.
    """

    variance: float
    noise: float
    df: int
    entries: tuple[str, ...]


def noise(nats: np.ndarray) -> float:
    """The part c of s² (see above) of nats (seeds, n) with at least two seeds, in nats squared.

    The mean over images of the variance over seeds is s² + (n - 1) c.
    """
    over_seeds = float(nats.var(axis=0, ddof=1).mean())
    of_means = float(nats.mean(axis=1).var(ddof=1))
    return max(0.0, over_seeds - of_means) / (nats.shape[1] - 1)


def own_spread(entry: Scored) -> Spread | None:
    """What the seeds of one entry tell; None for a single seed."""
    if entry.seeds < 2:
        return None
    variance = float(entry.nats.mean(axis=1).var(ddof=1))
    return Spread(variance, noise(entry.nats), entry.seeds - 1, (entry.name,))


def pooled(spreads: Sequence[Spread]) -> Spread:
    """The common estimate of at least one spread, weighted by degrees of freedom."""
    df = sum(one.df for one in spreads)
    return Spread(
        sum(one.df * one.variance for one in spreads) / df,
        sum(one.df * one.noise for one in spreads) / df,
        df,
        tuple(name for one in spreads for name in one.entries),
    )


def bartlett_p(spreads: Sequence[Spread]) -> float:
    """The p of Bartlett's test that spreads are equal: 1 for fewer than two of them or if all are
    0, and 0 if only some are.

    It takes the means of seeds to be normally distributed.

    References:
        Bartlett, "Properties of Sufficiency and Statistical Tests", 1937,
            https://doi.org/10.1098/rspa.1937.0109.
    """
    df = np.array([one.df for one in spreads], float)
    variances = np.array([one.variance for one in spreads])
    if len(spreads) < 2 or not variances.any():
        return 1.0
    if not variances.all():
        return 0.0
    total, groups = df.sum(), len(spreads)
    statistic = total * np.log(df @ variances / total) - df @ np.log(variances)
    correction = 1 + ((1 / df).sum() - 1 / total) / (3 * (groups - 1))
    return float(chdtrc(groups - 1, max(0.0, statistic / correction)))


@dataclass(frozen=True, slots=True)
class SeedSpreads:
    """The spreads over seeds of the entries of one data set.

    Attributes:
        own: entry → its own, of those with at least two seeds.
        whole: that of all of them together; None below ``LEAST_DF`` degrees of freedom.
        families: family → that of its entries, where families differ clearly; else empty.
        equal_p: Bartlett's p that families are equal.
    """

    own: Mapping[str, Spread]
    whole: Spread | None
    families: Mapping[str, Spread]
    equal_p: float

    def of(self, entry: Scored) -> Spread | None:
        """The spread of an entry's pool; None where too few seeds tell one.

        Where families differ and none of the entry's own has enough seeds, it is the largest of the
        others': nothing says that this one is steadier.
        """
        if not self.families:
            return self.whole
        largest = max(self.families.values(), key=lambda spread: spread.variance)
        return self.families.get(entry.family, largest)

    def of_pair(self, a: Scored, b: Scored) -> tuple[Spread, Spread] | None:
        """The spreads to compare two entries with: each its own where both have three seeds or more
        and differ clearly, else those of their pools; None where too few seeds tell one.
        """
        alone = [self.own[one.name] for one in (a, b) if one.name in self.own]
        enough = len(alone) == 2 and min(one.df for one in alone) >= LEAST_DF
        if enough and bartlett_p(alone) < LEVEL:
            return alone[0], alone[1]
        spread_a, spread_b = self.of(a), self.of(b)
        return None if spread_a is None or spread_b is None else (spread_a, spread_b)


def seed_spreads(entries: Sequence[Scored]) -> SeedSpreads:
    """The spreads over seeds of entries of one data set: one for all, or one for each family where
    Bartlett's test finds families different at ``LEVEL``.

    Raises:
        UserError: two data sets, or two entries of one name.
    """
    _check(entries)
    own = {one.name: spread for one in entries if (spread := own_spread(one)) is not None}
    members: dict[str, list[Spread]] = defaultdict(list)
    for one in entries:
        members[one.family] += [own[one.name]] if one.name in own else []
    families = {name: pooled(spreads) for name, spreads in members.items() if spreads}
    known = {name: spread for name, spread in families.items() if spread.df >= LEAST_DF}
    equal_p = bartlett_p(list(known.values()))
    whole = pooled(list(own.values())) if own else None
    return SeedSpreads(
        own,
        whole if whole is not None and whole.df >= LEAST_DF else None,
        known if equal_p < LEVEL else {},
        equal_p,
    )


def _check(entries: Sequence[Scored]) -> None:
    datasets = sorted({one.dataset for one in entries})
    if len(datasets) > 1:
        raise UserError(
            f"entries of different data sets ({', '.join(datasets)}) share no spread over seeds; "
            "compare those of one data set"
        )
    names = [one.name for one in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"{', '.join(twice)}: named more than once; the seeds of an entry belong into one value"
        )
