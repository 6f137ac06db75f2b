"""How the arithmetic of training is done on a type of device: precision, memory layout,
compilation. Set in params.yaml, never chosen by a measurement.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from genbench.errors import UserError, bind_options, near
from genbench.hardware import precision as precisions

__all__ = ["Arithmetic", "check_compiler"]

_DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Precision, layout and compilation of training.

    Attributes:
        precision: ``float32``; ``bfloat16`` for autocast, weights, optimiser and averages staying
            float32; ``auto``, which is bfloat16 where the device computes it natively. :meth:`of`
            puts in its place which one that is.
        channels_last: convolution weights in NHWC.
        compile: compile the model's parts with torch.compile.
        device: type of the device that this was chosen for.
    """

    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False
    device: str = "cpu"

    @classmethod
    def of(cls, given: Mapping[str, Any], device: torch.device, *, where: str) -> Arithmetic:
        """What `train.arithmetic` says of a device.

        Arguments:
            given: the fields above but the last, by type of device: ``cpu`` or ``cuda``.
            device: where it is to be trained.
            where: its place in params.yaml, for messages.

        Raises:
            UserError: no mapping, an unknown key or value, or no compiler where one is needed.
        """
        if not isinstance(given, Mapping):
            raise UserError(
                f"{where}: must be a mapping (write {{}} for an empty one), got {given!r}"
            )
        for name in given:
            if name not in _DEVICES:
                raise UserError(f"{where}.{name}: unknown device type{near(name, _DEVICES)}")
        own = f"{where}.{device.type}"
        options = bind_options(cls, given.get(device.type, {}), where=own, skip=("device",))
        result = cls(**options, device=device.type)
        precisions.check_precision(result.precision, where=f"{own}.precision")
        if result.compile:
            check_compiler(f"{own}.compile")
        return replace(result, precision=precisions.resolve(result.precision, device))

    def check(self, model: nn.Module, *, where: str) -> None:
        """Raise UserError if the device lacks one of the model's operations in this precision."""
        precisions.check_operations(
            model, self.precision, self.device, where=f"{where}.{self.device}.precision"
        )

    def prepare(self, model: nn.Module) -> None:
        """Bring a model into this layout and compile its parts."""
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.compile:
            # It is in force already; this call tells the compiler too.
            torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled())
            for part in model.children():
                part.compile()

    def release(self, model: nn.Module) -> None:
        """Undo :meth:`prepare`, so that scoring runs the plain model."""
        if self.compile:
            # What Module.compile sets; there is no public way back.
            for part in model.children():
                part._compiled_call_impl = None
        if self.channels_last:
            model.to(memory_format=torch.contiguous_format)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which a loss is computed."""
        return precisions.autocast(self.precision, self.device)


def check_compiler(where: str) -> None:
    """Raise UserError unless a C++ compiler for torch.compile is there."""
    wanted = os.environ.get("CXX", "g++")
    if shutil.which(wanted) is None:
        raise UserError(
            f"{where}: torch.compile needs a C++ compiler, and {wanted!r} is not on the PATH; "
            "install one, set CXX, or set compile: false"
        )
