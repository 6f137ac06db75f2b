"""`genbench models`: what an entry can name, in a table."""

from __future__ import annotations

import inspect
import shutil
import sys
from collections.abc import Iterable, Sequence

from genbench.cli.latex_text import plain_docstring

__all__ = ["print_models"]


def print_models() -> None:
    """Print every model that an entry can name, and below them those that cannot be imported, with
    the reason.
    """
    from genbench.registry import model_classes, plugin

    classes, broken = model_classes()
    rows = []
    for name, cls in classes.items():
        family = "control" if cls.control else cls.family
        idea = plugin(name) or _summary(cls)
        rows.append((name, family, cls.likelihood.value, cls.conditioning.value, idea))
    print(_table(("model", "family", "likelihood", "labels", "idea"), rows))
    for name, reason in broken.items():
        print(f"{name}: {reason}", file=sys.stderr)


def _summary(cls: type) -> str:
    return plain_docstring(inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A plain text table with aligned columns, cut to the width of the terminal if there is one."""
    cells = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else max(map(len, lines))
    return "\n".join(line if len(line) <= limit else line[: limit - 3] + "..." for line in lines)
