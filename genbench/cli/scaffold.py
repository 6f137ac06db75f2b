"""Edits of a project by text, so that comments stay: new entries in params.yaml, and a first
version of a new model.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import yaml
from yaml.error import Mark
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from genbench.config import yaml12
from genbench.config.layout import Layout
from genbench.config.params import Entry, find_root, load_params, params_path, profiles
from genbench.config.yaml12 import write_flow
from genbench.errors import UserError
from genbench.files import write_text
from genbench.processes.lock import hold

__all__ = ["add_entries", "add_seeds", "new_model"]

_SEED_COPY = re.compile(r"-s\d+$")
_SHORT_COPY = re.compile(
    r"^(?P<indent> *)(?P<name>[\w-]+): *\{ *<<: *\*(?P<alias>[\w-]+), *seed: *-?\d+ *\} *$",
    re.MULTILINE,
)
_MAX_SEEDS = 1000


# ------------------------------------------------------------- entries in the text of a params.yaml


@dataclass(frozen=True, slots=True)
class _Block:
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


def _find_entries(text: str) -> _Block:
    events = list(yaml.parse(text))
    start = (
        next((value for key, value in _pairs(events, 2) if key.value == "entries"), None)
        if len(events) > 3
        else None
    )
    block = None if start is None else events[start]
    if start is None or not isinstance(block, MappingStartEvent) or block.flow_style:
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
        if isinstance(e, ScalarEvent | AliasEvent) or _start(e).index != _end(e).index
    )
    return _Block(_start(_pairs(events, start)[0][0]).column, end.line - (end.column == 0))


def add_entries(text: str, blocks: Sequence[str]) -> str:
    """``text`` of a params.yaml with ``blocks`` appended under ``entries:``.

    Arguments:
        text: the file's text.
        blocks: YAML text of one or more entries each, not indented.

    Raises:
        UserError: no block mapping ``entries``, or the result is no YAML that holds what was there
            and the new entries.
    """
    place = _find_entries(text)
    spaced = [
        ("\n" + block if "\n" in block else block).rstrip("\n") for block in blocks
    ]  # an empty line before an entry of several lines
    indented = [
        " " * place.indent + line if line else line
        for block in spaced
        for line in block.split("\n")
    ]
    lines = text.split("\n")
    lines[place.last_line + 1 : place.last_line + 1] = indented
    result = "\n".join(lines) if lines[-1] == "" else "\n".join(lines) + "\n"
    if not _only_adds(text, result):
        by_hand = "\n".join(indented)
        raise UserError(
            "entries: cannot add to this block without changing the rest of the file; add these "
            f"by hand:\n{by_hand}"
        )
    return result


def _only_adds(text: str, result: str) -> bool:
    """Whether ``result`` holds all that ``text`` does, and more entries."""
    before = yaml12.parse(text).value
    try:
        after = yaml12.parse(result).value
    except UserError:
        return False
    kept = {name: after["entries"].get(name) for name in before["entries"]}
    return {**after, "entries": kept} == before and len(after["entries"]) > len(before["entries"])


def _editing(root: Path, what: str) -> AbstractContextManager[None]:
    """One edit of the project's params files at a time: who reads them inside sees what the one
    before has written.
    """
    return hold(Layout(root).unfinished / "params.lock", what)


def add_seeds(profile: str, count: int, names: Sequence[str] = ()) -> list[str]:
    """Write entries that repeat others with further seeds, such as ``made-s1``, into a profile's
    params.yaml.

    Each is a whole block of its own. An alias of the entry that it repeats would be shorter, but
    `dvc exp run -S` sets a value that two entries share in both or in neither; entries that former
    versions wrote so are written out in full.

    Arguments:
        profile: the profile.
        count: number of seeds that each entry has afterwards, with its own; at most 1000.
        names: entries to repeat; empty for all but the control rows and copies.

    Returns:
        Names of the new entries; those that exist already are not written again.

    Raises:
        UserError: unknown entry or profile, ``count`` out of range, or a file that cannot be
            edited; nothing is changed then.
    """
    if not 2 <= count <= _MAX_SEEDS:
        raise UserError(
            "N: the number of seeds must be at least 2 (an entry has one already) and at most "
            f"{_MAX_SEEDS}, got {count}"
        )
    root = find_root()
    with _editing(root, f"genbench seeds {count}"):
        params, path = load_params(profile, root=root), params_path(profile, root)
        bases = (
            [params.entry(name) for name in names]
            if names
            else [e for e in params.entries.values() if _may_repeat(e.name, e.model)]
        )
        wanted = {
            f"{base.name}-s{base.seed + i}": replace(base, seed=base.seed + i)
            for base in bases
            for i in range(1, count)
        }
        new = {name: entry for name, entry in wanted.items() if name not in params.entries}
        before = path.read_text(encoding="utf-8")
        text = _written_out(before, yaml12.parse(before).value["entries"])
        if text != before:
            print(
                f"{path}: entries that shared their blocks by YAML aliases are written out in full",
                file=sys.stderr,
            )
        if new:
            text = add_entries(text, [_block(name, entry) for name, entry in new.items()])
        if text != before:
            _write_all({path: text}, root)
    return list(new)


def _may_repeat(name: str, model: str) -> bool:
    from genbench.registry import BrokenModel, model_class  # imports torch

    try:
        return not _SEED_COPY.search(name) and not model_class(model).control
    except BrokenModel:  # no control of this package, then
        return True


def _block(name: str, entry: Entry) -> str:
    """YAML text of an entry as a whole: a line for each of its keys."""
    keys = [field.name for field in fields(entry) if field.name != "name"]
    return "\n  ".join([f"{name}:", *(write_flow(key, getattr(entry, key)) for key in keys)])


def _written_out(text: str, entries: Mapping[str, Any]) -> str:
    """``text`` of a params.yaml with its ``entries`` of the form ``made-s1: {<<: *made, seed: 1}``
    as whole blocks.
    """
    aliases = {match["alias"] for match in _SHORT_COPY.finditer(text)}

    def whole(match: re.Match[str]) -> str:
        if match["name"] not in entries:
            return match[0]
        lines = [
            f"{match['name']}:",
            *(f"  {write_flow(key, value)}" for key, value in entries[match["name"]].items()),
        ]
        return "\n".join(match["indent"] + line for line in lines)

    result = _SHORT_COPY.sub(whole, text)
    used = {event.anchor for event in yaml.parse(result) if isinstance(event, AliasEvent)}
    for alias in aliases - used:
        result = re.sub(
            rf"^( *[\w-]+:) &{re.escape(alias)}(?=\s)", r"\1", result, flags=re.MULTILINE
        )
    if yaml12.parse(result).value != yaml12.parse(text).value:
        raise UserError(
            "entries: cannot write the aliases (*name) out without changing other values; write "
            "them out by hand"
        )
    return result


# ---------------------------------------------------------------------- new models


def new_model(name: str) -> list[Path]:
    """Write ``genbench/models/<name>.py``, a small model that passes the contract tests, and its
    entry in every profile.

    What a killed call has written is as this one would write it, and stays.

    Returns:
        The files that were written or changed.

    Raises:
        UserError: a name that cannot be a module's, or is taken; nothing is changed then.
    """
    root = find_root()
    folder = root / "genbench" / "models"
    _check_name(name, folder)
    template = resources(__package__).joinpath("templates")
    class_name = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    model = template.joinpath("model.py.txt").read_text("utf-8").replace("@Class@", class_name)
    entries = yaml.safe_load(template.joinpath("entries.yaml").read_text("utf-8"))
    with _editing(root, f"genbench new-model {name}"):
        files = {} if _is_there(folder / f"{name}.py", model) else {folder / f"{name}.py": model}
        for profile in profiles(root):
            path = params_path(profile, root)
            block = entries.get(profile, entries["quick"]).replace("@name@", name)
            load_params(profile, root=root)
            text = path.read_text(encoding="utf-8")
            there = yaml12.parse(text).value["entries"].get(name)
            if there is None:
                files[path] = _with_entry(path, text, block)
            elif there != yaml12.parse(block).value[name]:
                raise UserError(
                    f"profile {profile!r} has an entry {name!r} already; choose another name"
                )
        if not files:
            raise UserError(f"there is a model {name!r} already; choose another name")
        _write_all(files, root)
    return list(files)


def _with_entry(path: Path, text: str, block: str) -> str:
    try:
        return add_entries(text, [block])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _check_name(name: str, folder: Path) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or keyword.iskeyword(name):
        raise UserError(
            f"{name!r} cannot be a model's name: use at most 64 lower-case letters, digits and "
            "'_', as in my_model"
        )
    if not folder.is_dir():
        raise UserError(
            f"{folder} does not exist: new-model works in a clone of genbench; "
            "a package of your own offers its model by the entry point group genbench.models "
            "(CONTRIBUTING.md)"
        )


def _is_there(path: Path, model: str) -> bool:
    """Whether a model's file is there, as it is to be written; UserError if there is another model
    of that name.
    """
    from genbench.registry import model_names

    there = path.exists()
    if path.read_bytes() != model.encode() if there else path.stem in model_names():
        raise UserError(f"there is a model {path.stem!r} already; choose another name")
    return there


def _write_all(files: Mapping[Path, str], root: Path) -> None:
    """Write all files and load every profile; on any error put everything back."""
    before = {path: path.read_text(encoding="utf-8") if path.exists() else None for path in files}
    try:
        for path, text in files.items():
            write_text(path, text)
        for profile in profiles(root):
            load_params(profile, root=root)
    except BaseException:
        for path, old in before.items():
            if old is None:
                path.unlink(missing_ok=True)
            else:
                write_text(path, old)
        raise
