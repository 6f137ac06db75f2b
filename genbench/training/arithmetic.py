"""How the arithmetic of training is done on a type of device: precision, memory layout,
compilation. Set in params.yaml, never chosen by a measurement.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from genbench.errors import UserError, bind_options, near
from genbench.hardware import precision as precisions

__all__ = ["Backend"]


@dataclass(frozen=True, slots=True)
class Backend:
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
    def of(cls, backend: Mapping[str, Any], device: torch.device, *, where: str) -> Backend:
        """The block of the device's type; UserError for unknown keys and values, and for what is no
        mapping.
        """
        if not isinstance(backend, Mapping):
            raise UserError(
                f"{where}: must be a mapping (write {{}} for an empty one), got {backend!r}"
            )
        for name in backend:
            if name not in ("cpu", "cuda"):
                raise UserError(f"{where}.{name}: unknown device type{near(name, ('cpu', 'cuda'))}")
        options = bind_options(
            cls, backend.get(device.type, {}), where=f"{where}.{device.type}", skip=("device",)
        )
        given = options.get("precision", cls.__dataclass_fields__["precision"].default)
        precisions.check_precision(given, where=f"{where}.{device.type}.precision")
        result = cls(
            **{**options, "precision": precisions.resolve(given, device)}, device=device.type
        )
        if result.compile:
            check_compiler(f"{where}.{device.type}.compile")
        return result

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
            torch.use_deterministic_algorithms(
                torch.are_deterministic_algorithms_enabled()
            )  # tells the compiler too
            for part in model.children():
                part.compile()

    def release(self, model: nn.Module) -> None:
        """Undo :meth:`prepare`, so that scoring runs the plain model."""
        if self.compile:
            for part in model.children():
                part._compiled_call_impl = (
                    None  # what Module.compile sets; there is no public way back
                )
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
