"""Where tensors live: device, threads, deterministic algorithms, memory use."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path

import torch

from genbench.errors import UserError
from genbench.params import Compute

__all__ = ["hardware", "peak_memory_mb", "setup"]


def setup(compute: Compute) -> torch.device:
    """Set threads and deterministic algorithms, and return the device.

    Raises:
        UserError: CUDA is asked for and not there.
    """
    torch.set_num_threads(compute.threads)
    device = torch.device(compute.device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"compute.device is {compute.device!r}, but no CUDA device is usable here; set it to cpu, or use --device cpu")
        if (device.index or 0) >= torch.cuda.device_count():
            raise UserError(f"compute.device is {compute.device!r}, but there are {torch.cuda.device_count()} CUDA devices")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS needs
    # Nothing reads uninitialised memory here, and filling it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms is the same but for importing the compiler, over a second
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return device


def hardware(device: torch.device) -> str:
    """The processor or accelerator, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process (CPU) or of its CUDA allocations, in MB of 2**20 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
