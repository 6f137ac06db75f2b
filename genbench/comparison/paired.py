r"""Two entries on the same test images: the difference of their mean nats with its standard error.

Of each common image :math:`d_i` is the mean over seeds of A's nats minus that of B's. For *models*,
which any seed may have trained, the difference has the standard error

.. math::
    SE^2 = \Bigl[\frac{\operatorname{var}(d)}{n} - \frac{\min(c_A, c)}{S_A}
           - \frac{\min(c_B, c)}{S_B}\Bigr]_+ + \frac{s_A^2}{S_A} + \frac{s_B^2}{S_B} + z^2

with the spread s over seeds of :mod:`genbench.comparison.seed_spread`, mostly one for both. An
error of the images alone would take the networks at hand for the models: where seeds move a score
by more than images do, its interval seldom holds the difference of two models.

Noise is counted once. What is drawn for each image and seed is in var(d) and, with its share c, in
s² too. It is taken off where both have it: of an entry with several seeds :math:`c_A` is measured
on the common images, and no more is taken off than the c that the estimate of s has, which may come
from other entries. So on average it does not make the error too small; of an entry with one seed,
whose noise cannot be told from the image's own, nothing is taken off.

:math:`z` is the error of log Z of entries with one seed. It moves all nats of a seed alike, so
var(d) does not see it; with several seeds it is in their spread.

For *these weights*, one seed against one, :math:`SE^2 = \operatorname{var}(d)/n + z^2`: a weaker
statement, which another seed may turn round.

References:
    Miller, "Adding Error Bars to Evals", 2024, https://arxiv.org/abs/2411.00640: differences of
        the same questions.
    Bouthillier et al., "Accounting for Variance in Machine Learning Benchmarks", 2021,
        https://arxiv.org/abs/2103.03098: all sources of randomness vary together.

Differs:
    Neither adds the two parts; their sum is that of a design where all seeds meet all images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from genbench.comparison.scored import Common, Scored, in_common
from genbench.comparison.seed_spread import SeedSpreads, Spread, noise
from genbench.comparison.terms import Term, half_width, satterthwaite, stderr, two_sided_p
from genbench.errors import UserError

__all__ = ["Comparison", "compare_models", "compare_weights"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A against B.

    Attributes:
        a: name of the first entry.
        b: name of the second.
        kinds: of their likelihoods.
        dataset: that both were scored on.
        n: common images.
        delta: mean nats of A minus those of B; below 0 where A has the lower.
        stderr: its standard error in nats; None where too few seeds tell how far a score moves.
        df: degrees of freedom of the error; None with it.
        p: of the two-sided test by Student's distribution, not corrected for other pairs; None with
            the error.
        terms: the parts of the squared error; those that are known, where it is not.
        borrowed: entry → names of those whose seeds tell its spread, where its own do not.
    """

    a: str
    b: str
    kinds: tuple[str, str]
    dataset: str
    n: int
    delta: float
    stderr: float | None
    df: float | None
    p: float | None
    terms: tuple[Term, ...]
    borrowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """The confidence interval of the difference in nats, or None without an error."""
        if self.stderr is None or self.df is None:
            return None
        half = half_width(self.stderr, self.df, level)
        return self.delta - half, self.delta + half

    def bits_per_dim(self, dims: int) -> tuple[float, float | None]:
        """The difference and its standard error in bits per pixel, for images of ``dims`` pixels;
        as :func:`genbench.scoring.likelihood.bits_per_dim`, which needs torch.
        """
        bits = 1 / (math.log(2) * dims)
        return self.delta * bits, None if self.stderr is None else self.stderr * bits


def compare_models(a: Scored, b: Scored, spreads: SeedSpreads) -> Comparison:
    """Two entries as models that were trained with some seeds out of all.

    Arguments:
        a: the first entry.
        b: the second.
        spreads: those of the data set's entries, these two among them if they have several seeds.

    Raises:
        UserError: one entry twice, different data sets, or too few common images.
    """
    common, pair = _common(a, b), spreads.of_pair(a, b)
    if pair is None:
        return _comparison(a, b, common, [_images(common, 0.0), *_log_z(a, b)], known=False)
    shared = _shared_noise(common.a, pair[0]) + _shared_noise(common.b, pair[1])
    terms = [_images(common, shared), *_seeds(a, b, pair), *_log_z(a, b)]
    sources = {
        one.name: spread.entries
        for one, spread in zip((a, b), pair, strict=True)
        if one.name not in spread.entries
    }
    return _comparison(a, b, common, terms, borrowed=sources)


def compare_weights(a: Scored, b: Scored) -> Comparison:
    """Two trained networks, one seed each, on images alone.

    Raises:
        UserError: several seeds, one entry twice, different data sets, or too few common images.
    """
    for one in (a, b):
        if one.seeds != 1:
            raise UserError(
                f"{one.name} has {one.seeds} seeds, and weights are compared of one; choose one of "
                "them"
            )
    common = _common(a, b)
    return _comparison(a, b, common, [_images(common, 0.0), *_log_z(a, b)])


def _common(a: Scored, b: Scored) -> Common:
    if a.name == b.name:
        raise UserError(f"{a.name} is compared with itself; name two different entries")
    return in_common(a, b)


def _images(common: Common, shared: float) -> Term:
    """The part of the images, without the noise that the part of the seeds has."""
    d = common.differences
    return Term("images", max(0.0, float(d.var(ddof=1)) / len(d) - shared), len(d) - 1)


def _shared_noise(nats: np.ndarray, spread: Spread) -> float:
    """What both var(d)/n and s²/S hold of an entry's noise on the common images (seeds, n)."""
    seeds = len(nats)
    return min(noise(nats), spread.noise) / seeds if seeds > 1 else 0.0


def _seeds(a: Scored, b: Scored, pair: tuple[Spread, Spread]) -> list[Term]:
    """The part of the seeds: one term where both rest on the same estimate."""
    if pair[0] == pair[1]:
        return [Term("seeds", pair[0].variance * (1 / a.seeds + 1 / b.seeds), pair[0].df)]
    return [
        Term(f"seeds of {one.name}", spread.variance / one.seeds, spread.df)
        for one, spread in zip((a, b), pair, strict=True)
    ]


def _log_z(*entries: Scored) -> Iterator[Term]:
    for one in entries:
        if one.seeds == 1 and one.log_z_stderr[0] > 0:
            yield Term(f"log Z of {one.name}", one.log_z_stderr[0] ** 2, math.inf)


def _comparison(
    a: Scored,
    b: Scored,
    common: Common,
    terms: Sequence[Term],
    *,
    known: bool = True,
    borrowed: Mapping[str, tuple[str, ...]] | None = None,
) -> Comparison:
    delta, error, df = float(common.differences.mean()), stderr(terms), satterthwaite(terms)
    return Comparison(
        a.name,
        b.name,
        (a.kind, b.kind),
        a.dataset,
        len(common.images),
        delta,
        error if known else None,
        df if known else None,
        two_sided_p(delta, error, df) if known else None,
        tuple(terms),
        borrowed or {},
    )
