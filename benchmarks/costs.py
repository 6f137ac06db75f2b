"""Seconds of each stage of a finished profile, and how fast the machine computes: from these, runs
elsewhere say how long they will take.

Writes benchmarks/results/costs.json: profile → precision that `auto` was → seconds by stage. Run it
in the project where the profile was just run, or name that with --root; under the same limits
(``ATEN_CPU_CAPABILITY``, ``ONEDNN_MAX_CPU_ISA``), and with nothing else running.

    python -m benchmarks.costs --profile quick [--root ../elsewhere]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, publish
from genbench.config.load import load_params
from genbench.files import read_json
from genbench.hardware.kind import in_words, kind_of
from genbench.hardware.precision import resolve
from genbench.hardware.speed import speeds
from genbench.pipeline.costs import read_costs
from genbench.pipeline.pending import whole

ROOT = Path(__file__).resolve().parents[1]


def measured(profile: str, root: Path) -> dict[str, Any]:
    """The costs of a profile's stages in a project, which must all have been run by this kind of
    processor.
    """
    params = load_params(profile, root=root)
    kind = kind_of(torch.device("cpu"), params.compute.isa).record()
    lines = [
        line
        for line in read_costs(params)
        if line.get("kind", kind) == kind and line["threads"] == params.compute.threads
    ]
    seconds = {(line["stage"], line["key"]): line["seconds"] for line in lines}
    missing = [f"{stage}@{key}" for stage, key in whole(params) if (stage, key) not in seconds]
    if missing:
        raise SystemExit(
            f"not run in {root} on this kind of processor: "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}"
        )
    return {
        "processor": in_words(kind),
        "kind": kind,
        "threads": params.compute.threads,
        "speeds": speeds(params.compute.threads),
        "seconds": {f"{stage}@{key}": seconds[stage, key] for stage, key in whole(params)},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    costs = measured(options.profile, options.root.resolve())
    path = RESULTS / "costs.json"
    profiles: dict[str, Any] = read_json(path)["profiles"] if path.is_file() else {}
    profiles.setdefault(options.profile, {})[resolve("auto", "cpu")] = costs
    rows = [
        [
            profile,
            precision,
            found["processor"],
            sum(found["seconds"].values()) / 60,
            *found["speeds"][precision].values(),
        ]
        for profile, by_precision in profiles.items()
        for precision, found in by_precision.items()
    ]
    publish(
        "costs",
        [
            "profile",
            "precision",
            "processor",
            "minutes",
            "convolution GFLOP/s",
            "matrix product GFLOP/s",
        ],
        rows,
        {"profiles": profiles},
    )


if __name__ == "__main__":
    main()
