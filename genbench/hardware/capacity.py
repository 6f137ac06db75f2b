"""What this machine has left for a run: usable cores, memory, how busy it is, and how fast it
computes.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

__all__ = ["busy_cores", "memory_left", "ratio", "slowed", "speeds", "usable_cores"]

_SYSTEM = Path("/")
_CPU0 = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def usable_cores(system: Path = _SYSTEM) -> float:
    """Cores that this process may use: those it is bound to, physical ones as far as known, or
    fewer by the quota of its control group (Linux).
    """
    bound = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    cores: float = min(bound, psutil.cpu_count(logical=False) or bound)
    for quota, period in [
        *(text.split() for text in _of_group(system, "", "cpu.max") if len(text.split()) == 2),
        *zip(
            _of_group(system, "cpu", "cpu.cfs_quota_us"),
            _of_group(system, "cpu", "cpu.cfs_period_us"),
            strict=False,
        ),
    ]:
        if quota.isdigit() and period.isdigit():
            cores = min(cores, int(quota) / int(period))
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
            kept = re.search(
                rf"^{cached} (\d+)$", stat, re.MULTILINE
            )  # files that the system drops when it needs the memory
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
    if (
        _read(folder / "scaling_governor") == "powersave"
        and _read(folder / "scaling_driver") == "acpi-cpufreq"
    ):
        return "its clock is held at the lowest by the governor 'powersave'"
    return None


def speeds(threads: int, *, emulated: bool = False) -> dict[str, dict[str, float]]:
    """GFLOP/s of a 3 x 3 convolution, forward and backward, and of a matrix product, by precision;
    takes a second or two, with that many threads.

    Arguments:
        threads: of the CPU.
        emulated: also ``bfloat16`` where it is not native; else it is left out there.
    """
    import torch

    from genbench.hardware.precision import computes_bfloat16

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    native = computes_bfloat16(torch.device("cpu"))
    result = {}
    try:
        for name, dtype in {
            "float32": torch.float32,
            **({"bfloat16": torch.bfloat16} if native or emulated else {}),
        }.items():
            edge = 1024 if native or name == "float32" else 256  # emulation would take seconds
            a = torch.ones(edge, edge, dtype=dtype)
            conv = torch.nn.Conv2d(32, 64, 3, padding=1, dtype=dtype).to(
                memory_format=torch.channels_last
            )
            x = (
                torch.ones(8, 32, 28, 28, dtype=dtype)
                .to(memory_format=torch.channels_last)
                .requires_grad_()
            )

            def convolve(conv: torch.nn.Module = conv, x: torch.Tensor = x) -> None:
                out = conv(x)
                out.backward(out.detach())

            def multiply(a: torch.Tensor = a) -> None:
                a @ a

            result[name] = {
                "convolution": 3 * 2 * 8 * 28 * 28 * 32 * 64 * 9 / _seconds(convolve) / 1e9,
                "matrix_product": 2 * edge**3 / _seconds(multiply) / 1e9,
            }
    finally:
        torch.set_num_threads(before)
    return result


def ratio(own: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """How many times as long as on the reference machine a training takes, from both machines'
    :func:`speeds` in its precision.
    """
    shares = [reference[name] / own[name] for name in ("convolution", "matrix_product")]
    return (shares[0] * shares[1]) ** 0.5


def _seconds(work: Callable[[], None], least: float = 0.3) -> float:
    """The shortest of some calls, which take ``least`` seconds in all: what else runs here can only
    make one longer.
    """
    work()
    best, end = float("inf"), time.perf_counter() + least
    while time.perf_counter() < end:
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return best


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
