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

__all__ = ["leaderboard_schema", "read_checked", "validate"]


@cache
def leaderboard_schema() -> dict[str, Any]:
    """The schema that ships with the package; treat it as constant."""
    return json.loads(files(__package__).joinpath("leaderboard.schema.json").read_text("utf-8"))


def validate(value: Any, definition: str | None = None) -> None:
    """Check ``value`` against the leaderboard's schema, or against one of its definitions, e.g. ``record``.

    Raises:
        UserError: names the place in ``value`` and what is wrong with it.
    """
    schema = leaderboard_schema()
    if definition is not None:
        schema = {"$ref": f"#/$defs/{definition}", "$defs": schema["$defs"]}
    error = next(iter(sorted(Draft202012Validator(schema).iter_errors(value), key=lambda e: [str(part) for part in e.path])), None)
    if error is not None:
        raise UserError(f"{error.json_path}: {error.message[:300]}")
    json.dumps(value, allow_nan=False)  # NaN passes a schema, and must not pass here: ValueError


def read_checked(path: Path, definition: str) -> Any:
    """The JSON value of a file that a stage wrote, checked against a definition of the schema.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is no JSON or not of that form; names the file.
    """
    try:
        value = read_json(path)
        validate(value, definition)
    except FileNotFoundError:
        raise
    except ValueError as error:
        text = str(error)
        where = "" if str(path) in text else f"{path} is damaged: "
        raise UserError(f"{where}{text}") from error
    return value
