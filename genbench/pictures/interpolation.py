"""Kind ``interpolation``: from one image to another along the latent space, a row each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator, Tensor

from genbench.base import Encoder, GenerativeModel, Latent
from genbench.errors import UserError
from genbench.pictures import grids
from genbench.pictures.latent_paths import between, is_real_valued, prior_scale
from genbench.pictures.picture import Picture
from genbench.pictures.subject import Subject, check_able, exemplars, labels_for, repeated

__all__ = ["interpolation", "pictures"]


def pictures(subject: Subject) -> Iterator[Picture]:
    """Between random images, and between real ones where the model encodes images."""
    model = subject.model
    if not isinstance(model, Latent):
        return
    of_one_class = ", both of one class" if model.conditional else ""
    real_valued = is_real_valued(model, rng=subject.rng_for("probe"))
    way = "along the sphere" if real_valued else "one code after another"
    drawn = interpolation(model, rng=subject.rng_for("interpolation"))
    yield Picture(
        "interpolation.png",
        "interpolation",
        "Between random images",
        f"Each row joins two random latents{of_one_class}, {way}.",
        grids.png(drawn),
    )
    if isinstance(model, Encoder):
        rng = subject.rng_for("interpolation-images")
        drawn = interpolation(model, subject.x, subject.y, rng=rng, mode="images")
        yield Picture(
            "interpolation-images.png",
            "interpolation",
            "Between real images",
            f"Each row joins two test images{of_one_class}: the outermost are real, between "
            "them are decoded latents.",
            grids.png(drawn),
        )


@torch.no_grad()
def interpolation(
    model: GenerativeModel,
    x: Tensor | None = None,
    y: Tensor | None = None,
    *,
    rng: Generator,
    rows: int = 6,
    steps: int = 11,
    mode: str = "prior",
) -> np.ndarray:
    """From one image to another along the latent space, a row each.

    Arguments:
        model: a ``Latent``; with ``mode="images"`` an ``Encoder`` too.
        x: images to choose from with ``mode="images"``, uint8 (N, 1, H, W).
        y: their labels int64 (N,). The rows of a conditional model join two images of one class.
        rng: source of randomness, on the model's device.
        rows: pairs of images.
        steps: images per row. With ``mode="images"`` the two real images stand outside of them, at
            the ends.
        mode: ``"prior"`` joins random latents, ``"images"`` encodes real images.

    Returns:
        A picture, uint8 (h, w).

    Raises:
        UserError: the model cannot do it, no images, or another mode or number.
    """
    if mode not in ("prior", "images"):
        raise UserError(f"mode: must be 'prior' or 'images', got {mode!r}")
    if steps < 2 or rows < 1:
        raise UserError(f"steps must be at least 2 and rows at least 1, got {steps} and {rows}")
    if mode == "images":
        return _between_images(model, x, y, rng=rng, rows=rows, steps=steps)
    check_able(model, "interpolate", Latent)
    assert isinstance(model, Latent)
    labels = labels_for(model, None, rows)
    first, last = (model.prior(rows, labels, rng=rng) for _ in range(2))
    path = between(first, last, steps, prior_scale(model, labels, rows, rng=rng))
    shown = model.decode(path.flatten(0, 1), repeated(labels, steps), rng=rng)
    return grids.grid(shown, levels=model.spec.levels, columns=steps)


def _between_images(
    model: GenerativeModel,
    x: Tensor | None,
    y: Tensor | None,
    *,
    rng: Generator,
    rows: int,
    steps: int,
) -> np.ndarray:
    check_able(model, "interpolate between real images", Latent, Encoder)
    assert isinstance(model, Latent) and isinstance(model, Encoder)
    if x is None:
        raise UserError("x: mode 'images' needs images to choose from, got None")
    first, last = _pairs(model, x, y, rows)
    a, b = (x[index].to(model.device) for index in (first, last))
    labels = labels_for(model, None if y is None else y[first], rows)
    ends = [model.encode(images, labels, rng=rng) for images in (a, b)]
    path = between(ends[0], ends[1], steps, prior_scale(model, labels, rows, rng=rng))
    decoded = model.decode(path.flatten(0, 1), repeated(labels, steps), rng=rng)
    shown = decoded.unflatten(0, (rows, steps))
    page = torch.cat([a[:, None], shown, b[:, None]], dim=1).flatten(0, 1)
    return grids.grid(page, levels=model.spec.levels, columns=steps + 2)


def _pairs(model: GenerativeModel, x: Tensor, y: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
    """Indices (n,), (n,) of the two ends: of one class for conditional models, else of neighbouring
    classes where there are labels.
    """
    if not model.conditional or y is None:
        chosen = exemplars(x, y, 2 * n)
        return chosen[::2], chosen[1::2]
    first = exemplars(x, y, n)
    return first, torch.stack([torch.nonzero(y == y[i])[-1, 0] for i in first])
