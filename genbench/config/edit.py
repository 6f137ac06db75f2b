"""New entries in the text of a params file, so that its comments and its layout stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml
from yaml.error import Mark
from yaml.events import (
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from genbench.config import yaml12
from genbench.errors import UserError

__all__ = ["add_entries"]


@dataclass(frozen=True, slots=True)
class _Place:
    """The mapping ``entries`` in the text: the indentation of its entries, and the line after which
    new ones go.
    """

    indent: int
    last_line: int


def _start(event: Event) -> Mark:
    assert isinstance(event.start_mark, Mark)
    return event.start_mark


def _end(event: Event) -> Mark:
    assert isinstance(event.end_mark, Mark)
    return event.end_mark


def _after(events: Sequence[Event], i: int) -> int:
    """Index after the node that begins at event ``i``."""
    depth = 0
    while True:
        depth += isinstance(events[i], MappingStartEvent | SequenceStartEvent)
        depth -= isinstance(events[i], MappingEndEvent | SequenceEndEvent)
        i += 1
        if depth == 0:
            return i


def _pairs(events: Sequence[Event], start: int) -> list[tuple[ScalarEvent, int]]:
    """Keys of the mapping that starts at event ``start``, each with the index of its value's first
    event.
    """
    pairs, i = [], start + 1
    while not isinstance(events[i], MappingEndEvent):
        value, key = _after(events, i), events[i]
        if isinstance(key, ScalarEvent):
            pairs.append((key, value))
        i = _after(events, value)
    return pairs


def _find_entries(text: str) -> _Place:
    events = list(yaml.parse(text))
    start = (
        next((value for key, value in _pairs(events, 2) if key.value == "entries"), None)
        if len(events) > 3
        else None
    )
    mapping = None if start is None else events[start]
    if start is None or not isinstance(mapping, MappingStartEvent) or mapping.flow_style:
        raise UserError(
            "entries: must be a block mapping (one indented `name:` a line) for new ones to be "
            "added"
        )
    # The end of a block mapping is marked where the next token begins, after comments that belong
    # to that one: take the last thing inside.
    inside = events[start : _after(events, start)]
    end = next(
        _end(e)
        for e in reversed(inside)
        if isinstance(e, ScalarEvent) or _start(e).index != _end(e).index
    )
    return _Place(_start(_pairs(events, start)[0][0]).column, end.line - (end.column == 0))


def add_entries(text: str, entries: Sequence[str]) -> str:
    """``text`` of a params file with ``entries`` appended under ``entries:``.

    Arguments:
        text: the file's text.
        entries: YAML text of one or more entries each, not indented.

    Raises:
        UserError: no block mapping ``entries``, or the result is no YAML that holds what was there
            and the new entries.
    """
    place, lines, new = _find_entries(text), text.split("\n"), []
    after_long = lines[place.last_line].startswith(" " * (place.indent + 1))
    for entry in entries:
        own = entry.rstrip("\n").split("\n")
        new += ["", *own] if after_long or len(own) > 1 else own
        after_long = len(own) > 1
    indented = [" " * place.indent + line if line else line for line in new]
    lines[place.last_line + 1 : place.last_line + 1] = indented
    result = "\n".join(lines) if lines[-1] == "" else "\n".join(lines) + "\n"
    if not _only_adds(text, result):
        by_hand = "\n".join(indented)
        raise UserError(
            "entries: cannot add to this mapping without changing the rest of the file; add these "
            f"by hand:\n{by_hand}"
        )
    return result


def _only_adds(text: str, result: str) -> bool:
    """Whether ``result`` holds all that ``text`` does, and more entries."""
    before = yaml12.parse(text)
    try:
        after = yaml12.parse(result)
    except UserError:
        return False
    kept = {name: after["entries"].get(name) for name in before["entries"]}
    return {**after, "entries": kept} == before and len(after["entries"]) > len(before["entries"])
