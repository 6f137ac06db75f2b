"""Setting the device up."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from genbench.device import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for i in range(30):
    if i == 15:  # small objects may have come to lie between the first ones
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_freed_memory_is_kept_for_the_next_tensor() -> None:
    faults = {how: int(subprocess.check_output([sys.executable, "-c", FAULTS, how])) for how in ("kept", "returned")}
    assert faults["kept"] < faults["returned"] / 10, faults  # a tensor of 64 MiB has 16384 pages, unless the system gives large ones
