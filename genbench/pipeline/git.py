"""The commit of a project, for the provenance of results. No result depends on git, and none is
lost for want of it.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from genbench.errors import UserError

__all__ = ["commit_of", "in_index"]

_WRITTEN = re.compile(r"mtime: (\d+):(\d+)")

_PATIENCE = 60.0
"""Seconds for each command of git."""


def commit_of(root: Path) -> tuple[str | None, str | None]:
    """The commit, with ``-dirty`` behind it if files differ from it or are new, other than those
    that a run itself writes.

    Returns:
        The commit, or None outside of git or where git does not tell; and in that last case the
        reason, with the remedy.
    """
    written = [":(exclude)reports", ":(exclude,glob)**/dvc.lock"]
    try:
        described = _git(root, "describe", "--always", "--abbrev=12")
        if described is None:
            return None, None
        changed = _git(root, "status", "--porcelain", "--", ".", *written)
    except UserError as error:
        return None, str(error)
    return described + ("-dirty" if changed else ""), None


def in_index(root: Path, path: Path) -> tuple[bytes, float] | None:
    """What ``git checkout -- path`` would write, which is the committed file unless it was changed
    and added since.

    Returns:
        The content, and the time at which it was last the file here, in seconds as of the file
        system: when git wrote it, or when what git was given was written. None if git has no such
        file.

    Raises:
        UserError: git is not there, or fails.
    """
    place = path.relative_to(root).as_posix()
    known = _git(root, "ls-files", "--debug", "--", place)
    if not known:
        return None
    written = _WRITTEN.search(known)  # git does not promise the form of this
    since = float(f"{written[1]}.{written[2]:0>9}") if written else 0.0
    content = _run(root, "show", f":./{place}")
    return None if content is None else (content, since)


def _git(root: Path, *arguments: str) -> str | None:
    """What a command of git prints, as text without white space around it; None where there is no
    repository.
    """
    printed = _run(root, *arguments)
    return None if printed is None else printed.decode(errors="replace").strip()


def _run(root: Path, *arguments: str) -> bytes | None:
    """What a command of git prints; None where there is no repository.

    Raises:
        UserError: git is not there, fails, or does not end.
    """
    environment = os.environ | {"LC_ALL": "C"}  # its messages in English
    command = ["git", *arguments]
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, check=False, timeout=_PATIENCE
        )
    except OSError as error:
        raise UserError(
            f"git cannot be started ({error.strerror}); install it, or see to PATH"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"git has not ended within {_PATIENCE:.0f} s; try `git status` in {root}, whose disk "
            "may not answer"
        ) from error
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode == 0:
        return done.stdout
    if "dubious ownership" in said:
        raise UserError(
            "git does not read a repository of another user; allow it by `git config --global "
            f"--add safe.directory {root}`"
        )
    if "not a git repository" in said:
        return None
    raise UserError(f"git says: {' '.join(said.split())}")
