"""What `compute` of params.yaml holds: the device, threads and instruction set that a run is asked
to use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from genbench.errors import UserError
from genbench.hardware.isa import check_isa

__all__ = ["MAX_THREADS", "Compute"]

MAX_THREADS = 1024
"""Far above any processor's cores: OpenMP ends the process, or the machine stands still, when it is
asked for very many.
"""


@dataclass(frozen=True, slots=True)
class Compute:
    """Where the work is done. No DVC parameter: it is hardware, recorded in the provenance.

    GENBENCH_DEVICE, GENBENCH_THREADS and GENBENCH_ISA override it.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of the CPU, 1 to :data:`MAX_THREADS`.
        isa: ``native``, or ``avx2`` for bits that do not depend on the processor
            (:mod:`genbench.hardware.isa`).
    """

    device: str = "cpu"
    threads: int = 2
    isa: str = "native"

    def __post_init__(self) -> None:
        if self.device.split(":")[0] == "mps":
            raise UserError(
                "compute.device: mps is not supported, since it has no float64, in which "
                "likelihoods are summed; set it to cpu"
            )
        if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", self.device):
            raise UserError(f"compute.device: must be cpu, cuda or cuda:N, got {self.device!r}")
        if not 1 <= self.threads <= MAX_THREADS:
            raise UserError(f"compute.threads: must be 1 to {MAX_THREADS}, got {self.threads}")
        check_isa(self.isa)
