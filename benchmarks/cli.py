"""Time of `genbench --help`, and of a `dvc repro` that finds nothing to do. Writes benchmarks/results/cli.json and prints a table.

Run `genbench run` first: only an up-to-date pipeline has nothing to do.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from genbench.about import table
from genbench.errors import UserError
from genbench.files import write_json
from genbench.params import find_root

HELP_LIMIT_SEC, REPRO_LIMIT_SEC = 0.15, 3.0
RESULT = Path(__file__).parent / "results" / "cli.json"


def seconds(command: Sequence[str], root: Path, repeats: int) -> list[float]:
    """Wall-clock times of a command, after one run that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return times[1:]


def check_up_to_date(root: Path) -> int:
    """Number of stages of the default profile; UserError if any of them would run."""
    dvc = [sys.executable, "-m", "dvc"]
    status = subprocess.run([*dvc, "status", "--json"], cwd=root, check=False, capture_output=True, text=True)
    if status.returncode != 0:
        raise UserError(f"dvc status fails:\n{status.stderr.strip()}")
    pending = [stage for stage in json.loads(status.stdout or "{}") if not stage.startswith("profiles/")]
    if pending:
        raise UserError(f"not up to date: {', '.join(pending[:5])}, ...; run `genbench run` first")
    stages = subprocess.run([*dvc, "stage", "list", "--name-only"], cwd=root, check=True, capture_output=True, text=True)
    return len(stages.stdout.split())


def main() -> None:
    """Measure, print and write."""
    root = find_root()
    count = check_up_to_date(root)
    measured = {
        "genbench --help": (seconds([str(Path(sys.executable).parent / "genbench"), "--help"], root, 20), HELP_LIMIT_SEC),
        f"dvc repro, {count} stages, nothing to do": (seconds([sys.executable, "-m", "dvc", "repro"], root, 5), REPRO_LIMIT_SEC),
    }
    rows = {
        name: {"best_sec": min(times), "median_sec": statistics.median(times), "limit_sec": limit}
        for name, (times, limit) in measured.items()
    }
    machine = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_1min": os.getloadavg()[0],
    }
    write_json(RESULT, {"machine": machine, "commands": rows})
    cells = [(name, *(f"{row[key]:.3f}" for key in ("best_sec", "median_sec", "limit_sec"))) for name, row in rows.items()]
    print(table(("command", "best s", "median s", "limit s"), cells))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
