"""YAML 1.2 as DVC reads it, by the same library, so that both see the same values; what no params
file needs is refused with its full path.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from genbench.errors import Mistakes, UserError

__all__ = ["parse", "write_flow"]

_MAX_DEPTH = 32
"""Levels of nesting: far above any params file."""

_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")}
_READ_AS = {
    "int": "a number",
    "float": "a number",
    "bool": "a truth value",
    "null": "nothing",
    "timestamp": "a date",
}


def parse(text: str) -> Any:
    """Read one document: mappings, lists, text, numbers, truth values and None.

    Raises:
        UserError: no YAML; or, all of them named with their path, keys that are no text or given
            twice, numbers that are not finite, dates and other kinds of values, aliases and merges;
            or more levels than any params file has.
    """
    try:
        _check_depth(text)
        constructor, parser = YAML(typ="safe").get_constructor_parser(text)
        root = constructor.composer.get_single_node()
        parser.dispose()
    except YAMLError as error:
        raise UserError(f"no valid YAML: {error}") from error
    _inspect(root)
    try:
        return None if root is None else constructor.construct_document(root)
    except (YAMLError, ValueError, KeyError) as error:  # a tag that does not go with its value
        raise UserError(f"no valid YAML: {error}") from error


def _check_depth(text: str) -> None:
    """Raise UserError if the text is nested too deep, before a tree is made of it: the C library
    that does that would overflow its stack.
    """
    depth = 0
    for event in YAML(typ="safe").parse(text):
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if depth > _MAX_DEPTH:
            line = event.start_mark.line + 1
            raise UserError(f"line {line}: nested deeper than {_MAX_DEPTH} levels")


def _inspect(root: Node | None) -> None:
    """Raise UserError for what no params file needs, before anything is made of it: an alias can
    stand for any number of values.
    """
    mistakes, seen = Mistakes(), set()
    todo = [] if root is None else [(root, "")]
    while todo:
        node, where = todo.pop()
        if node in seen:
            mistakes.note(f"{where}: {_NO_ALIAS}")
            continue
        seen.add(node)
        if isinstance(node, ScalarNode) or node.tag not in _PLAIN:
            mistakes.note(*_of_value(node, where))
            continue
        if isinstance(node, MappingNode):
            mistakes.note(*_of_keys(node, where))
        todo += reversed(list(_children(node, where)))
    mistakes.tell()


_NO_ALIAS = (
    "YAML's aliases and merges (*name, <<) are refused, since `dvc exp run -S` would set a shared "
    "value in all places or in none; write it out, or let an entry inherit by `like: NAME`"
)


def _children(node: Node, where: str) -> Iterator[tuple[Node, str]]:
    """What is in a mapping or a sequence, with the path of each."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.tag != f"{_TAG}merge":
                yield value, _path(where, key)
    else:
        for i, value in enumerate(node.value):
            yield value, f"{where}[{i}]"


def _path(where: str, key: Node) -> str:
    name = (
        "?"
        if not isinstance(key, ScalarNode)
        else key.value
        if key.value.isprintable()
        else repr(key.value)
    )
    return f"{where}.{name}" if where else name


def _of_keys(node: MappingNode, where: str) -> Iterator[str]:
    """Mistakes in the keys of a mapping."""
    first: dict[str, int] = {}
    for key, _ in node.value:
        line, kind = key.start_mark.line + 1, (key.tag or "").removeprefix(_TAG)
        if kind == "merge":
            yield f"{where}: {_NO_ALIAS}" if where else _NO_ALIAS
        elif kind != "str":
            read = _READ_AS.get(kind, "no text")
            yield (
                f"{_path(where, key)}: a key must be text, and YAML reads this one, in line {line},"
                f" as {read}; choose another, or write it in quotes"
            )
        elif key.value in first:
            yield (
                f"{_path(where, key)}: given twice, in lines {first[key.value]} and {line}; keep "
                "one of them"
            )
        else:
            first[key.value] = line


def _of_value(node: Node, where: str) -> Iterator[str]:
    """The mistake in a value that is no list and no mapping."""
    if node.tag not in _PLAIN:
        kind = (node.tag or "").removeprefix(_TAG)
        yield (
            f"{where}: must be text, a number, true, false, null, a list or a mapping, and YAML "
            f"reads {_READ_AS.get(kind, kind)} here"
        )
    elif node.tag == f"{_TAG}float" and not _is_finite(node.value):
        yield f"{where}: must be a finite number, got {node.value}"
    elif node.tag == f"{_TAG}int" and len(node.value) > 100:
        yield f"{where}: must be a number of at most 100 digits, got {len(node.value)}"


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text.replace("_", "")))
    except ValueError:  # among them .inf and .nan
        return False


class _InOneLine(SafeRepresenter):
    """Writes every value where it stands, and text with line breaks in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> ScalarNode:
        return self.represent_scalar(f"{_TAG}str", text, style=None if text.isprintable() else '"')


_InOneLine.add_representer(str, _InOneLine.represent_text)


def write_flow(key: str, value: Any) -> str:
    """``key: value`` in one line that :func:`parse` reads back, mappings and lists in brackets,
    nothing shared by aliases.
    """
    writer = YAML(typ="safe", pure=True)
    writer.Representer = _InOneLine
    writer.default_flow_style, writer.width = True, sys.maxsize
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as the None that it begins with
    text = io.StringIO()
    writer.dump({key: value}, text)
    return text.getvalue().strip().removeprefix("{").removesuffix("}")
