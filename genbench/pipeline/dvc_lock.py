"""The content of a `dvc.lock`: what it says of stages, and whether it is what DVC has finished
writing, the beginning of that, or neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

__all__ = ["files_in", "has_conflict", "is_beginning", "stages_in", "wrong"]

_HEADER = b"schema: '2.0'\nstages:\n"
_STAGE = re.compile(rb"^  \S.*:$", re.MULTILINE)
_FILE = {"path", "hash", "md5", "size"}
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_QUOTE = re.compile(rb"""(?:: |- )(['"])""")
_CONFLICT = re.compile(rb"^(<{7}|\|{7}|={7}|>{7})( |\r?$)", re.MULTILINE)


def stages_in(path: Path) -> Mapping[str, Any]:
    """What a dvc.lock says of each stage; nothing if it is absent or unreadable, of which DVC is
    the one to complain.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        stages = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)["stages"]
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError):
        return {}
    return stages if isinstance(stages, dict) else {}


def files_in(stage: Any, part: str) -> list[dict[str, Any]]:
    """The list ``deps`` or ``outs`` of such a stage."""
    found = stage.get(part) if isinstance(stage, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def has_conflict(content: bytes) -> bool:
    """Whether a file holds the marks of a merge conflict."""
    return _CONFLICT.search(content) is not None


def wrong(content: bytes) -> str | None:
    """Why a dvc.lock cannot be left as it is: DVC cannot read it, or it ends too early; None if it
    can.
    """
    if _is_whole(content):
        return None
    reason = _unreadable(content)
    if reason is not None:
        return reason
    stages = list(YAML(typ="safe").load(content.decode("utf-8")).get("stages", {}).values())
    lacking = [stage for stage in stages if not _is_complete(stage)]
    # DVC ends with a newline, and gives all that it gives a file to each one; what an option makes
    # it leave out, it leaves out everywhere.
    cut = not content.endswith(b"\n") or not stages or lacking == stages[-1:]
    return "its end is missing" if cut and is_beginning(content) else None


def _unreadable(content: bytes) -> str | None:
    """Why DVC cannot read a dvc.lock, by its own rules; None if it can."""
    # Some tenths of a second, and DVC takes over the streams; needed for odd files alone.
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.serialize import parse_yaml
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(content.decode("utf-8"), "dvc.lock"))
    except (DvcException, Invalid, ValueError) as error:
        return str(error).splitlines()[0]
    return None


def _is_whole(content: bytes) -> bool:
    """Whether a dvc.lock is one that DVC has finished writing: it can be read, and every entry has
    all that DVC gives it.
    """
    if not content.endswith(b"\n"):
        return False
    try:
        lock = YAML(typ="safe").load(content.decode("utf-8"))  # the parser that DVC uses
        has_form = list(lock) == ["schema", "stages"] and lock["schema"] == "2.0"
        return has_form and all(map(_is_whole_stage, lock["stages"].values()))
    except (YAMLError, ValueError, TypeError, KeyError, AttributeError):
        return False


def _is_whole_stage(stage: Mapping[str, Any]) -> bool:
    known = all(file.keys() <= _FILE | {"nfiles"} for file in _files(stage))
    params = all(isinstance(values, dict) for values in stage.get("params", {}).values())
    counts = all(type(file.get("nfiles", 0)) is int for file in _files(stage))
    return (
        stage.keys() <= {"cmd", "deps", "params", "outs"}
        and isinstance(stage["cmd"], str)
        and (known and params and counts)
        and _is_complete(stage)
    )


def _is_complete(stage: Mapping[str, Any]) -> bool:
    """Whether a stage has outputs, and every file of it all that DVC notes of one."""
    return bool(stage.get("outs")) and all(map(_is_noted, _files(stage)))


def _is_noted(file: Mapping[str, Any]) -> bool:
    return (
        file.keys() >= _FILE
        and isinstance(file["path"], str)
        and file["hash"] == "md5"
        and _MD5.fullmatch(str(file["md5"])) is not None
        and type(file["size"]) is int
    )


def _files(stage: Mapping[str, Any]) -> list[Any]:
    return [*stage.get("deps", []), *stage.get("outs", [])]


def is_beginning(content: bytes) -> bool:
    """Whether a file is what is left of a dvc.lock that was cut somewhere.

    Whatever DVC writes has this form: the header, then stages, of which a cut leaves the last one
    incomplete, and a line of that.
    """
    content = content.rstrip(b"\0")  # what a file system may put in the place of what it lost
    if _HEADER.startswith(content):
        return True
    if not content.startswith(_HEADER) or has_conflict(content):
        return False
    lines = content[: content.rfind(b"\n") + 1]
    if _is_whole(lines):
        return True  # the cut is in the line that a stage begins with
    begins = [match.start() for match in _STAGE.finditer(lines)]
    if not begins:
        return lines == _HEADER
    whole, last = lines[: begins[-1]], lines[begins[-1] :]
    if not _is_mapping(_without_open_quote(last)):
        return False
    return whole == _HEADER or _unreadable(whole) is None


def _without_open_quote(text: bytes) -> bytes:
    """The lines before a text in quotes that does not end: a long one runs over several lines."""
    for match in _QUOTE.finditer(text):
        quote = match[1]
        if quote not in text[match.end() :].replace(quote * 2 if quote == b"'" else b'\\"', b""):
            return text[: text.rfind(b"\n", 0, match.start()) + 1]
    return text


def _is_mapping(text: bytes) -> bool:
    try:
        return isinstance(YAML(typ="safe").load(text.decode("utf-8")), dict)
    except (YAMLError, ValueError):
        return False
