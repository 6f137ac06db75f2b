"""Verdicts for all kinds, signs and sizes, by a table and by what the kinds mean; their sentences
word by word.
"""

from __future__ import annotations

import doctest
import itertools
import math

import numpy as np
import pytest

from genbench.comparison import sentences
from genbench.comparison.holm import holm
from genbench.comparison.paired import Comparison, compare_models
from genbench.comparison.seed_spread import seed_spreads
from genbench.comparison.sentences import remarks, sentence, weights_sentence
from genbench.comparison.verdicts import Outcome, Verdict, judge, verdicts
from genbench.errors import UserError
from tests.comparison_entries import entry, shifted, waves

KINDS = ("exact", "lower_bound", "estimate")
PAIRS = list(itertools.product(KINDS, KINDS))

TABLE = {
    ("exact", "exact"): (Outcome.BETTER, False),
    ("exact", "lower_bound"): (Outcome.UNPROVEN, False),
    ("exact", "estimate"): (Outcome.BETTER, True),
    ("lower_bound", "exact"): (Outcome.BETTER, True),
    ("lower_bound", "lower_bound"): (Outcome.LOWER_BOUND, False),
    ("lower_bound", "estimate"): (Outcome.BETTER, True),
    ("estimate", "exact"): (Outcome.UNPROVEN, False),
    ("estimate", "lower_bound"): (Outcome.UNPROVEN, False),
    ("estimate", "estimate"): (Outcome.LOWER_ESTIMATE, False),
}
"""Kinds of the lower and the higher number → outcome, and whether the difference may be larger."""


def compared(
    kind_a: str, kind_b: str, delta: float, p: float | None = 1e-3, stderr: float = 0.2
) -> Comparison:
    return Comparison(
        a="A",
        b="B",
        kinds=(kind_a, kind_b),
        dataset="mnist",
        n=1000,
        delta=delta,
        stderr=None if p is None else stderr,
        df=None if p is None else 12.0,
        p=p,
        terms=(),
    )


def judged(
    kind_a: str, kind_b: str, delta: float, p: float | None = 1e-3, stderr: float = 0.2
) -> Verdict:
    return judge(compared(kind_a, kind_b, delta, p, stderr), p)


# ---------------------------------------------------------------------- outcomes


@pytest.mark.parametrize(("lower", "higher"), PAIRS)
@pytest.mark.parametrize("turned", [False, True])
def test_a_significant_difference(lower: str, higher: str, turned: bool) -> None:
    found = judged(higher, lower, 1.5) if turned else judged(lower, higher, -1.5)
    assert (found.outcome, found.at_least) == TABLE[lower, higher]
    assert (found.lower, found.higher) == (("B", "A") if turned else ("A", "B"))
    assert found.winner == (found.lower if found.outcome is Outcome.BETTER else None)
    assert found.separated


@pytest.mark.parametrize(("lower", "higher"), PAIRS)
def test_one_wins_just_where_no_true_values_say_otherwise(lower: str, higher: str) -> None:
    """The true value of a bound is anywhere below the number, that of an estimate anywhere above:
    a verdict holds where it does for all of them.
    """
    errs = {"exact": (0.0,), "lower_bound": (0.0, -1.0, -100.0), "estimate": (0.0, 1.0, 100.0)}
    true = [(10 + e, 12 + f) for e, f in itertools.product(errs[lower], errs[higher])]
    found = judged(lower, higher, -2.0)
    assert (found.winner == "A") == all(a < b for a, b in true)
    if found.winner:
        assert found.at_least == (max(b - a for a, b in true) > 2)
        assert min(b - a for a, b in true) == 2


@pytest.mark.parametrize(("kind_a", "kind_b"), PAIRS)
@pytest.mark.parametrize("delta", [-1.5, 0.0, 1.5])
@pytest.mark.parametrize("p", [0.05, 0.2, 1.0])
def test_what_is_not_significant_is_not_separated(
    kind_a: str, kind_b: str, delta: float, p: float
) -> None:
    found = judged(kind_a, kind_b, delta, p)
    assert (found.outcome, found.separated, found.winner) == (Outcome.NOT_SEPARATED, False, None)
    assert not found.at_least


