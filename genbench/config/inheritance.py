"""What an entry inherits: ``like`` and ``defaults`` of a params file.

``like: NAME`` puts the model and the options of NAME below what an entry writes itself: of each
option the entry's own value counts; mappings are merged level by level, anything else is replaced
as a whole. NAME is another entry, or one of ``defaults``, which are written as entries are and
never run. ``dataset`` and ``seed`` say which run an entry is, and are never inherited.

This is done here and not by YAML's anchors, so that `dvc exp run -S` does what an edit of the file
would do: a value that it sets holds for the entry and for all that are like it, no more and no
less.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from genbench.errors import UserError, near

__all__ = ["INHERITED", "Written", "leaves", "resolve"]

INHERITED = ("model", "arch", "train", "sample", "score")
"""The keys that ``like`` brings."""

Written = tuple[str, Mapping[str, Any]]
"""Where an entry or a default stands, as in ``entries.made``, and what is written there."""


def resolve(name: str, written: Mapping[str, Written]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of an entry with all that it inherits, its own first; and for those that it does
    not write itself, path -> where that is written.

    Arguments:
        name: of the entry, or of a default.
        written: all entries and defaults by name.

    Raises:
        UserError: a ``like`` names none of them, or leads back to itself.
    """
    (_, own), *others = _chain(name, written)
    values = copy.deepcopy({key: value for key, value in own.items() if key != "like"})
    sources: dict[str, str] = {}
    for place, other in others:
        _fill(values, {key: other[key] for key in INHERITED if key in other}, place, sources)
    return values, sources


def _chain(name: str, written: Mapping[str, Written]) -> list[Written]:
    """What an entry writes, what the one writes that it is like, and so on."""
    names = [name]
    while "like" in written[names[-1]][1]:
        place, values = written[names[-1]]
        like = values["like"]
        if like not in written:
            raise UserError(
                f"{place}.like: {like!r} is no entry, and not in defaults{near(like, written)}"
            )
        if like in names:
            circle = " is like ".join([*names[names.index(like) :], like])
            raise UserError(f"{place}.like: leads back to itself ({circle})")
        names.append(like)
    return [written[each] for each in names]


def _fill(
    values: dict[str, Any],
    other: Mapping[str, Any],
    place: str,
    sources: dict[str, str],
    within: str = "",
) -> None:
    """Add to ``values`` what it lacks of ``other``, which is written in ``place``."""
    for key, value in other.items():
        path = f"{within}{key}"
        if key not in values:
            values[key] = copy.deepcopy(value)
            sources |= dict.fromkeys(leaves(value, path), place)
        elif isinstance(value, Mapping) and isinstance(values[key], dict):
            _fill(values[key], value, place, sources, f"{path}.")


def leaves(value: Any, path: str) -> Iterator[str]:
    """Paths of the values in ``value``, which is at ``path`` itself."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    else:
        yield path
