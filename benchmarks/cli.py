"""Time of `genbench --help`, and of a `genbench run` and a `dvc repro` that find nothing to do.
Writes benchmarks/results/cli.json and prints a table.

Run it after `genbench run` of the same profile: only an up-to-date pipeline has nothing to do.

    python -m benchmarks.cli [--profile quick]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import interleaved, median, publish
from genbench.config.layout import Layout
from genbench.config.load import find_root, load_params
from genbench.errors import UserError

HELP_LIMIT_SEC, RUN_LIMIT_SEC, REPRO_LIMIT_SEC = 0.15, 4.0, 3.0


def command(arguments: Sequence[str], root: Path) -> Callable[[], Any]:
    """A call that runs a command and waits for it."""
    return lambda: subprocess.run(arguments, cwd=root, check=True, stdout=subprocess.DEVNULL)


def check_up_to_date(root: Path, file: str) -> int:
    """Number of stages of a profile's dvc.yaml; UserError if any of them would run."""
    dvc = [sys.executable, "-m", "dvc"]
    status = subprocess.run(
        [*dvc, "status", "--json", file],
        cwd=root,
        check=False,
        capture_output=True,
        encoding="utf-8",
    )
    if status.returncode != 0:
        raise UserError(f"dvc status fails:\n{status.stderr.strip()}")
    if pending := list(json.loads(status.stdout or "{}")):
        raise UserError(f"not up to date: {', '.join(pending[:5])}, ...; run `genbench run` first")
    stages = subprocess.run(
        [*dvc, "stage", "list", "--name-only", file],
        cwd=root,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    return len(stages.stdout.split())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="quick")
    profile: str = parser.parse_args(arguments).profile
    root = find_root()
    layout = Layout.of(load_params(profile, root=root))
    file = str(layout.dvc_lock.with_suffix(".yaml").relative_to(root))
    stages, genbench = check_up_to_date(root, file), str(Path(sys.executable).parent / "genbench")
    run = f"genbench run, {stages} stages, nothing to do"
    repro = f"dvc repro, {stages} stages, nothing to do"
    limits = {"genbench --help": HELP_LIMIT_SEC, run: RUN_LIMIT_SEC, repro: REPRO_LIMIT_SEC}
    times = interleaved({"genbench --help": command([genbench, "--help"], root)}, repeats=20)
    times |= interleaved(
        {
            run: command([genbench, "run", "--profile", profile], root),
            repro: command([sys.executable, "-m", "dvc", "repro", file], root),
        },
        repeats=5,
    )
    found = {
        name: {"best_sec": min(times[name]), "median_sec": median(times[name]), "limit_sec": limit}
        for name, limit in limits.items()
    }
    rows = [(name, *row.values()) for name, row in found.items()]
    result = {"profile": profile, "commands": found}
    publish("cli", ("command", "best s", "median s", "limit s"), rows, result)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