@pytest.mark.parametrize(("kind_a", "kind_b"), PAIRS)
def test_without_a_spread_nothing_is_known(kind_a: str, kind_b: str) -> None:
    found = judged(kind_a, kind_b, -50.0, None)
    assert (found.outcome, found.separated, found.p) == (Outcome.UNKNOWN, False, None)


def test_the_corrected_p_decides() -> None:
    one = compared("exact", "exact", -1.5, 0.01)
    assert judge(one, 0.0499).outcome is Outcome.BETTER
    assert judge(one, 0.06).outcome is Outcome.NOT_SEPARATED
    with pytest.raises(UserError, match="no smaller than that of the test"):
        judge(one, 0.005)


# ---------------------------------------------------------------------- all pairs of a data set


def test_all_pairs_with_holms_correction() -> None:
    """SE is √0.06 = 0.245 for all pairs, with 8 degrees of freedom: of three differences of 0.1,
    0.7 and 0.6 the second has p = 0.021, and 0.063 as the fourth of six.
    """
    means = {"made": 0.0, "glow": 0.1, "nice": 0.7, "vae": 8.0}
    entries = [
        entry(name, shifted((mean - 0.3, mean, mean + 0.3), waves(150)))
        for name, mean in means.items()
    ]
    spreads = seed_spreads(entries)
    found = verdicts(entries, spreads)
    pairs = list(itertools.combinations(entries, 2))
    assert [(one.comparison.a, one.comparison.b) for one in found] == [
        (a.name, b.name) for a, b in pairs
    ]
    plain = [compare_models(a, b, spreads).p or 0.0 for a, b in pairs]
    assert [one.p for one in found] == pytest.approx(holm(plain))
    assert [one.outcome for one in found] == [
        Outcome.BETTER if b.name == "vae" else Outcome.NOT_SEPARATED for _, b in pairs
    ]
    assert plain[1] == pytest.approx(0.021, abs=5e-4)
    assert found[1].p == pytest.approx(0.063, abs=2e-3)


def test_pairs_without_a_test_do_not_count_in_the_correction() -> None:
    """Without seeds no pair has a test; pairs without common images are left out."""
    made, vae = entry("made", [waves(150)]), entry("vae", [waves(150)[::-1]])
    far = entry("glow", [waves(150)], images=np.arange(1000, 1150))
    (only,) = verdicts([made, vae, far], seed_spreads([made, vae, far]))
    assert (only.comparison.a, only.comparison.b) == ("made", "vae")
    assert only.outcome is Outcome.UNKNOWN


# ---------------------------------------------------------------------- sentences


@pytest.mark.parametrize(
    ("kinds", "delta", "expected"),
    [
        (("exact", "exact"), -1.234, "A is better than B by 1.23 ± 0.20 nats (p = 0.0010)."),
        (("exact", "exact"), 1.234, "B is better than A by 1.23 ± 0.20 nats (p = 0.0010)."),
        (
            ("lower_bound", "exact"),
            -1.234,
            "A is better than B by at least 1.23 ± 0.20 nats (p = 0.0010): the bound of the first "
            "is below the exact value of the second.",
        ),
        (
            ("estimate", "exact"),
            1.234,
            "B is better than A by at least 1.23 ± 0.20 nats (p = 0.0010): the exact value of the "
            "first is below the estimate, which errs towards too good a number, of the second.",
        ),
        (
            ("lower_bound", "estimate"),
            -1.234,
            "A is better than B by at least 1.23 ± 0.20 nats (p = 0.0010): the bound of the first "
            "is below the estimate, which errs towards too good a number, of the second.",
        ),
        (
            ("lower_bound", "lower_bound"),
            1.234,
            "B has the lower bound, 1.23 ± 0.20 nats (p = 0.0010) below that of A, which says "
            "nothing of the models beyond it.",
        ),
        (
            ("estimate", "estimate"),
            -1.234,
            "A has the lower estimate, 1.23 ± 0.20 nats (p = 0.0010) below that of B, which proves "
            "nothing: an estimate errs towards too good a number, so it never wins.",
        ),
        (
            ("exact", "lower_bound"),
            -1.234,
            "The exact value of A is below the bound of B by 1.23 ± 0.20 nats (p = 0.0010), which "
            "proves nothing: the bound may be loose.",
        ),
        (
            ("exact", "estimate"),
            1.234,
            "The estimate of B is below the exact value of A by 1.23 ± 0.20 nats (p = 0.0010), "
            "which proves nothing: an estimate errs towards too good a number, so it never wins.",
        ),
        (
            ("estimate", "lower_bound"),
            -1.234,
            "The estimate of A is below the bound of B by 1.23 ± 0.20 nats (p = 0.0010), which "
            "proves nothing: an estimate errs towards too good a number, so it never wins, and the "
            "bound may be loose.",
        ),
    ],
)
def test_sentences_of_what_is_significant(
    kinds: tuple[str, str], delta: float, expected: str
) -> None:
    assert sentence(judged(*kinds, delta)) == expected


