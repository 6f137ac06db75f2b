"""Letters for what is not separated: two entries share one if and only if they are not."""

from __future__ import annotations

import string
from collections.abc import Collection, Iterable, Sequence

from genbench.errors import UserError

__all__ = ["letters"]


def letters(names: Sequence[str], separated: Collection[tuple[str, str]]) -> dict[str, str]:
    """The letters of each entry, in alphabetical order.

    One set with all entries is split at each separated pair into the set without the one and that
    without the other; sets inside of others are dropped (insert and absorb). Then each entry leaves
    a set where others already show all that its place in it does (sweep), so that no letter could
    be left out.

    Arguments:
        names: entries; the letters begin with the first, so hand in the best first.
        separated: pairs of names, in either order.

    Returns:
        name → for example ``ab``; after z come a′, b′ and so on.

    Raises:
        UserError: a name is there twice, or a pair is not of two of the names.

    References:
        Piepho, "An Algorithm for a Letter-Based Representation of All-Pairwise Comparisons", 2004,
            https://doi.org/10.1198/1061860043515.
    """
    _check(names, separated)
    place = {name: i for i, name in enumerate(names)}
    columns = [frozenset(place.values())] if names else []
    for one, other in separated:
        columns = _absorbed(_split(columns, place[one], place[other]))
    ordered = sorted(sorted(column) for column in _swept(columns))
    return {
        name: "".join(_letter(k) for k, column in enumerate(ordered) if i in column)
        for name, i in place.items()
    }


def _split(columns: Iterable[frozenset[int]], one: int, other: int) -> Iterable[frozenset[int]]:
    for column in columns:
        if one in column and other in column:
            yield column - {one}
            yield column - {other}
        else:
            yield column


def _absorbed(columns: Iterable[frozenset[int]]) -> list[frozenset[int]]:
    different = list(dict.fromkeys(columns))
    return [column for column in different if not any(column < other for other in different)]


def _swept(columns: Sequence[frozenset[int]]) -> list[set[int]]:
    """From the last column to the first, so that the best entries keep the first letters."""
    left = sorted((set(column) for column in columns), key=sorted)
    for column in reversed(left):
        for i in sorted(column):
            beside = [other for other in left if other is not column and i in other]
            if all(any(j in other for other in beside) for j in column):
                column.remove(i)
    return [column for column in left if column]


def _letter(k: int) -> str:
    return string.ascii_lowercase[k % 26] + "′" * (k // 26)


def _check(names: Sequence[str], separated: Collection[tuple[str, str]]) -> None:
    if len(set(names)) < len(names):
        raise UserError(f"names: each must be there once, got {', '.join(names)}")
    for one, other in separated:
        if one == other or not {one, other} <= set(names):
            raise UserError(
                f"separated: ({one}, {other}) is no pair of two different names of "
                f"{', '.join(names)}"
            )
