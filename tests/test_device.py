"""Setting the device up."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from genbench.hardware.device import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for i in range(30):
    if i == 15:  # small objects may have come to lie between the first ones
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="the C library has no mallopt",
)
def test_freed_memory_is_kept_for_the_next_tensor() -> None:
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", FAULTS, how]))
        for how in ("kept", "returned")
    }
    # A tensor of 64 MiB has 16384 pages, unless the system gives large ones.
    assert faults["kept"] < faults["returned"] / 10, faults


PEAK = """
import sys
import torch
from genbench.hardware.device import peak_memory_mb

peak = peak_memory_mb(torch.device("cpu"))
more = torch.ones(2**27)
print(peak, peak_memory_mb(torch.device("cpu")))
"""

PARENT = """
import subprocess, sys

held = bytearray(b"x") * 2**30
subprocess.run([sys.executable, "-c", sys.argv[1]], check=True, close_fds=False)
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a parent's memory cannot be told from the own"
)
def test_the_peak_memory_is_that_of_this_process_alone() -> None:
    before, after = map(
        float, subprocess.check_output([sys.executable, "-c", PARENT, PEAK]).split()
    )
    assert 50 < before < 1000  # the parent has 1024 MB
    # The tensor has 512 MB of 2**20 bytes, which are 537 of 10**6.
    assert 510 < after - before < 520


THREADS = """
import json, os, sys

os.sched_setaffinity(0, json.loads(sys.argv[1]))
import numpy as np
import torch
from threadpoolctl import threadpool_info
from genbench.hardware.device import setup
from genbench.hardware.compute import Compute

setup(Compute(threads=int(sys.argv[2])))
import scipy.linalg  # has a BLAS of its own

first, second = np.random.default_rng(0).normal(size=(2, 1_000_000))
value = float(first @ second)  # a sum for each thread, then the sum of these
blas = [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]
print(json.dumps([value.hex(), torch.get_num_threads(), blas]))
"""


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="the system cannot hold a process to some cores"
)
@pytest.mark.parametrize("threads", [1, 3])
def test_linear_algebra_has_as_many_threads_as_torch_however_many_cores_there_are(
    threads: int,
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, "-c", THREADS]
    values = []
    for some in (cores, cores[:1]):
        value, of_torch, of_blas = json.loads(
            subprocess.check_output([*command, json.dumps(some), str(threads)])
        )
        assert of_torch == threads
        assert of_blas == [threads] * len(of_blas) != []
        values.append(value)
    assert values[0] == values[1]
