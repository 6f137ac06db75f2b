"""Tiny shapes of the models, as far as each takes labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from genbench.base import Conditioning, DataSpec, GenerativeModel

__all__ = ["CLASSES", "Case", "cases"]


CLASSES = 3


@dataclass(frozen=True)
class Case:
    """A model class at a tiny shape."""

    model: str
    cls: type[GenerativeModel]
    spec: DataSpec
    arch: dict[str, Any]

    def __str__(self) -> str:
        options = "-".join(f"{key}={value}" for key, value in self.arch.items())
        shape = f"{self.spec.height}x{self.spec.width}x{self.spec.levels}"
        return f"{self.model}-{shape}-{options or 'default'}"

    def build(self, seed: int = 0) -> GenerativeModel:
        """The untrained model."""
        torch.manual_seed(seed)
        return self.cls(self.spec, **self.arch)


def cases(model: str, cls: type[GenerativeModel]) -> Iterator[Case]:
    """The tiny shapes of a class; without labels and with them, as far as it takes them."""
    for spec, arch in cls.tiny_specs:
        assert spec.levels**spec.dims <= 512, (
            f"tiny_specs of {model}: {spec} has more than 512 images"
        )
        if cls.conditioning is not Conditioning.REQUIRED:
            yield Case(model, cls, spec, {k: v for k, v in arch.items() if k != "conditional"})
        if cls.conditioning is Conditioning.OPTIONAL:
            yield Case(model, cls, replace(spec, classes=CLASSES), {**arch, "conditional": True})
        if cls.conditioning is Conditioning.REQUIRED:
            yield Case(model, cls, replace(spec, classes=CLASSES), arch)
