"""Kind ``interpolation``, between classes: the same random numbers under every label."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator

from genbench.base import GenerativeModel, Latent
from genbench.errors import UserError
from genbench.pictures import grids
from genbench.pictures.picture import Picture
from genbench.pictures.subject import Subject, check_able

__all__ = ["classes", "pictures"]


def pictures(subject: Subject) -> Iterator[Picture]:
    """One, for a conditional model with latents."""
    model = subject.model
    if not (isinstance(model, Latent) and model.conditional):
        return
    yield Picture(
        "classes.png",
        "interpolation",
        "The same random numbers under every label",
        "A row has latents drawn by the same random numbers under each label in turn: what is "
        "alike in it is not told by the label.",
        grids.png(classes(model, rng=subject.rng_for("classes"))),
    )


@torch.no_grad()
def classes(model: GenerativeModel, *, rng: Generator, rows: int = 6) -> np.ndarray:
    """A random latent a row, drawn from the prior of each label by the same random numbers and
    decoded under it, a column each: a picture, uint8 (h, w).

    Raises:
        UserError: the model has no latents, or no labels.
    """
    check_able(model, "decode latents", Latent)
    if not model.conditional:
        raise UserError(
            f"this {type(model).__name__} is unconditional and has no labels to decode under; "
            "train one with conditional: true"
        )
    assert isinstance(model, Latent)
    count = model.spec.classes
    state, drawn = rng.get_state(), []
    for label in range(count):
        rng.set_state(state)
        y = torch.full((rows,), label, device=model.device)
        drawn.append(model.prior(rows, y, rng=rng))
    z = torch.stack(drawn, 1).flatten(0, 1)
    labels = torch.arange(count, device=model.device).repeat(rows)
    return grids.grid(model.decode(z, labels, rng=rng), levels=model.spec.levels, columns=count)
