"""Checks of `genbench doctor`: processor, memory, GPU, precision, and how fast this machine is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from genbench.cli.doctor_check import Check
from genbench.config.params import Params

if TYPE_CHECKING:
    import torch

__all__ = ["compute", "speed"]

_SCORING_BYTES = 3000 * 2**20


def compute(params: Params) -> Iterator[Check]:
    """What the machine has, beside what `compute` of params.yaml asks for."""
    yield from _processor(params)
    yield _memory()
    place = _place(params)
    yield _kind(params, place)
    # What is no mapping: the check of the entries has said so.
    with contextlib.suppress(AttributeError, TypeError):
        yield _precision(params, place)
    yield _gpu(params.compute.device)


def _processor(params: Params) -> Iterator[Check]:
    from genbench.hardware import capacity

    threads, cores = params.compute.threads, capacity.usable_cores()
    remedy = (
        "set compute.threads or --threads to the number of cores; results are the same bits "
        "only for an equal number of threads"
    )
    level = "warn" if threads > cores else "ok"
    yield Check(level, "cpu", f"{threads} threads on {cores:g} usable cores", remedy)
    busy = capacity.busy_cores()
    remedy = (
        "stop what else runs, or start it with `nice -n 19` in the same terminal: a training whose "
        "threads wait for one another is slowed many times by one busy process"
    )
    told = f"other processes keep {busy:.1f} of {os.cpu_count()} cores busy"
    yield Check("warn" if busy > 0.3 else "ok", "load", told, remedy)
    slowed = capacity.slowed()
    if slowed:
        remedy = "lift the limit (power settings), or expect longer times"
        yield Check("warn", "clock", slowed, remedy)


def _memory() -> Check:
    import psutil

    from genbench.hardware.capacity import memory_left

    free, total = memory_left(), psutil.virtual_memory().total
    level = "warn" if free < _SCORING_BYTES else "ok"
    told = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return Check(level, "memory", told, "scoring takes up to 3 GB")


def _place(params: Params) -> torch.device:
    """The device that a run would use, or the CPU where that is not there."""
    import torch

    wanted = torch.device(params.compute.device)
    if wanted.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return wanted if (wanted.index or 0) < count else torch.device("cpu")
    return wanted


def _kind(params: Params, place: torch.device) -> Check:
    from genbench.hardware.kind import in_words, kind_of

    kind = kind_of(place, params.compute.isa)
    limits = ", ".join(f"{name}={value}" for name, value in kind.limits.items())
    held = f", held by {limits}" if limits else ""
    libraries = ", ".join(f"{name} {version}" for name, version in kind.libraries.items())
    told = f"{in_words(kind.record())}{held} ({libraries})"
    return Check("ok", "kind", f"{told}: equal bits on machines of this kind with as many threads")


def _precision(params: Params, place: torch.device) -> Check:
    from genbench.hardware.precision import EMULATED, resolve
    from genbench.pipeline.validate import emulating

    emulated = emulating(params)
    remedy = f"{EMULATED}; set it in {', '.join(emulated)}"
    told = f"auto is {resolve('auto', place)} here"
    return Check("warn" if emulated else "ok", "precision", told, remedy)


def _gpu(wanted: str) -> Check:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        used = "used" if wanted.startswith("cuda") else f"not used, as compute.device is {wanted}"
        return Check("ok", "gpu", f"{names} ({used})")
    if wanted.startswith("cuda"):
        told = f"compute.device is {wanted}, and no CUDA device is usable"
        return Check("fail", "gpu", told, "set it to cpu, or check the driver")
    return Check("ok", "gpu", "none; everything runs on the CPU")


def speed(params: Params, profiles: Sequence[Params]) -> Iterator[Check]:
    """How fast this machine computes, beside the one that the committed costs are from, and how
    long each profile takes.
    """
    if params.compute.device != "cpu":
        return
    import torch

    from genbench.hardware.precision import computes_bfloat16
    from genbench.hardware.speed import speeds
    from genbench.pipeline.estimate import how_long, reference
    from genbench.pipeline.pending import whole

    own = speeds(params.compute.threads, emulated=True)
    native = computes_bfloat16(torch.device("cpu"))
    for precision, found in own.items():
        theirs = reference(params, precision)
        beside = ""
        if theirs is not None and precision in theirs["speeds"]:
            beside = (
                f"; {_gflops(theirs['speeds'][precision])} where the costs of "
                f"{params.profile} were recorded, on {theirs['processor']}"
            )
        emulated = ", emulated" if precision == "bfloat16" and not native else ""
        yield Check("ok", "speed", f"{precision}{emulated}: {_gflops(found)}{beside}")
    if not native:
        del own["bfloat16"]
    for profile in profiles:
        device = profile.compute.device
        duration = (
            how_long(profile, whole(profile), own)
            if device == "cpu"
            else f"on {device}; how long that takes is not known"
        )
        yield Check("ok", "time", f"profile {profile.profile}: {duration}")


def _gflops(found: Mapping[str, float]) -> str:
    convolution, product = found["convolution"], found["matrix_product"]
    return f"convolution {convolution:.0f}, matrix product {product:.0f} GFLOP/s"
