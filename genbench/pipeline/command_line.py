"""The command by which a run goes on where it was stopped, to be told to whoever looks at it."""

from __future__ import annotations

import os
import shlex
import sys

__all__ = ["command_line"]

_SETTINGS = {"GENBENCH_DEVICE": "--device", "GENBENCH_THREADS": "--threads", "GENBENCH_ISA": ""}
"""What the environment may say of a run, and the option that says the same."""


def command_line(default: str) -> str:
    """The command that has begun this run, without ``--force``, which would begin anew.

    Arguments:
        default: the command if this run was begun by a program in Python.
    """
    words = sys.argv[1:]
    if words[:1] != ["run"]:
        return default
    own = [word for word in words if word not in ("--force", "-f")]
    own = [f"-{word[2:]}" if word.startswith("-f") else word for word in own]  # -fp: both
    options = {word.partition("=")[0] for word in own}
    settings = [
        f"{name}={shlex.quote(os.environ[name])}"
        for name, option in _SETTINGS.items()
        if os.environ.get(name) and option not in options
    ]
    return " ".join([*settings, "genbench", shlex.join(own)])
