"""Training speed of each entry of `quick` in this checkout against an earlier one, interleaved, in
a process of its own each.

Writes benchmarks/results/against.json. Both run with the settings that their own params.yaml has,
so the table shows what a user of either sees.

    git worktree add ../before <commit>
    python -m benchmarks.against ../before [--entries 'vae,lstm'] [--rounds 3] [--seconds 4]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.common import publish
from genbench.config.load import load_params
from genbench.hardware.precision import resolve

ROOT = Path(__file__).resolve().parents[1]

# Runs in either checkout, so it uses nothing that one of them lacks.
WORKER = """
import json, sys, torch
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from benchmarks.training import fit, synthetic
from genbench.hardware.device import setup
from genbench.config.load import load_params
from genbench.registry import build
params = load_params("quick", root=Path(sys.argv[1]))
setup(params.compute)
sets = {}
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    entry = params.entry(asked["entry"])
    data = sets.setdefault(entry.dataset, synthetic(entry.dataset))
    torch.manual_seed(0)
    train = {**entry.train, "steps": asked["steps"], "validations": 1, "validate_images": 1}
    fitted = fit(build(entry, data.spec), data, entry=entry.name, seed=0, **train)
    rates = sorted(row["images_per_second"] for row in fitted.history[len(fitted.history) // 4:])
    print(json.dumps(rates[len(rates) // 2]), flush=True)
"""


class Worker:
    """A process that trains entries in a checkout."""

    def __init__(self, checkout: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        self.checkout = checkout
        command = [sys.executable, "-c", WORKER, str(checkout)]
        self.process = subprocess.Popen(
            command,
            cwd=checkout,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )

    def __enter__(self) -> Worker:
        self.read()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def read(self) -> Any:
        """The next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.checkout} has ended")
        return json.loads(line)

    def images_per_second(self, entry: str, steps: int) -> float:
        """The median over a training of so many steps, its beginning left out."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"entry": entry, "steps": steps}) + "\n")
        self.process.stdin.flush()
        return float(self.read())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("--entries", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args(arguments)
    before = options.before.resolve()
    params = load_params("quick", root=ROOT)
    names = (
        options.entries.split(",")
        if options.entries
        else [name for name, entry in params.entries.items() if entry.train]
    )
    commits = {
        which: subprocess.check_output(
            ["git", "describe", "--always", "--dirty"], cwd=folder, encoding="utf-8"
        ).strip()
        for which, folder in (("before", before), ("now", ROOT))
    }
    rows: dict[str, dict[str, float]] = {}
    with Worker(before) as old, Worker(ROOT) as new:
        for name in names:
            batch = params.entry(name).train["batch_size"]
            steps = max(12, round(options.seconds * old.images_per_second(name, 12) / batch))
            pairs = [
                (old.images_per_second(name, steps), new.images_per_second(name, steps))
                for _ in range(options.rounds)
            ]
            rows[name] = {
                "before": statistics.median(a for a, _ in pairs),
                "now": statistics.median(b for _, b in pairs),
                "ratio": statistics.median(b / a for a, b in pairs),
                "lowest": min(b / a for a, b in pairs),
                "highest": max(b / a for a, b in pairs),
            }
            print(f"{name}: {rows[name]['ratio']:.3f}", flush=True)
    whole = statistics.geometric_mean(row["ratio"] for row in rows.values())
    table: list[list[object]] = [[name, *row.values()] for name, row in rows.items()]
    publish(
        "against",
        ["entry", "images/s before", "now", "times", "lowest", "highest"],
        [*table, ["geometric mean", "", "", whole, "", ""]],
        {
            "precision": resolve("auto", "cpu"),
            "commits": commits,
            "rounds": options.rounds,
            "entries": rows,
            "geometric_mean": whole,
        },
    )


if __name__ == "__main__":
    main()
