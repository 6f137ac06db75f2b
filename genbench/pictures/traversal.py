"""Kind ``traversal``: one latent coordinate after another turned from low to high."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator, Tensor

from genbench.base import GenerativeModel, Latent
from genbench.errors import UserError
from genbench.pictures import grids
from genbench.pictures.latent_paths import a_latent, prior_scale, turned
from genbench.pictures.picture import Picture
from genbench.pictures.subject import Subject, check_able, labels_for, repeated

__all__ = ["pictures", "traversal"]


def pictures(subject: Subject) -> Iterator[Picture]:
    """One, for a model with real-valued latents of fewer coordinates than an image has pixels: one
    coordinate of so many says nothing by itself.
    """
    model = subject.model
    if not isinstance(model, Latent):
        return
    z = a_latent(model, rng=subject.rng_for("probe"))
    if not z.is_floating_point() or z.numel() >= model.spec.dims:
        return
    yield Picture(
        "traversal.png",
        "traversal",
        "Latent coordinates",
        "One latent coordinate a row, from 2.5 standard deviations of the prior below its mean "
        "to as many above, all else unchanged: the coordinates that change the image most.",
        grids.png(traversal(model, rng=subject.rng_for("traversal"))),
    )


@torch.no_grad()
def traversal(
    model: GenerativeModel,
    *,
    rng: Generator,
    rows: int = 6,
    steps: int = 11,
    reach: float = 2.5,
    candidates: int = 64,
) -> np.ndarray:
    """One latent coordinate a row, turned from ``-reach`` to ``reach`` standard deviations of the
    prior in one and the same random latent.

    The rows are the coordinates that change the image most, of at most ``candidates`` spread over
    the latent.

    Returns:
        A picture, uint8 (h, w).

    Raises:
        UserError: the model has no latents, or codes, which have no low and high.
    """
    check_able(model, "traverse latents", Latent)
    assert isinstance(model, Latent)
    label = labels_for(model, None, 1)
    z = model.prior(1, label, rng=rng)
    if not z.is_floating_point():
        raise UserError(
            f"the latents of {type(model).__name__} are codes ({z.dtype}) without low and high; "
            "interpolate them instead"
        )
    scale = prior_scale(model, label, 1, rng=rng)
    tried = torch.linspace(0, z.numel() - 1, min(candidates, z.numel())).long().unique()

    def shown(coordinates: Tensor, values: Tensor) -> Tensor:
        latents = turned(z, coordinates, values, scale)
        return model.decode(latents, repeated(label, len(latents)), rng=rng)

    low, high = (shown(tried, torch.tensor([sign * reach])) for sign in (-1, 1))
    effect = (high.float() - low.float()).abs().mean((1, 2, 3)).cpu()
    best = tried[effect.argsort(descending=True, stable=True)[:rows]]
    page = shown(best, torch.linspace(-reach, reach, steps))
    return grids.grid(page, levels=model.spec.levels, columns=steps)
