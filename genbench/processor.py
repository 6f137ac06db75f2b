"""The processor: its kind, on which the bits of a result depend, and the option that makes them the same on every x86-64 processor.

Nothing here imports torch before it must: :func:`set_isa` has to come first.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genbench.errors import UserError, near

if TYPE_CHECKING:
    import torch

__all__ = ["ISAS", "LIMITS", "Kind", "check_isa", "in_words", "kind_of", "set_isa"]

ISAS = ("native", "avx2")
"""``native`` lets the libraries use all that the processor has; ``avx2`` holds them to what every x86-64 processor since about 2015 has."""

_AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions and recurrent layers
    # Matrix products. MKL promises its AVX2 branch on Intel's processors alone; this branch is the same on all.
    "MKL_CBWR": "COMPATIBLE",
}

LIMITS = (*_AVX2, "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Environment variables by which a user can hold the libraries to fewer instructions."""

_X86 = ("x86_64", "AMD64")


@dataclass(frozen=True, slots=True)
class Kind:
    """What the bits of a result depend on, besides code, parameters, seeds and the number of threads. Two machines of a kind give the same.

    Attributes:
        machine: ``x86_64``, ``arm64`` or ``aarch64``; ``cuda`` for a GPU.
        vendor: of the processor, or the GPU's name; ``any`` where ``compute.isa`` makes the bits independent of it.
        isa: the instruction set in use: ``AVX2``, ``AVX512``, ``AVX512_BF16``, ``AMX_BF16``, ...; of a GPU its compute capability.
        libraries: name → version of the libraries that do the arithmetic.
        limits: environment variables that hold the libraries to fewer instructions than the processor has.
    """

    machine: str
    vendor: str
    isa: str
    libraries: Mapping[str, str]
    limits: Mapping[str, str]

    def record(self) -> dict[str, Any]:
        """As JSON values, for records and identities."""
        return asdict(self)


def check_isa(isa: str) -> None:
    """Raise UserError unless ``isa`` is known, and this processor has it."""
    if isa not in ISAS:
        raise UserError(f"compute.isa: unknown {isa!r}{near(isa, ISAS)}")
    if isa == "native":
        return
    if platform.machine() not in _X86:
        raise UserError(f"compute.isa: {isa} is an instruction set of x86-64, and this processor is {platform.machine()}; set it to native")
    flags = _cpuinfo("flags")
    if flags is not None and not {"avx2", "fma"} <= set(flags.split()):
        raise UserError(f"compute.isa: this processor has no {isa}; set it to native")


def set_isa(isa: str) -> None:
    """Hold PyTorch, oneDNN and MKL to ``isa``, by the environment, which processes that are started from here inherit.

    Raises:
        UserError: unknown, not of this processor, or torch was imported before and had chosen already.
    """
    check_isa(isa)
    if isa == "native":
        return
    if "torch" in sys.modules:
        held = sys.modules["torch"].backends.cpu.get_cpu_capability() == "AVX2"
        if not held or any(os.environ.get(name) != value for name, value in _AVX2.items()):
            raise UserError(
                f"compute.isa: {isa} was asked for after torch had been imported, which chooses its instructions then; "
                f"set GENBENCH_ISA={isa} or params.yaml and start anew, or call genbench.processor.set_isa({isa!r}) before `import torch`"
            )
        return
    os.environ.update(_AVX2)


def kind_of(device: torch.device, isa: str = "native") -> Kind:
    """The kind of a device as this process uses it."""
    import torch

    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        libraries = {"torch": torch.__version__, "cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
        return Kind("cuda", torch.cuda.get_device_name(device), f"sm_{major}{minor}", libraries, {})
    libraries = {"torch": torch.__version__, **_libraries(torch.__config__.show())}
    if isa == "avx2":
        return Kind("x86_64", "any", "AVX2", libraries, {})
    limits = {name: os.environ[name] for name in LIMITS if os.environ.get(name)}
    return Kind(platform.machine(), _vendor(), _instructions(), libraries, limits)


def in_words(kind: Mapping[str, Any]) -> str:
    """A kind, from its record: ``AMD, AVX512_BF16``, ``AMD, AVX2 (limited)``, ``any x86-64, AVX2``."""
    if kind["machine"] == "cuda":
        return f"{kind['vendor']}, {kind['isa']}"
    vendor = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel", "any": "any x86-64"}.get(kind["vendor"], kind["vendor"])
    return f"{vendor}, {kind['isa']}{' (limited)' if kind['limits'] else ''}"


def _instructions() -> str:
    """The largest set of instructions in use that changes results."""
    import torch

    from genbench.precision import computes_bfloat16

    own = torch.backends.cpu.get_cpu_capability()
    if not computes_bfloat16(torch.device("cpu")):
        return own
    return "AMX_BF16" if torch.cpu.get_capabilities().get("amx_bf16") else f"{own}_BF16"


def _libraries(config: str) -> dict[str, str]:
    """Versions of MKL and oneDNN from what torch says of its build."""
    found = {"mkl": re.search(r"Math Kernel Library Version (\S+?)(?:-Product)? ", config), "onednn": re.search(r"MKL-DNN v(\S+)", config)}
    return {name: match[1] for name, match in found.items() if match}


def _vendor() -> str:
    return (
        _cpuinfo("vendor_id") or _cpuinfo("CPU implementer") or ("Apple" if sys.platform == "darwin" else platform.processor() or "unknown")
    )


def _cpuinfo(field: str) -> str | None:
    """A field of /proc/cpuinfo for the first processor; None elsewhere than on Linux, or without it."""
    path = Path("/proc/cpuinfo")
    found = re.search(rf"^{field}\s*: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE) if path.is_file() else None
    return found[1].strip() if found else None
