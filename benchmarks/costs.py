"""Seconds of each stage of a finished profile, and how fast the machine computes: from these, runs
elsewhere say how long they will take.

Writes benchmarks/results/costs.json: profile → precision that `auto` was → seconds by stage. Run it
in the project where the profile was just run, or name that with --root; under the same limits
(``ATEN_CPU_CAPABILITY``, ``ONEDNN_MAX_CPU_ISA``), and with nothing else running.

With --keep, stages that were not run there keep what was measured before by the same kind of
processor and with as many threads: so a profile that has got another stage is not run anew.

    python -m benchmarks.costs --profile quick [--root ../elsewhere] [--keep]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
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


def measured(profile: str, root: Path, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The costs of a profile's stages in a project, which must all have been run by this kind of
    processor, but for those that are in an earlier measurement ``before``.
    """
    params = load_params(profile, root=root)
    kind = kind_of(torch.device("cpu"), params.compute.isa).record()
    lines = [
        line
        for line in read_costs(params)
        if line.get("kind", kind) == kind and line["threads"] == params.compute.threads
    ]
    now = speeds(params.compute.threads)
    seconds = kept(before, kind, params.compute.threads) if before is not None else {}
    seconds |= {f"{line['stage']}@{line['key']}": line["seconds"] for line in lines}
    stages = [f"{stage}@{key}" for stage, key in whole(params)]
    missing = [stage for stage in stages if stage not in seconds]
    if missing:
        raise SystemExit(
            f"not run in {root} on this kind of processor: "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}"
        )
    return {
        "processor": in_words(kind),
        "kind": kind,
        "threads": params.compute.threads,
        "speeds": now if before is None else before["speeds"],
        "seconds": {stage: seconds[stage] for stage in stages},
    }


def kept(before: Mapping[str, Any], kind: Mapping[str, Any], threads: int) -> dict[str, float]:
    """The seconds of an earlier measurement, which must be of this kind of processor."""
    if before["kind"] != kind or before["threads"] != threads:
        raise SystemExit(
            f"measured before by {in_words(before['kind'])} with {before['threads']} threads, "
            f"now by {in_words(kind)} with {threads}: measure all stages, without --keep"
        )
    return dict(before["seconds"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--keep", action="store_true", help="the seconds of stages not run anew")
    options = parser.parse_args(arguments)
    path = RESULTS / "costs.json"
    profiles: dict[str, Any] = read_json(path)["profiles"] if path.is_file() else {}
    by_precision = profiles.setdefault(options.profile, {})
    precision = resolve("auto", "cpu")
    before = by_precision.get(precision) if options.keep else None
    by_precision[precision] = measured(options.profile, options.root.resolve(), before)
    rows = [
        [
            profile,
            precision,
            found["processor"],
            sum(found["seconds"].values()) / 60,
            *found["speeds"][precision].values(),
        ]
        for profile, costs in profiles.items()
        for precision, found in costs.items()
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