@pytest.mark.parametrize(
    ("kinds", "subject"),
    [
        (("exact", "exact"), "A and B"),
        (("lower_bound", "lower_bound"), "The bounds of A and B"),
        (("estimate", "estimate"), "The estimates of A and B"),
        (("lower_bound", "exact"), "The bound of A and the exact value of B"),
        (("exact", "estimate"), "The exact value of A and the estimate of B"),
    ],
)
def test_sentences_of_what_is_not(kinds: tuple[str, str], subject: str) -> None:
    expected = "are not separated: their difference is −0.12 ± 0.20 nats (p = 0.56)."
    assert sentence(judged(*kinds, -0.123, 0.5555)) == f"{subject} {expected}"


def test_a_difference_has_its_sign() -> None:
    assert "their difference is +0.12 ± 0.20 nats (p = 1)." in sentence(
        judged("exact", "exact", 0.123, 1.0)
    )


def test_sentence_without_a_spread() -> None:
    assert sentence(judged("exact", "lower_bound", -50.0, None)) == (
        "Whether A or B is the better model is not known: no entry of mnist has three seeds, which "
        "would tell how far a score moves from seed to seed."
    )


def test_sentence_of_weights() -> None:
    assert weights_sentence(judged("exact", "exact", -1.234)) == (
        "Of these weights alone, which another seed may turn round: A is better than B by 1.23 ± "
        "0.20 nats (p = 0.0010)."
    )


@pytest.mark.parametrize(
    ("delta", "stderr", "expected"),
    [(-1.2, 0.0046, "1.2000 ± 0.0046"), (-1450.23, 5.04, "1450.2 ± 5.0"), (-3, 0, "3.000 ± 0.000")],
)
def test_digits_follow_the_error(delta: float, stderr: float, expected: str) -> None:
    assert f"by {expected} nats" in sentence(judged("exact", "exact", delta, stderr=stderr))


def test_remarks_name_images_and_whose_seeds_are_borrowed() -> None:
    a, b = entry("A", [waves(2000)]), entry("B", shifted((0, 1, 2), waves(2000)))
    c = entry("C", shifted((0, 1, 2), waves(2000)))
    found = compare_models(a, b, seed_spreads([a, b, c]))
    assert remarks(found) == (
        "Both were scored on 2,000 common images of mnist.",
        "How far the score of A moves with the seed is borrowed from B and C.",
    )
    assert len(remarks(compare_models(b, c, seed_spreads([b, c])))) == 1


def test_examples() -> None:
    found = doctest.testmod(sentences)
    assert found.attempted > 0
    assert found.failed == 0


def test_estimates_err_towards_too_good_a_number() -> None:
    """The premise of the table, by enumeration: log of a mean weight, whose expectation is log Z,
    over all draws of three weights.
    """
    weights, z = (0.5, 1.0, 4.5), 2.0
    logs = [math.log(sum(drawn) / 3) for drawn in itertools.product(weights, repeat=3)]
    assert sum(logs) / len(logs) < math.log(z)
    for t in (0.1, 0.5, 1.0):
        assert np.mean([one >= math.log(z) + t for one in logs]) <= math.exp(-t)
