"""Where tensors live: device, threads, instruction set, deterministic algorithms, memory use."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from genbench.errors import UserError
from genbench.hardware.compute import Compute
from genbench.hardware.isa import set_isa
from genbench.hardware.kind import kind_of

__all__ = [
    "AT_ONCE",
    "entries_at_once",
    "hardware",
    "identity",
    "keep_freed_memory",
    "peak_memory_mb",
    "set_threads",
    "setup",
]

AT_ONCE = "GENBENCH_AT_ONCE"
"""Environment variable by which a run tells its stages how many entries it does at once."""
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>


def setup(compute: Compute) -> torch.device:
    """Set threads, the C library's allocator and deterministic algorithms for this process, and
    return the device.

    Raises:
        UserError: CUDA is asked for and not there; ``compute.isa`` is, for CUDA or after torch was
            imported without it.
    """
    set_isa(compute.isa, compute.device)
    set_threads(compute.threads)
    device = torch.device(compute.device)
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(
                f"compute.device is {compute.device!r}, but no CUDA device is usable here; set it "
                "to cpu, or use --device cpu"
            )
        if (device.index or 0) >= torch.cuda.device_count():
            raise UserError(
                f"compute.device is {compute.device!r}, but there are {torch.cuda.device_count()} "
                "CUDA devices"
            )
        # What deterministic cuBLAS needs.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Nothing reads uninitialised memory here, and filling it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # use_deterministic_algorithms is the same but for importing the compiler, over a second.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return device


def entries_at_once() -> int | None:
    """How many entries the run has been doing at once on this machine, this one among them: what
    times are to be read with. None where a cluster decides that.
    """
    told = os.environ.get(AT_ONCE, "1")
    return int(told) if told else None


def set_threads(threads: int) -> None:
    """Compute with that many threads from now on, in PyTorch and in numpy's and scipy's linear
    algebra, however many cores there are.

    Sums are split among the threads, so their last digits depend on the number. PyTorch's own call
    does not reach the OpenBLAS that comes with numpy, nor that of scipy, which would take a thread
    for each core. One number for all keeps the rule simple (equal bits need as many threads), and
    an installation whose libraries share one BLAS as fast as PyTorch is to be.
    """
    import scipy.linalg  # noqa: F401  # a library that is loaded later would not be told

    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")


def identity(compute: Compute, device: torch.device) -> dict[str, Any]:
    """What of the machine the bits of a result depend on, as JSON values: device, threads and
    kind.
    """
    return {
        "device": device.type,
        "threads": compute.threads,
        "kind": kind_of(device, compute.isa).record(),
    }


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next tensor, where it can be told so (glibc);
    elsewhere do nothing.

    By default glibc gives large blocks, and the free end of its heap, back to the system at once,
    and a training step that asks for the same blocks anew has every page of them filled with zeros
    again. With this the process holds on to freed memory, up to 2 GiB at the heap's end, until it
    ends; so its peak memory may be a little higher.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    # Another C library, or a system without one to be asked.
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_MAX, 0)  # no block of its own for a large tensor
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def hardware(device: torch.device) -> str:
    """The processor or accelerator, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process (CPU) or of its CUDA allocations, in MB of 2**20 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Linux, where getrusage would count the parent's memory too in a process that was forked from
    # it.
    status = Path("/proc/self/status")
    if status.is_file():
        peak = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)
        if peak:
            return int(peak[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
