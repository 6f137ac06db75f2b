"""The scores of two runs of a profile beside each other, such as one in bfloat16 and one on a
processor that has none: who is worse by more than chance.

Writes benchmarks/results/two_runs.json. The files are those that the stage `report` writes. The
error of a difference is that of two independent numbers; both runs score the same test images, so
for likelihoods it is too large.

    python -m benchmarks.two_runs reports/quick/leaderboard.json
    ../elsewhere/reports/quick/leaderboard.json
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import publish
from genbench.files import read_json

COMPARED = ("bits_per_dim", "fid_mnist", "is_mnist")


def run_of(board: dict[str, Any]) -> dict[str, Any]:
    """What a run was made with: the different commits, processors and precisions of its rows."""
    made = [row["provenance"] for row in board["rows"] if row["provenance"]]
    return {
        "git": sorted({str(one["git"]) for one in made}),
        "hardware": sorted({one["hardware"] for one in made}),
        "processor": sorted({row["processor"] for row in board["rows"] if "processor" in row}),
        "precision": sorted({one.get("precision", "float32") for one in made}),
        "threads": sorted({one["threads"] for one in made}),
        "entries": len(board["rows"]),
        "missing": [gap["entry"] for gap in board["missing"]],
    }


def compared(first: dict[str, Any], second: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Entry → its scores in both runs, and by how many standard errors the second is worse (above
    0) or better in bits/dim.
    """
    theirs = {row["entry"]: row for row in second["rows"]}
    result: dict[str, dict[str, Any]] = {}
    for row in first["rows"]:
        other = theirs.get(row["entry"])
        if other is None:
            continue
        pair: dict[str, Any] = {
            name: [
                row["metrics"].get(name, {}).get("value"),
                other["metrics"].get(name, {}).get("value"),
            ]
            for name in COMPARED
        }
        pair["train_seconds"] = [one["cost"].get("train_seconds") for one in (row, other)]
        bits = [one["metrics"].get("bits_per_dim") for one in (row, other)]
        if all(bits):
            error = math.hypot(*(metric["stderr"] for metric in bits))
            pair["worse_by_errors"] = (bits[1]["value"] - bits[0]["value"]) / error
        result[row["entry"]] = pair
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    options = parser.parse_args(arguments)
    boards = [read_json(path) for path in (options.first, options.second)]
    found = compared(*boards)
    rows = [
        [
            name,
            *("" if value is None else value for metric in COMPARED for value in pair[metric]),
            pair.get("worse_by_errors", ""),
        ]
        for name, pair in found.items()
    ]
    heads = ["entry", "bits/dim", "second", "FID", "second", "IS", "second", "worse by SE"]
    publish(
        "two_runs",
        heads,
        rows,
        {"first": run_of(boards[0]), "second": run_of(boards[1]), "entries": found},
    )


if __name__ == "__main__":
    main()
