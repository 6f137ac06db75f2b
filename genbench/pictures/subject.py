"""What the pictures of an entry are drawn of: its model, test images, and randomness; and what the
kinds of pictures share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from genbench.base import GenerativeModel
from genbench.errors import UserError
from genbench.registry import model_classes

__all__ = ["Subject", "check_able", "exemplars", "labels_for", "repeated"]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose pictures are drawn.

    Attributes:
        model: in eval mode.
        x: test images to choose from, uint8 (N, 1, H, W).
        y: their labels int64 (N,), or None.
        rng_for: a generator for the name of a picture, so that no picture depends on the others.
        sampler: keywords of ``sample`` with which the entry samples.
    """

    model: GenerativeModel
    x: Tensor
    y: Tensor | None
    rng_for: Callable[[str], Generator]
    sampler: Mapping[str, Any] = field(default_factory=dict)


def check_able(model: GenerativeModel, doing: str, *capabilities: type) -> None:
    """Raise UserError unless ``model`` has all ``capabilities``; names the models that have."""
    lacking = [c.__name__ for c in capabilities if not isinstance(model, c)]
    if not lacking:
        return
    classes, _ = model_classes()
    able = [name for name, cls in classes.items() if all(issubclass(cls, c) for c in capabilities)]
    raise UserError(
        f"{type(model).__name__} cannot {doing}: it is not {' and '.join(lacking)}. Models that "
        f"can: {', '.join(able) or 'none'}"
    )


def exemplars(x: Tensor, y: Tensor | None, n: int) -> Tensor:
    """Indices (n,) of images to show: every class in turn where there are labels, else spread over
    the split.
    """
    if len(x) < n:
        raise UserError(f"x: {n} images are needed, got {len(x)}")
    if y is None:
        return torch.arange(n) * (len(x) // n)
    groups = [torch.nonzero(y == label)[:, 0] for label in y.unique()]
    longest = max(map(len, groups))
    turns = [group[turn] for turn in range(longest) for group in groups if turn < len(group)]
    return torch.stack(turns[:n])


def labels_for(model: GenerativeModel, y: Tensor | None, n: int) -> Tensor | None:
    """Labels for ``n`` images of a conditional model: the first of ``y``, or every class in turn;
    None for an unconditional model.
    """
    if not model.conditional:
        return None
    if y is None:
        return torch.arange(n, device=model.device) % model.spec.classes
    return y[:n].to(model.device)


def repeated(y: Tensor | None, times: int) -> Tensor | None:
    """Each label so many times in a row; None without labels."""
    return None if y is None else y.repeat_interleave(times)
