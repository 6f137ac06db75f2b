"""The JSON schema of leaderboard.json and of the files that it is made from."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from genbench.errors import UserError
from genbench.files import read_json

__all__ = ["SCHEMA_VERSION", "leaderboard_schema", "read_checked", "validate"]

SCHEMA_VERSION = 2
"""Of leaderboard.json; 1 had none written, and neither comparisons nor rows of other frameworks."""

_LARGEST = 2**1023


@cache
def leaderboard_schema() -> dict[str, Any]:
    """The schema that ships with the package; treat it as constant."""
    return json.loads(files(__package__).joinpath("leaderboard.schema.json").read_text("utf-8"))


def validate(value: Any, definition: str | None = None) -> None:
    """Check ``value`` against the leaderboard's schema, or against one of its definitions, e.g.
    ``record``.

    Raises:
        UserError: names the place in ``value`` and what is wrong with it.
    """
    schema = leaderboard_schema()
    if definition is not None:
        schema = {"$ref": f"#/$defs/{definition}", "$defs": schema["$defs"]}
    errors = Draft202012Validator(schema).iter_errors(value)
    first = min(errors, key=lambda error: [str(part) for part in error.path], default=None)
    if first is not None:
        raise UserError(f"{first.json_path}: {first.message[:300]}")
    json.dumps(value, allow_nan=False)  # NaN passes a schema, and must not pass here: ValueError
    _check_range(value)


def _check_range(value: Any) -> None:
    """Raise UserError for an integer that no float can hold: JSON has no limit, and what reads it
    has.
    """
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_range(inner)
    elif isinstance(value, int) and abs(value) > _LARGEST:
        raise UserError(f"a number of {len(str(value))} digits is out of range")


def read_checked(path: Path, definition: str) -> Any:
    """The JSON value of a file that a stage wrote, checked against a definition of the schema.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is no JSON or not of that form; names the file.
        OSError: it cannot be read; names the file.
    """
    try:
        value = read_json(path)
        validate(value, definition)
    # RecursionError: a value of thousands of brackets.
    except (ValueError, RecursionError) as error:
        text = str(error)
        where = "" if str(path) in text else f"{path} is damaged: "
        raise UserError(f"{where}{text}") from error
    return value
