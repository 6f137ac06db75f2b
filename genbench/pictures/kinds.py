"""The kinds of pictures, a module each, and all pictures that a model is capable of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from torch import Generator, Tensor

from genbench.base import GenerativeModel
from genbench.pictures import (
    classes,
    completion,
    interpolation,
    reconstruction,
    sampling_process,
    terms,
    traversal,
)
from genbench.pictures.picture import Picture
from genbench.pictures.subject import Subject

__all__ = ["KINDS", "everything"]

KINDS = (
    interpolation,
    reconstruction,
    classes,
    traversal,
    sampling_process,
    terms,
    completion,
)
"""The kinds of pictures, in the order in which they are shown. Each module has a function
``pictures``, which finds what a model is capable of by isinstance, never by its name.
"""


def everything(
    model: GenerativeModel,
    x: Tensor,
    y: Tensor | None,
    *,
    rng_for: Callable[[str], Generator],
    sampler: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Picture]:
    """All pictures that the model is capable of; arguments as the attributes of
    :class:`~genbench.pictures.subject.Subject`.
    """
    subject = Subject(model, x, y, rng_for, sampler)
    for kind in KINDS:
        yield from kind.pictures(subject)
