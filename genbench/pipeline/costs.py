"""What stages have cost here: a line for each that was run from its beginning, which the next run's
estimate reads. No result depends on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import STAGES
from genbench.hardware.kind import kind_of
from genbench.training.checkpoint_files import IDENTITY

__all__ = ["read_costs", "record_cost"]


def record_cost(params: Params, stage: str, key: str, seconds: float, *, begun: float) -> None:
    """Add a line: what was run by which fingerprint, its wall time in seconds, and the kind of
    processor and number of threads that it ran with.

    Work that went on from an earlier run's is left out, since its time is not that of the whole.

    Arguments:
        params: the profile.
        stage: name of the stage; those that take no time to speak of are left out.
        key: the entry, or the data set.
        seconds: what it took.
        begun: when this run of it began, in seconds since the epoch.
    """
    if STAGES[stage].per == "profile" or _went_on(params, stage, key, begun):
        return
    layout = Layout.of(params)
    line: dict[str, Any] = {
        "stage": stage,
        "key": key,
        "seconds": round(seconds, 2),
        "threads": params.compute.threads,
    }
    # No fingerprint, or a full disk: what is lost is an estimate.
    with contextlib.suppress(OSError):
        own = layout.fingerprint(key, stage).read_bytes()
        line["fingerprint"] = hashlib.md5(own, usedforsecurity=False).hexdigest()
        if STAGES[stage].computes:
            import torch  # which the stage has imported

            device = torch.device(params.compute.device)
            line["kind"] = kind_of(device, params.compute.isa).record()
        layout.stage_costs.parent.mkdir(parents=True, exist_ok=True)
        with layout.stage_costs.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _went_on(params: Params, stage: str, key: str, begun: float) -> bool:
    """Whether the work in progress that a stage used last is older than its run."""
    work = Layout.of(params).work(key, stage)
    folders = work.parent.glob(f"{work.name}-{'[0-9a-f]' * 16}")
    both = [(folder / "lock", folder / IDENTITY) for folder in folders]
    used = [pair for pair in both if all(path.is_file() for path in pair)]
    if not used:
        return False
    _, identity = max(used, key=lambda pair: pair[0].stat().st_mtime)
    return identity.stat().st_mtime < begun - 1  # file systems with coarse times


def read_costs(params: Params) -> list[dict[str, Any]]:
    """The lines, the oldest first; those that are damaged, as by a full disk, are left out."""
    lines, path = [], Layout.of(params).stage_costs
    with contextlib.suppress(OSError):  # none yet, or another user's: what is lost is an estimate
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                lines.append(json.loads(text))
    return [line for line in lines if _is_cost(line)]


def _is_cost(line: Any) -> bool:
    """Whether a line says what the estimate needs of it."""
    if not isinstance(line, dict) or not isinstance(line.get("seconds"), int | float):
        return False
    return isinstance(line.get("stage"), str) and isinstance(line.get("key"), str)
