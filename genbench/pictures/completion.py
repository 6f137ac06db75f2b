"""Kind ``completion``: real images of which a part is hidden, and what a model puts there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator, Tensor

from genbench.base import GenerativeModel, Inpaintable
from genbench.errors import UserError
from genbench.pictures import grids
from genbench.pictures.picture import Picture
from genbench.pictures.subject import Subject, check_able, exemplars, labels_for, repeated

__all__ = ["completions", "pictures"]


def pictures(subject: Subject) -> Iterator[Picture]:
    """One, where the model can complete images."""
    model = subject.model
    if not isinstance(model, Inpaintable):
        return
    drawn = completions(model, subject.x, subject.y, rng=subject.rng_for("completion"))
    yield Picture(
        "completion.png",
        "completion",
        "Completions",
        "Left a test image, beside it the part that the model is given (the rest is grey), then "
        "completions that it draws.",
        grids.png(drawn),
    )


@torch.no_grad()
def completions(
    model: GenerativeModel,
    x: Tensor,
    y: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    rng: Generator,
    rows: int = 10,
    draws: int = 6,
) -> np.ndarray:
    """Real images that the model completes, a row each: the image, its known part on grey, then
    ``draws`` completions.

    Arguments:
        model: an ``Inpaintable``.
        x: images to choose from, uint8 (N, 1, H, W).
        y: their labels int64 (N,).
        mask: bool (H, W), True where the image is known; None: the half that the model draws first,
            if it has an order, else the upper half.
        rng: source of randomness, on the model's device.
        rows: images.
        draws: completions of each.

    Returns:
        A picture, uint8 (h, w).

    Raises:
        UserError: the model cannot complete images, or the mask has another shape or type.
    """
    check_able(model, "complete images", Inpaintable)
    assert isinstance(model, Inpaintable)
    height, width = model.spec.height, model.spec.width
    mask = _first_half(model) if mask is None else mask
    if mask.dtype != torch.bool or tuple(mask.shape) != (height, width):
        raise UserError(
            f"mask: must be bool ({height}, {width}), got {mask.dtype} {tuple(mask.shape)}"
        )
    chosen = exemplars(x, y, rows)
    labels = repeated(labels_for(model, None if y is None else y[chosen], rows), draws)
    real = x[chosen].to(model.device)
    given = real.repeat_interleave(draws, 0)
    done = model.complete(given, mask.to(model.device), labels, rng=rng)
    greys = torch.from_numpy(grids.stretch(real, levels=model.spec.levels))[:, None]
    known = greys.where(mask, torch.tensor(grids.GAP_GREY, dtype=torch.uint8))
    drawn = torch.from_numpy(grids.stretch(done, levels=model.spec.levels))
    page = torch.cat([greys, known, drawn.unflatten(0, (rows, draws))], dim=1)
    return grids.grid(page.flatten(0, 1)[:, None], levels=256, columns=draws + 2)


def _first_half(model: GenerativeModel) -> Tensor:
    """Mask (H, W) of the half that a model with an order of its pixels draws first (a condition on
    it is exact); else the upper half.
    """
    dims = model.spec.dims
    pixel_order = getattr(model, "pixel_order", None)
    order = torch.arange(dims) if pixel_order is None else pixel_order().cpu()
    mask = torch.zeros(dims, dtype=torch.bool)
    mask[order[: dims // 2]] = True
    return mask.view(model.spec.height, model.spec.width)
