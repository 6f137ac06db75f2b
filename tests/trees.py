"""A copy of the sources as they are here, with what git does not know yet and without what it
ignores.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["REPOSITORY", "copy_tree"]

REPOSITORY = Path(__file__).resolve().parents[1]


def copy_tree(root: Path) -> None:
    """Copy the repository's files below ``root``."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, root / name, follow_symlinks=False)
