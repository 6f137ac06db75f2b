"""In which precision networks compute. Training, sampling, scoring and the feature net's training
all ask here.

``auto`` is bfloat16 where the device computes it natively in every operation that the models use,
and float32 elsewhere: other processors only emulate it, many times slower than float32. The
device's capability decides, never a measurement, so that equal machines decide alike.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from genbench.errors import UserError, near
from genbench.hardware.isa import onednn_limit

__all__ = [
    "EMULATED",
    "PRECISIONS",
    "autocast",
    "check_operations",
    "check_precision",
    "computes_bfloat16",
    "full_precision",
    "resolve",
    "resolved",
]

PRECISIONS = ("auto", "float32", "bfloat16")

EMULATED = (
    "this device only emulates bfloat16; a processor with AVX2 alone trains 8 to 17 times slower "
    "in it than in float32, which precision: auto chooses here"
)
"""What bfloat16 costs where it is not native (`quick` in both on a processor with AVX2 only;
docs/pipeline.md).
"""

_ONEDNN_WITH_BFLOAT16 = (
    "AVX512_CORE_BF16",
    "AVX512_CORE_FP16",
    "AVX512_CORE_AMX",
    "AVX10",
    "DEFAULT",
    "ALL",
)
"""Values of ONEDNN_MAX_CPU_ISA, or their beginnings, that leave it the instructions of bfloat16."""


def check_precision(precision: str, *, where: str) -> None:
    """Raise UserError unless it is one of :data:`PRECISIONS`."""
    if precision not in PRECISIONS:
        raise UserError(f"{where}: unknown {precision!r}{near(str(precision), PRECISIONS)}")


def resolve(precision: str, device: torch.device | str) -> str:
    """``float32`` or ``bfloat16``: what ``precision`` means on a device.

    Raises:
        UserError: an unknown precision.
    """
    check_precision(precision, where="precision")
    if precision != "auto":
        return precision
    return "bfloat16" if computes_bfloat16(torch.device(device)) else "float32"


def resolved(options: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """Options with what their ``precision`` means on a device in its place, if they have one."""
    return {
        name: resolve(value, device) if name == "precision" else value
        for name, value in options.items()
    }


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device computes convolutions, matrix products and LSTMs in bfloat16 natively.

    On a processor, by what it has and what the environment leaves PyTorch and oneDNN of it
    (``ATEN_CPU_CAPABILITY``, ``ONEDNN_MAX_CPU_ISA``).
    """
    if device.type == "cuda":
        if not torch.cuda.is_available():
            return False
        with torch.cuda.device(device):  # it is the current one that is asked about
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _cpu_computes_bfloat16()


@functools.cache
def _cpu_computes_bfloat16() -> bool:
    has = torch.cpu.get_capabilities()
    # The second of these says yes to processors that emulate it with AVX-512, too.
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if has.get("architecture") == "x86_64":
        allowed = onednn_limit().startswith(_ONEDNN_WITH_BFLOAT16)
        held = torch.backends.cpu.get_cpu_capability() != "AVX512" or not allowed
        native = bool(has.get("avx512_bf16") or has.get("amx_bf16")) and not held
    else:
        native = bool(has.get("bf16"))
    return native and not any(_failure(layer) for layer in _TRIALS)


def autocast(
    precision: str, device: torch.device | str
) -> contextlib.AbstractContextManager[object]:
    """The context in which a network computes in ``precision``; weights stay float32."""
    if resolve(precision, device) == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def full_precision(device: torch.device | str) -> contextlib.AbstractContextManager[object]:
    """The context in which tensors keep the precision that they have, whatever is around it."""
    return torch.autocast(torch.device(device).type, enabled=False)


# ---------------------------------------------------- operations that a device may lack in bfloat16

_TRIALS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Conv2d": (lambda: nn.Conv2d(2, 2, 3, padding=1), (1, 2, 4, 4)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 2, 2), (1, 2, 4, 4)),
    "Linear": (lambda: nn.Linear(2, 2), (1, 4, 2)),
    "LSTM": (lambda: nn.LSTM(2, 2, batch_first=True), (1, 4, 2)),
}
"""Layers of the models whose operations differ by processor, by class: a small one to try, and the
shape of its input.
"""


def check_operations(
    model: nn.Module, precision: str, device: torch.device | str, *, where: str
) -> None:
    """Raise UserError if a layer of the model cannot compute in ``precision`` on a CPU.

    Arguments:
        model: whose layers.
        precision: as given.
        device: where it would run.
        where: place of the precision, for the message, e.g.
            ``entries.lstm.train.arithmetic.cpu.precision``.
    """
    if torch.device(device).type != "cpu" or precision != "bfloat16":  # auto asks for what is there
        return
    names = {cls.__name__ for module in model.modules() for cls in type(module).__mro__}
    for layer in sorted(names & _TRIALS.keys()):
        failure = _failure(layer)
        if failure:
            raise UserError(
                f"{where}: this processor has no {layer} in bfloat16 ({failure}); set it to auto, "
                "which chooses float32 here, or to float32"
            )


@functools.cache
def _failure(layer: str) -> str | None:
    """Why a layer cannot compute in bfloat16 on this CPU; None if it can."""
    make, shape = _TRIALS[layer]
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        module = make()
        try:
            with torch.autocast("cpu", torch.bfloat16):
                out = module(torch.zeros(shape))
            (out[0] if isinstance(out, tuple) else out).sum().backward()
        except RuntimeError as error:
            # What oneDNN says of an operation that it does not have; else it is no answer.
            if "primitive" not in str(error):
                raise
            return str(error).splitlines()[0]
    return None
