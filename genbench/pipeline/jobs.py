"""How many entries to run at once on this machine, unless somebody says."""

from __future__ import annotations

import contextlib
import json
import os

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.hardware.capacity import memory_left, usable_cores

__all__ = ["default_jobs", "environments"]

_PEAK_MB = 2000.0
"""Memory of an entry whose peak is not known: above all that have been measured in `quick`."""


def default_jobs(params: Params) -> int:
    """The least of usable cores over the threads of an entry, of free memory over the largest known
    peak of one, and on CUDA of the devices; at least 1.
    """
    most = len(params.entries)
    if params.compute.device == "cuda":
        import torch

        most = min(most, torch.cuda.device_count())
    elif params.compute.device != "cpu":
        return 1
    by_cores = int(usable_cores() // params.compute.threads)
    by_memory = int(memory_left() / 1e6 // _largest_peak(params))
    return max(1, min(by_cores, by_memory, most))


def environments(params: Params, jobs: int) -> list[dict[str, str]]:
    """What the environment of each of so many entries at once has of its own: on CUDA a device,
    those of the machine in turn; else nothing.
    """
    if params.compute.device != "cuda":
        return []
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    devices = [name.strip() for name in visible.split(",") if name.strip()]
    devices = devices or [str(number) for number in range(max(1, torch.cuda.device_count()))]
    return [{"CUDA_VISIBLE_DEVICES": devices[i % len(devices)]} for i in range(jobs)]


def _largest_peak(params: Params) -> float:
    """Megabytes of the most demanding training or sampling of earlier runs."""
    layout, found = Layout.of(params), []
    for name in params.entries:
        run_dir = layout.run_dir(name)
        for path in (run_dir.cost, run_dir.sampling):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.append(float(json.loads(path.read_text("utf-8"))["peak_memory_mb"]))
    return max([*found, _PEAK_MB if len(found) < 2 * len(params.entries) else 0.0])
