"""What this machine has left for a run: usable cores, memory, how busy it is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import psutil

__all__ = ["busy_cores", "memory_left", "slowed", "usable_cores"]

_SYSTEM = Path("/")
_CPU0 = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def usable_cores(system: Path = _SYSTEM) -> float:
    """Cores that this process may use: those it is bound to, physical ones as far as known, or
    fewer by the quota of its control group (Linux).
    """
    if hasattr(os, "sched_getaffinity"):
        bound = len(os.sched_getaffinity(0))
    else:
        bound = os.cpu_count() or 1
    cores: float = min(bound, psutil.cpu_count(logical=False) or bound)
    # "quota period" in version 2 of control groups, a file for each in version 1.
    limits = [text.split() for text in _of_group(system, "", "cpu.max")]
    quotas = _of_group(system, "cpu", "cpu.cfs_quota_us")
    periods = _of_group(system, "cpu", "cpu.cfs_period_us")
    limits += [list(pair) for pair in zip(quotas, periods, strict=False)]
    for limit in limits:
        if len(limit) == 2 and limit[0].isdigit() and limit[1].isdigit():
            cores = min(cores, int(limit[0]) / int(limit[1]))
    return cores


def memory_left(system: Path = _SYSTEM) -> int:
    """Bytes that this process can still take: what is free, or less by the limit of its control
    group (Linux).
    """
    left: int = psutil.virtual_memory().available
    for controller, limit, used, cached in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        parts = (_of_group(system, controller, name) for name in (limit, used, "memory.stat"))
        for most, now, stat in zip(*parts, strict=False):
            # Files that the system drops when it needs the memory.
            kept = re.search(rf"^{cached} (\d+)$", stat, re.MULTILINE)
            if most.isdigit() and now.isdigit():
                left = min(left, int(most) - int(now) + (int(kept[1]) if kept else 0))
    return left


def _of_group(system: Path, controller: str, name: str) -> list[str]:
    """The content of a file in each of this process's control groups, the innermost first;
    ``controller`` is empty for version 2.
    """
    found = []
    for line in _read(system / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            top = system / "sys/fs/cgroup" / controller
            own = Path(path.lstrip("/"))
            found += [_read(top / folder / name) for folder in (own, *own.parents)]
    return [text for text in found if text]


def busy_cores(seconds: float = 0.5) -> float:
    """How many cores other processes keep busy, over so many seconds."""
    return psutil.cpu_percent(seconds) / 100 * (os.cpu_count() or 1)


def slowed(folder: Path = _CPU0) -> str | None:
    """Why the processor may run below its speed, as far as Linux tells; None if nothing says so."""
    most, allowed = _read(folder / "cpuinfo_max_freq"), _read(folder / "scaling_max_freq")
    if most.isdigit() and allowed.isdigit() and int(allowed) < 0.95 * int(most):
        return f"its clock is held to {int(allowed) / 1e6:.1f} of {int(most) / 1e6:.1f} GHz"
    governor, driver = _read(folder / "scaling_governor"), _read(folder / "scaling_driver")
    if governor == "powersave" and driver == "acpi-cpufreq":
        return "its clock is held at the lowest by the governor 'powersave'"
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
