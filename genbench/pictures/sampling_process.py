"""Kind ``process``: how a model samples, as an animation and as a few moments on paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from genbench.base import GenerativeModel, Traceable
from genbench.pictures import grids
from genbench.pictures.picture import Picture
from genbench.pictures.subject import Subject, check_able, labels_for

__all__ = ["pictures", "process", "strip", "trace"]

FRAMES = 60
"""Most frames of an animation."""


def pictures(subject: Subject) -> Iterator[Picture]:
    """Two, where the model can show its sampling."""
    model, sampler = subject.model, subject.sampler
    if not isinstance(model, Traceable):
        return
    frames = process(model, rng=subject.rng_for("process"), sampler=sampler)
    yield Picture(
        "process.gif",
        "process",
        "How it samples",
        "The states of sampling from the first to the finished images.",
        grids.gif(frames),
    )
    moments = strip(model, rng=subject.rng_for("strip"), sampler=sampler)
    yield Picture(
        "process.png",
        "process",
        "How it samples, step by step",
        "The same at evenly spread moments, one image a row, from left to right.",
        grids.png(moments),
    )


@torch.no_grad()
def trace(
    model: GenerativeModel,
    n: int,
    y: Tensor | None = None,
    *,
    rng: Generator,
    sampler: Mapping[str, Any] = MappingProxyType({}),
) -> Tensor:
    """All states of sampling ``n`` images, uint8 (frames, n, 1, H, W) on the CPU; without ``y``
    every class in turn.

    ``sampler`` holds keywords of ``sample``, such as an entry's; ``trace_options`` of the model
    says with which of them the process is shown.
    """
    check_able(model, "show how it samples", Traceable)
    assert isinstance(model, Traceable)
    options = model.trace_options(**sampler)
    frames = model.frames(n, labels_for(model, y, n), rng=rng, **options)
    return torch.stack([frame.cpu().clone() for frame in frames])


def process(
    model: GenerativeModel,
    n: int = 20,
    y: Tensor | None = None,
    *,
    rng: Generator,
    columns: int = 5,
    sampler: Mapping[str, Any] = MappingProxyType({}),
) -> list[np.ndarray]:
    """The sampling of ``n`` images as frames of an animation, at most ``FRAMES`` of uint8 (h, w);
    the last shows the samples. Arguments as of :func:`trace`.
    """
    states = _moments(trace(model, n, y, rng=rng, sampler=sampler), FRAMES)
    return [grids.grid(state, levels=model.spec.levels, columns=columns) for state in states]


def strip(
    model: GenerativeModel,
    n: int = 6,
    y: Tensor | None = None,
    *,
    rng: Generator,
    columns: int = 11,
    sampler: Mapping[str, Any] = MappingProxyType({}),
) -> np.ndarray:
    """The sampling of ``n`` images, a row each, at ``columns`` evenly spread moments: a picture,
    uint8 (h, w).
    """
    states = _moments(trace(model, n, y, rng=rng, sampler=sampler), columns)
    page = states.transpose(0, 1).flatten(0, 1)
    return grids.grid(page, levels=model.spec.levels, columns=len(states))


def _moments(states: Tensor, most: int) -> Tensor:
    """At most ``most`` of the states, evenly spread, the first and the last among them."""
    return states[torch.linspace(0, len(states) - 1, min(most, len(states))).round().long()]
