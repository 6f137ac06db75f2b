"""What stages have cost here: a line for each that was run, which the next run's estimate reads. No result depends on it."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from genbench.params import Params
from genbench.processor import kind_of

__all__ = ["costs_path", "read_costs", "record_cost"]


def costs_path(params: Params) -> Path:
    """The log of a profile."""
    return params.root / ".status" / params.profile / "costs.jsonl"


def record_cost(params: Params, stage: str, key: str, seconds: float) -> None:
    """Add a line: what was run, its wall time in seconds, and the kind of processor and number of threads that it ran with."""
    line: dict[str, Any] = {"stage": stage, "key": key, "seconds": round(seconds, 2), "threads": params.compute.threads}
    if "torch" in sys.modules:  # a stage that computes nothing does without
        line["kind"] = kind_of(sys.modules["torch"].device(params.compute.device), params.compute.isa).record()
    path = costs_path(params)
    with contextlib.suppress(OSError):  # a full disk: what is lost is an estimate
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_costs(params: Params) -> list[dict[str, Any]]:
    """The lines, the oldest first; those that a full disk cut short are left out."""
    lines = []
    with contextlib.suppress(FileNotFoundError):
        for text in costs_path(params).read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(text))
    return [line for line in lines if isinstance(line, dict) and {"stage", "key", "seconds"} <= line.keys()]
