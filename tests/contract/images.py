"""All images of a tiny shape, toy data among them, labels and seeded generators."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch
from torch import Generator, Tensor

from genbench.base import DataSpec, GenerativeModel

__all__ = [
    "data_for",
    "each_label",
    "every_image",
    "frequencies",
    "index",
    "labels_of",
    "rng",
    "toy_data",
]


def rng(seed: int = 0) -> Generator:
    """A seeded generator."""
    return Generator().manual_seed(seed)


@functools.cache
def every_image(spec: DataSpec) -> Tensor:
    """All images of a shape, uint8 (S, 1, H, W), in the order of :func:`index`."""
    pixels = list(itertools.product(range(spec.levels), repeat=spec.dims))
    return torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, spec.height, spec.width)


def index(x: Tensor, spec: DataSpec) -> Tensor:
    """Position (B,) of each image in :func:`every_image`."""
    return x.flatten(1).long() @ spec.levels ** torch.arange(spec.dims - 1, -1, -1)


def frequencies(x: Tensor, spec: DataSpec) -> np.ndarray:
    """Share of each possible image among ``x``, float64 (S,)."""
    return np.bincount(index(x, spec).numpy(), minlength=len(every_image(spec))) / len(x)


@functools.cache
def toy_data(spec: DataSpec, n: int = 1536) -> tuple[Tensor, Tensor | None]:
    """Images near one of four patterns, which differ from class to class: pixels depend on each
    other, and latents are of use.
    """
    g, values, classes = rng(123), every_image(spec).flatten(1), max(spec.classes, 1)
    patterns = torch.randint(0, spec.levels, (classes, 2, spec.dims), generator=g)
    negatives = spec.levels - 1 - patterns
    patterns = torch.cat([patterns, negatives], dim=1)  # (classes, 4, D)
    same = (values == patterns[:, :, None]).sum(-1)  # (classes, 4, S)
    p = 0.9**same * (0.1 / (spec.levels - 1)) ** (spec.dims - same)
    shares = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    p = torch.einsum("ckS,k->cS", p.double(), shares)
    chosen = torch.multinomial(p, n // classes, replacement=True, generator=g)
    x = every_image(spec)[chosen.T.flatten()]  # chosen: (classes, n / classes)
    return x, torch.arange(len(x)) % classes if spec.classes else None


def data_for(model: GenerativeModel) -> tuple[Tensor, Tensor | None]:
    """The toy images, and their labels if the model takes them: what ``genbench.training.fit``
    would pass.
    """
    x, y = toy_data(model.spec)
    return x, y if model.conditional else None


def labels_of(model: GenerativeModel, n: int) -> Tensor | None:
    """Every class in turn for a conditional model, else None."""
    return torch.arange(n) % model.spec.classes if model.conditional else None


def each_label(model: GenerativeModel, n: int) -> list[Tensor | None]:
    """For each class the labels of ``n`` images of it; [None] for an unconditional model."""
    return [torch.full((n,), c) for c in range(model.spec.classes)] if model.conditional else [None]
