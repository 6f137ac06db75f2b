"""Profiles of further seeds: entries of another profile once more, that differ in the seed alone.

``profiles/quick-seeds/params.yaml`` holds such entries alone, as in
``made-s1: {like: made, dataset: mnist, seed: 1}``; all else is as ``quick`` has it, so that what is
set there holds for the seeds of its entries too. They are apart so that a run of ``quick`` leaves
them alone. `genbench run --seeds` writes the file; the report of ``quick`` shows what they gave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from typing import Any

from genbench.config.entries import read_entries
from genbench.config.inheritance import INHERITED, leaves
from genbench.config.params import Entry, Params
from genbench.errors import Mistakes, UserError

__all__ = [
    "SEEDS_OF",
    "FurtherSeeds",
    "check_same_settings",
    "differences",
    "read_seeds",
    "seeds_of",
    "seeds_profile",
]

SEEDS_OF = "seeds_of"
"""The key of the params file that names the profile whose entries are repeated."""

_ABSENT = "nothing"


@dataclass(frozen=True, slots=True)
class FurtherSeeds(Params):
    """A profile of further seeds. It is a class of its own, and in a file that no stage imports, so
    that it moves no fingerprint.

    Attributes:
        of: the profile whose entries it repeats.
        repeated: entry -> the entry that it repeats.
    """

    of: str = ""
    repeated: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def like(cls, base: Params, **own: Any) -> FurtherSeeds:
        """One that is as ``base`` but for what is given."""
        return cls(**{column.name: getattr(base, column.name) for column in fields(Params)} | own)


def seeds_of(params: Params) -> str:
    """The profile whose entries a profile repeats with further seeds; empty for all others."""
    return params.of if isinstance(params, FurtherSeeds) else ""


def seeds_profile(profile: str) -> str:
    """The name of the profile of further seeds of a profile."""
    return f"{profile}-seeds"


def read_seeds(
    raw: Mapping[str, Any], base: Params, mistakes: Mistakes
) -> tuple[dict[str, Entry], dict[str, dict[str, str]]]:
    """The entries of a profile of further seeds, and for each the places of what it inherits.

    Arguments:
        raw: its file; of its keys ``entries`` and ``datasets`` are read.
        base: the profile whose entries it repeats.
        mistakes: where mistakes are noted: an entry that repeats none, has the name of one, the
            seed of another one, or another setting than the one that it repeats.

    Raises:
        UserError: what is written is not sound, so that nothing can be inherited; with all that has
            been noted.
    """
    repeated = {name: _settings(entry) for name, entry in base.entries.items()}
    entries, inherited = read_entries({**raw, "defaults": repeated}, mistakes)
    taken = {(entry.name, entry.seed): entry.name for entry in base.entries.values()}
    for name, entry in entries.items():
        with mistakes.noting():
            like = _repeated(name, raw["entries"][name], base)
            _check(entry, base.entries[like], base.profile)
            first = taken.setdefault((like, entry.seed), name)
            if first != name:
                raise UserError(
                    f"entries.{name}.seed: {first!r} has the seed {entry.seed} already; choose "
                    "another"
                )
            inherited[name] = {
                path: base.inherited.get(like, {}).get(path, f"entries.{like}")
                for path in inherited[name]
            }
    return entries, inherited


def _settings(entry: Entry) -> dict[str, Any]:
    """What an entry brings to one that is like it."""
    return {key: getattr(entry, key) for key in INHERITED}


def _repeated(name: str, written: Mapping[str, Any], base: Params) -> str:
    """The entry that one of a profile of further seeds repeats."""
    like = str(written.get("like"))
    if like not in base.entries:
        raise UserError(
            f"entries.{name}.like: must name the entry of profile {base.profile!r} of which "
            f"{name!r} is a further seed"
        )
    return like


def _check(entry: Entry, repeated: Entry, profile: str) -> None:
    """Raise UserError unless an entry is another one but for its name and its seed."""
    for path, (own, theirs) in differences(entry, repeated).items():
        raise UserError(
            f"entries.{entry.name}.{path}: is {own}, and {theirs} in {repeated.name!r} of profile "
            f"{profile!r}, of which it is a further seed; remove it, or write an entry with other "
            f"settings into profile {profile!r}"
        )


def check_same_settings(entries: Iterable[Entry]) -> None:
    """Raise UserError unless entries differ in their names and seeds alone, as the seeds of one
    entry do; names the first difference and both values.
    """
    for one, other in pairwise(entries):
        for path, (first, second) in differences(one, other).items():
            raise UserError(
                f"{one.name!r} and {other.name!r} are no seeds of one entry: {path} is {first} "
                f"and {second}; compare them as two entries"
            )


def differences(one: Entry, other: Entry) -> dict[str, tuple[Any, Any]]:
    """In what two entries differ but for name and seed: path → both values, ``nothing`` for one
    that is not there; empty if they are seeds of one entry.
    """
    first, second = _flat(one), _flat(other)
    return {
        path: (first.get(path, _ABSENT), second.get(path, _ABSENT))
        for path in {**first, **second}
        if first.get(path, _ABSENT) != second.get(path, _ABSENT)
    }


def _flat(entry: Entry) -> dict[str, Any]:
    """Path → value of all that an entry sets but its name and its seed."""
    values = {key: value for key, value in asdict(entry).items() if key not in ("name", "seed")}
    paths = [path for key, value in values.items() for path in leaves(value, key)]
    return {path: _at(values, path) for path in paths if _at(values, path) != {}}


def _at(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values
