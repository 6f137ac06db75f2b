"""Letters by enumeration of all ways in which a few entries can be separated."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator

import numpy as np
import pytest

from genbench.comparison.letters import letters
from genbench.errors import UserError

Pairs = Collection[tuple[str, str]]


def subsets(pairs: Collection[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], ...]]:
    for size in range(len(pairs) + 1):
        yield from itertools.combinations(pairs, size)


def shows(shown: dict[str, set[str]], separated: Pairs) -> bool:
    """Whether each entry has a letter, and two share one if and only if they are not separated."""
    apart = {frozenset(pair) for pair in separated}
    return all(shown.values()) and all(
        bool(shown[one] & shown[other]) == (frozenset((one, other)) not in apart)
        for one, other in itertools.combinations(shown, 2)
    )


def check(names: str, separated: Pairs) -> None:
    """That letters show what is separated, and that without any one of them they would not."""
    found = {name: set(text) for name, text in letters(names, separated).items()}
    assert shows(found, separated), separated
    for name, own in found.items():
        for letter in own:
            assert not shows(found | {name: own - {letter}}, separated), (separated, name, letter)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_letters_are_shared_by_what_is_not_separated_and_none_is_redundant(n: int) -> None:
    names = "PQRST"[:n]
    for separated in subsets(list(itertools.combinations(names, 2))):
        check(names, separated)


def test_larger_sets() -> None:
    rng, names = np.random.default_rng(0), "KLMNOPQRS"
    pairs = list(itertools.combinations(names, 2))
    for share in (0.2, 0.4, 0.6, 0.8):
        for _ in range(10):
            check(names, [pair for pair in pairs if rng.uniform() < share])


def test_a_set_that_others_show_already_has_no_letter() -> None:
    """A triangle of which each side is in another triangle too: maximal sets are four, and three
    show all.
    """
    triangles = ("PQX", "QRY", "PRZ")
    together = {frozenset(pair) for one in triangles for pair in itertools.combinations(one, 2)}
    separated = [
        pair for pair in itertools.combinations("PQRXYZ", 2) if frozenset(pair) not in together
    ]
    check("PQRXYZ", separated)
    assert set("".join(letters("PQRXYZ", separated).values())) == set("abc")


def test_letters_follow_the_order_of_the_entries() -> None:
    """A chain where only neighbours are not separated, and the usual picture of overlapping
    groups.
    """
    chain = [("P", "R"), ("P", "S"), ("Q", "S")]
    assert letters("PQRS", chain) == {"P": "a", "Q": "ab", "R": "bc", "S": "c"}
    assert letters("PQRS", [(b, a) for a, b in chain]) == letters("PQRS", chain)
    assert letters("PQR", []) == {"P": "a", "Q": "a", "R": "a"}
    assert letters("", []) == {}


def test_more_letters_than_the_alphabet_has() -> None:
    names = [f"e{k:02}" for k in range(28)]
    found = letters(names, list(itertools.combinations(names, 2)))
    assert [found[name] for name in names] == [*"abcdefghijklmnopqrstuvwxyz", "a′", "b′"]


@pytest.mark.parametrize(
    ("names", "separated", "message"),
    [
        ("PP", [], "names: each must be there once, got P, P"),
        ("PQ", [("P", "R")], r"separated: \(P, R\) is no pair"),
        ("PQ", [("P", "P")], r"separated: \(P, P\) is no pair"),
    ],
)
def test_what_is_no_pair_is_refused(names: str, separated: Pairs, message: str) -> None:
    with pytest.raises(UserError, match=message):
        letters(names, separated)
