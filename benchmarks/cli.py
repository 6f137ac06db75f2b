"""Time of `genbench --help`, and of a `genbench run` and a `dvc repro` that find nothing to do.
Writes benchmarks/results/cli.json and prints a table.

Run as ``python -m benchmarks.cli``, after `genbench run`: only an up-to-date pipeline has nothing
to do.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import interleaved, median, publish
from genbench.config.load import find_root
from genbench.errors import UserError

HELP_LIMIT_SEC, RUN_LIMIT_SEC, REPRO_LIMIT_SEC = 0.15, 4.0, 3.0


def command(arguments: Sequence[str], root: Path) -> Callable[[], Any]:
    """A call that runs a command and waits for it."""
    return lambda: subprocess.run(arguments, cwd=root, check=True, stdout=subprocess.DEVNULL)


def check_up_to_date(root: Path) -> int:
    """Number of stages of the default profile; UserError if any of them would run."""
    dvc = [sys.executable, "-m", "dvc"]
    status = subprocess.run(
        [*dvc, "status", "--json"], cwd=root, check=False, capture_output=True, encoding="utf-8"
    )
    if status.returncode != 0:
        raise UserError(f"dvc status fails:\n{status.stderr.strip()}")
    pending = [
        stage for stage in json.loads(status.stdout or "{}") if not stage.startswith("profiles/")
    ]
    if pending:
        raise UserError(f"not up to date: {', '.join(pending[:5])}, ...; run `genbench run` first")
    stages = subprocess.run(
        [*dvc, "stage", "list", "--name-only"],
        cwd=root,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    return len(stages.stdout.split())


def main() -> None:
    """Measure, print and write."""
    root = find_root()
    stages, genbench = check_up_to_date(root), str(Path(sys.executable).parent / "genbench")
    run = f"genbench run, {stages} stages, nothing to do"
    repro = f"dvc repro, {stages} stages, nothing to do"
    limits = {"genbench --help": HELP_LIMIT_SEC, run: RUN_LIMIT_SEC, repro: REPRO_LIMIT_SEC}
    times = interleaved({"genbench --help": command([genbench, "--help"], root)}, repeats=20)
    times |= interleaved(
        {
            run: command([genbench, "run"], root),
            repro: command([sys.executable, "-m", "dvc", "repro"], root),
        },
        repeats=5,
    )
    found = {
        name: {"best_sec": min(times[name]), "median_sec": median(times[name]), "limit_sec": limit}
        for name, limit in limits.items()
    }
    rows = [(name, *row.values()) for name, row in found.items()]
    publish("cli", ("command", "best s", "median s", "limit s"), rows, {"commands": found})


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
