"""Where the values of an entry are written: in the entry itself or in what it inherits from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from genbench.config.inheritance import leaves
from genbench.config.params import Params
from genbench.config.yaml12 import write_flow
from genbench.errors import UserError

__all__ = ["as_yaml", "heirs", "naming_source"]

_KEYS = ("model", "dataset", "seed", "arch", "train", "sample", "score")
_WIDTH = 96


@contextmanager
def naming_source(params: Params, name: str) -> Iterator[None]:
    """A mistake in what an entry inherits is told with the place where that is written.

    Arguments:
        params: the profile.
        name: the entry whose options are checked inside.
    """
    try:
        yield
    except UserError as error:
        path = str(error).split(":", 1)[0].removeprefix(f"entries.{name}.")
        places = _places(params, name, path)
        if not places or None in places:
            raise
        raise UserError(f"{error} (it is inherited from {_listed(places)})") from error


def as_yaml(params: Params, name: str) -> str:
    """An entry with all that it inherits, as YAML that could stand in the file; a comment says
    where a value is written that is not in the entry itself.
    """
    entry = params.entry(name)
    lines = [
        line
        for key in _KEYS
        if getattr(entry, key) != {}
        for line in _lines(params, name, key, getattr(entry, key))
    ]
    width = max((len(text) for text, places in lines if places != [None]), default=0)
    return "\n".join(
        text if places == [None] else f"{text:{width}}  # {_listed(places)}"
        for text, places in lines
    )


def heirs(params: Params, name: str) -> list[str]:
    """The entries that inherit from an entry, so that what is set in it is set in them."""
    place = f"entries.{name}"
    return [heir for heir, sources in params.inherited.items() if place in sources.values()]


def _lines(
    params: Params, name: str, path: str, value: Any
) -> Iterator[tuple[str, list[str | None]]]:
    """Lines of the value at a path, each with the places where what stands in it is written; in one
    line what is written in one place and fits.
    """
    *above, key = path.split(".")
    places, text = _places(params, name, path), "  " * len(above) + write_flow(key, value)
    if not isinstance(value, Mapping) or (len(places) == 1 and len(text) <= _WIDTH):
        yield text, places
        return
    yield f"{'  ' * len(above)}{key}:", [None]
    for inner, part in value.items():
        yield from _lines(params, name, f"{path}.{inner}", part)


def _places(params: Params, name: str, path: str) -> list[str | None]:
    """The places where the values at a path of an entry are written; None is the entry itself."""
    value: Any = {key: getattr(params.entries[name], key) for key in _KEYS}
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return []
        value = value[key]
    inherited = params.inherited.get(name, {})
    return list(dict.fromkeys(inherited.get(leaf) for leaf in leaves(value, path)))


def _listed(places: list[str | None]) -> str:
    return ", ".join(str(place) for place in places if place is not None)
