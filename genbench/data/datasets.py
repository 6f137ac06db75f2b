"""The data sets by name: a module of this package that is no plumbing is one. Nothing is imported
before use.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

import genbench.data
from genbench.base import DataSpec
from genbench.errors import UserError, near

if TYPE_CHECKING:
    from genbench.data.raw_file import RawFile

__all__ = ["Source", "dataset_names", "sizes_of", "source", "spec_of"]

_PLUMBING = ("datasets", "download", "mirror", "raw_file", "splits", "subsets")


class Source(Protocol):
    """What the module of a data set defines.

    Attributes:
        SPEC: the shape of its images.
        SIZES: images of its splits ``train``, ``valid`` and ``test``.
    """

    SPEC: DataSpec
    SIZES: Mapping[str, int]

    def raw_files(self) -> list[RawFile]:
        """The published files that it is made from."""

    def splits(self, contents: Mapping[str, bytes]) -> dict[str, np.ndarray]:
        """Its splits: ``{train,valid,test}_x`` uint8 (N, H, W), and ``*_y`` uint8 (N,) where there
        are labels.

        Arguments:
            contents: of the published files, by name and in their order.
        """


def dataset_names() -> list[str]:
    """All data sets."""
    found = {module.name for module in pkgutil.iter_modules(genbench.data.__path__)}
    return sorted(found.difference(_PLUMBING))


def source(dataset: str) -> Source:
    """The module of a data set.

    Raises:
        UserError: unknown name, with near matches; or the module lacks what one must define.
    """
    if dataset not in dataset_names():
        raise UserError(f"{dataset!r} is no data set{near(dataset, dataset_names())}")
    module = importlib.import_module(f"{genbench.data.__name__}.{dataset}")
    missing = [
        name for name in ("SPEC", "SIZES", "raw_files", "splits") if not hasattr(module, name)
    ]
    if missing:
        raise UserError(f"{module.__file__}: a data set must define {', '.join(missing)}")
    return cast(Source, module)


def spec_of(dataset: str) -> DataSpec:
    """The shape of a data set's images; errors as of :func:`source`."""
    return source(dataset).SPEC


def sizes_of(dataset: str) -> Mapping[str, int]:
    """The images of each split of a data set; errors as of :func:`source`."""
    return source(dataset).SIZES
