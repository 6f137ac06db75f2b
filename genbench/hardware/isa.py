"""`compute.isa`: the option that makes bits the same on every x86-64 processor.

Libraries choose their kernels when torch is imported, so :func:`set_isa` has to come before, and
nothing here imports it.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

from genbench.errors import UserError, near

__all__ = ["ISAS", "LIMITS", "check_isa", "cpuinfo", "onednn_limit", "set_isa"]

ISAS = ("native", "avx2")
"""``native`` lets the libraries use all that the processor has; ``avx2`` holds them to what every
x86-64 processor since about 2015 has.
"""

_AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions and recurrent layers
    # Matrix products. MKL promises its AVX2 branch on Intel's processors alone; this branch is the
    # same on all.
    "MKL_CBWR": "COMPATIBLE",
}

LIMITS = (*_AVX2, "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Environment variables by which a user can hold the libraries to fewer instructions."""

_X86 = ("x86_64", "AMD64")


def check_isa(isa: str) -> None:
    """Raise UserError unless ``isa`` is known, and this processor has it."""
    if isa not in ISAS:
        raise UserError(f"compute.isa: unknown {isa!r}{near(isa, ISAS)}")
    if isa == "native":
        return
    if platform.machine() not in _X86:
        raise UserError(
            f"compute.isa: {isa} is an instruction set of x86-64, and this processor is "
            f"{platform.machine()}; set it to native"
        )
    flags = cpuinfo("flags")
    if flags is not None and not {"avx2", "fma"} <= set(flags.split()):
        raise UserError(f"compute.isa: this processor has no {isa}; set it to native")


def set_isa(isa: str, device: str = "cpu") -> None:
    """Hold PyTorch, oneDNN and MKL to ``isa``, by the environment, which processes that are started
    from here inherit.

    Raises:
        UserError: unknown, not of this processor, asked for while the device is another, or torch
            was imported before and had chosen already.
    """
    check_isa(isa)
    if isa == "native":
        return
    if device != "cpu":
        raise UserError(
            f"compute.isa: {isa} is for the CPU, and compute.device is {device!r}; set one of them "
            "to its default"
        )
    if "torch" in sys.modules:
        held = sys.modules["torch"].backends.cpu.get_cpu_capability() == "AVX2"
        if not held or any(os.environ.get(name) != value for name, value in _AVX2.items()):
            raise UserError(
                f"compute.isa: {isa} was asked for after torch had been imported, which chooses "
                f"its instructions then; set GENBENCH_ISA={isa} or params.yaml and start anew, or "
                f"call genbench.hardware.isa.set_isa({isa!r}) before `import torch`"
            )
        return
    os.environ.update(_AVX2)


def onednn_limit() -> str:
    """The instruction set that the environment holds oneDNN to, in capitals; ``DEFAULT`` for
    none.
    """
    return (
        os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "DEFAULT"
    ).upper()


def cpuinfo(field: str) -> str | None:
    """A field of /proc/cpuinfo for the first processor; None elsewhere than on Linux, or without
    it.
    """
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return None
    found = re.search(rf"^{field}\s*: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1].strip() if found else None
