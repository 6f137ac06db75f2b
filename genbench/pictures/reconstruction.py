"""Kind ``reconstruction``: real images above what is left of them after encoding and decoding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator, Tensor

from genbench.base import Encoder, GenerativeModel, Latent
from genbench.pictures import grids
from genbench.pictures.picture import Picture
from genbench.pictures.subject import Subject, check_able, exemplars, labels_for

__all__ = ["pictures", "reconstructions"]


def pictures(subject: Subject) -> Iterator[Picture]:
    """One, where the model encodes and decodes."""
    model = subject.model
    if not (isinstance(model, Latent) and isinstance(model, Encoder)):
        return
    rng = subject.rng_for("reconstruction")
    yield Picture(
        "reconstruction.png",
        "reconstruction",
        "Reconstructions",
        "Test images, and below each of them what encoding and decoding makes of it.",
        grids.png(reconstructions(model, subject.x, subject.y, rng=rng)),
    )


@torch.no_grad()
def reconstructions(
    model: GenerativeModel,
    x: Tensor,
    y: Tensor | None = None,
    *,
    rng: Generator,
    n: int = 30,
    columns: int = 10,
) -> np.ndarray:
    """Real images, and below each what encoding and decoding makes of it.

    Arguments:
        model: a ``Latent`` and ``Encoder``.
        x: images to choose from, uint8 (N, 1, H, W).
        y: their labels int64 (N,).
        rng: source of randomness, on the model's device.
        n: images; as many are shown as fill whole rows.
        columns: of the picture.

    Returns:
        A picture, uint8 (h, w).
    """
    check_able(model, "reconstruct", Latent, Encoder)
    assert isinstance(model, Latent) and isinstance(model, Encoder)
    columns = min(columns, n)
    chosen = exemplars(x, y, n - n % columns)
    labels = labels_for(model, None if y is None else y[chosen], len(chosen))
    real = x[chosen].to(model.device)
    again = model.decode(model.encode(real, labels, rng=rng), labels, rng=rng)
    rows = [images.unflatten(0, (-1, columns)) for images in (real, again)]
    pairs = torch.stack(rows, dim=1).flatten(0, 2)
    return grids.grid(pairs, levels=model.spec.levels, columns=columns)
