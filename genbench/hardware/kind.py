"""The kind of a processor or GPU, on which the bits of a result depend."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from genbench.hardware.isa import LIMITS, cpuinfo, onednn_limit

if TYPE_CHECKING:
    import torch

__all__ = ["MACHINE", "Kind", "in_words", "kind_of"]

MACHINE = ("device", "threads", "kind", "precision")
"""What of a record, or of the identity of unfinished work, is the machine's: the keys of
:func:`genbench.hardware.device.identity`, and the precision that ``auto`` is there.
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """What the bits of a result depend on, besides code, parameters, seeds and the number of
    threads. Two machines of a kind give the same.

    Attributes:
        machine: ``x86_64``, ``arm64`` or ``aarch64``; ``cuda`` for a GPU.
        vendor: of the processor, or the GPU's name; ``any`` where ``compute.isa`` makes the bits
            independent of it.
        isa: the instruction set in use: ``AVX2``, ``AVX512``, ``AVX512_BF16``, ``AMX_BF16``, ...;
            of a GPU its compute capability.
        libraries: name → version of the libraries that do the arithmetic.
        limits: environment variables that hold the libraries to fewer instructions than the
            processor has.
    """

    machine: str
    vendor: str
    isa: str
    libraries: Mapping[str, str]
    limits: Mapping[str, str]

    def record(self) -> dict[str, Any]:
        """As JSON values, for records and identities."""
        return asdict(self)


def kind_of(device: torch.device, isa: str = "native") -> Kind:
    """The kind of a device as this process uses it."""
    import torch

    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        libraries = {
            "torch": torch.__version__,
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
        }
        return Kind("cuda", torch.cuda.get_device_name(device), f"sm_{major}{minor}", libraries, {})
    libraries = {"torch": torch.__version__, **_libraries(torch.__config__.show())}
    if isa == "avx2":
        return Kind("x86_64", "any", "AVX2", libraries, {})
    limits = {name: os.environ[name] for name in LIMITS if os.environ.get(name)}
    return Kind(platform.machine(), _vendor(), _instructions(), libraries, limits)


def in_words(kind: Mapping[str, Any]) -> str:
    """A kind, from its record: ``AMD, AVX512_BF16``, ``AMD, AVX2 (limited)``, ``any x86-64,
    AVX2``.
    """
    if kind["machine"] == "cuda":
        return f"{kind['vendor']}, {kind['isa']}"
    names = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel", "any": "any x86-64"}
    vendor = names.get(kind["vendor"], kind["vendor"])
    return f"{vendor}, {kind['isa']}{' (limited)' if kind['limits'] else ''}"


def _instructions() -> str:
    """The largest set of instructions in use that changes results."""
    import torch

    from genbench.hardware.precision import computes_bfloat16

    own = torch.backends.cpu.get_cpu_capability()
    if not computes_bfloat16(torch.device("cpu")):
        return own
    limit = onednn_limit()
    allowed = limit in ("DEFAULT", "ALL") or "AMX" in limit
    amx = allowed and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return "AMX_BF16" if amx else f"{own}_BF16"


def _libraries(config: str) -> dict[str, str]:
    """Versions of MKL and oneDNN from what torch says of its build."""
    found = {
        "mkl": re.search(r"Math Kernel Library Version (\S+?)(?:-Product)? ", config),
        "onednn": re.search(r"MKL-DNN v(\S+)", config),
    }
    return {name: match[1] for name, match in found.items() if match}


def _vendor() -> str:
    arm = [found for found in (cpuinfo("CPU implementer"), cpuinfo("CPU part")) if found]
    return (
        cpuinfo("vendor_id")
        or " ".join(arm)
        or ("Apple" if sys.platform == "darwin" else platform.processor() or "unknown")
    )
