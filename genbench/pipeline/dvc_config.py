"""DVC's configuration, which DVC itself is asked for. To import it takes some tenths of a second,
and it takes over the streams: look first for a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from genbench.errors import UserError

__all__ = ["is_set", "mentions"]


def is_set(root: Path, option: str) -> bool:
    """Whether an option of the section ``core``, such as ``no_scm``, is set to true for a project,
    in any of DVC's files.

    Raises:
        UserError: the configuration is not valid.
    """
    from dvc.config import Config, ConfigError

    folder = str(root / ".dvc")
    try:
        return bool(Config(folder, local_dvc_dir=folder)["core"].get(option, False))
    except ConfigError as error:
        raise UserError(f"the configuration of DVC in {folder} is not valid: {error}") from error


def mentions(root: Path, word: str) -> bool:
    """Whether a word is in any of the files with DVC's configuration of a project; DVC reads their
    keys in lower case.
    """
    return any(
        path.is_file() and word in path.read_text(encoding="utf-8", errors="replace").lower()
        for path in _files(root)
    )


def _files(root: Path) -> Iterator[Path]:
    for variable, folder in (
        ("DVC_SYSTEM_CONFIG_DIR", platformdirs.site_config_dir),
        ("DVC_GLOBAL_CONFIG_DIR", platformdirs.user_config_dir),
    ):
        yield Path(os.environ.get(variable) or folder("dvc", "iterative")) / "config"
    yield root / ".dvc" / "config"
    yield root / ".dvc" / "config.local"
