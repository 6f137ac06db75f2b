"""Wrong arguments are refused with a message that says what is legal."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from genbench.base import (
    Conditioning,
    Encoder,
    GenerativeModel,
    Inpaintable,
    Latent,
    Likelihood,
    Traceable,
)
from tests.contract.cases import Case
from tests.contract.images import every_image, labels_of, rng

__all__ = ["check_bad_input"]

ImageCall = Callable[[Tensor], Any]
LabelCall = Callable[[Tensor | None], Any]


def check_bad_input(case: Case, model: GenerativeModel) -> None:
    """Wrong images, labels and numbers raise ValueError naming the argument, what it got and what
    is legal.
    """
    spec, n = model.spec, 4
    x, y = every_image(spec)[:n], labels_of(model, n)
    shape, highest = f"{spec.height}, {spec.width}", spec.levels - 1
    taller = torch.zeros(n, 1, spec.height + 1, spec.width, dtype=torch.uint8)
    for name, call in _image_calls(model, y):
        _refuses(name, "x", call, x.float(), "float32", "uint8")
        _refuses(name, "x", call, x[:, 0], str(tuple(x[:, 0].shape)), shape)
        _refuses(name, "x", call, taller, str(tuple(taller.shape)), shape)
        if spec.levels < 256:
            _refuses(
                name, "x", call, torch.full_like(x, spec.levels), f"{spec.levels}", f"{highest}"
            )
    for name, call in _label_calls(model, x):
        if y is None:
            _refuses(name, "y", call, torch.zeros(n, dtype=torch.int64), "label")
            continue
        _refuses(name, "y", call, None, "None")
        _refuses(name, "y", call, y.int(), "int32", "int64")
        _refuses(name, "y", call, y[:2], "(2,)", f"({n},)")
        for wrong in (-1, spec.classes):
            _refuses(name, "y", call, torch.full((n,), wrong), f"{wrong}", f"{spec.classes - 1}")
    none = None if y is None else y[:0]
    _refuses("sample", "n", lambda n: model.sample(n, none, rng=rng()), 0, "0", "1")
    if case.cls.conditioning is Conditioning.OPTIONAL:
        unlabelled, arch = replace(spec, classes=0), {**case.arch, "conditional": True}
        _refuses(
            "the constructor",
            "conditional",
            lambda spec: case.cls(spec, **arch),
            unlabelled,
            "no labels",
        )


def _image_calls(model: GenerativeModel, y: Tensor | None) -> list[tuple[str, ImageCall]]:
    calls: list[tuple[str, ImageCall]] = []
    if model.likelihood is not Likelihood.NONE:
        model.prepare_likelihood(rng=rng(4))
        calls.append(("log_likelihood", lambda x: model.log_likelihood(x, y, rng=rng())))
    if isinstance(model, Encoder):
        calls.append(("encode", lambda x: model.encode(x, y, rng=rng())))
    if isinstance(model, Inpaintable):
        mask = torch.ones(model.spec.height, model.spec.width, dtype=torch.bool)
        calls.append(("complete", lambda x: model.complete(x, mask, y, rng=rng())))
    return calls


def _label_calls(model: GenerativeModel, x: Tensor) -> list[tuple[str, LabelCall]]:
    calls: list[tuple[str, LabelCall]] = [("sample", lambda y: model.sample(len(x), y, rng=rng()))]
    if model.likelihood is not Likelihood.NONE:
        calls.append(("log_likelihood", lambda y: model.log_likelihood(x, y, rng=rng())))
    if isinstance(model, Latent):
        calls.append(("prior", lambda y: model.prior(len(x), y, rng=rng())))
    if isinstance(model, Traceable):
        calls.append(("frames", lambda y: list(model.frames(len(x), y, rng=rng()))))
    return calls


def _refuses(name: str, argument: str, call: Callable[[Any], Any], wrong: Any, *parts: str) -> None:
    """``call`` refuses the value in a message that begins with the argument and names ``parts``."""
    try:
        call(wrong)
    except ValueError as error:
        message = str(error)
        assert re.match(rf"{argument}\b", message), (
            f"{name}: the message must begin with the argument {argument!r}: {message}"
        )
        assert all(part in message for part in parts), (
            f"{name}: the message must name {parts}: {message}"
        )
        return
    raise AssertionError(f"{name} accepts a wrong {argument}; it must say {parts}")
