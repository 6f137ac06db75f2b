"""The gallery of an entry: every picture that its model is capable of, with titles and captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Generator, Tensor

from genbench.base import Encoder, GenerativeModel, Inpaintable, Latent, Termed, Traceable
from genbench.pictures import grids
from genbench.pictures.kinds import (
    classes,
    completions,
    exemplars,
    interpolation,
    labels_for,
    process,
    reconstructions,
    strip,
    traversal,
)
from genbench.pictures.picture import Picture

__all__ = ["everything"]

TERM_IMAGES = 10


def everything(
    model: GenerativeModel,
    x: Tensor,
    y: Tensor | None,
    *,
    rng_for: Callable[[str], Generator],
    sampler: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Picture]:
    """All pictures that the model is capable of.

    Arguments:
        model: in eval mode.
        x: test images to choose from.
        y: their labels, or None.
        rng_for: a generator for the name of a picture, so that no picture depends on the others.
        sampler: keywords of ``sample`` with which the entry samples, for the pictures of its
            process.
    """
    if isinstance(model, Latent):
        yield from _latent_pictures(model, x, y, rng_for)
    if isinstance(model, Traceable):
        data = grids.gif(process(model, rng=rng_for("process"), sampler=sampler))
        yield Picture(
            "process.gif",
            "process",
            "How it samples",
            "The states of sampling from the first to the finished images.",
            data,
        )
        caption = "The same at evenly spread moments, one image a row, from left to right."
        yield Picture(
            "process.png",
            "process",
            "How it samples, step by step",
            caption,
            grids.png(strip(model, rng=rng_for("strip"), sampler=sampler)),
        )
    if isinstance(model, Termed):
        from genbench.pictures.term_chart import term_chart  # imports matplotlib

        chosen = exemplars(x, y, TERM_IMAGES)
        labels = labels_for(model, None if y is None else y[chosen], TERM_IMAGES)
        terms = model.bound_terms(x[chosen].to(model.device), labels, rng=rng_for("terms"))
        caption = (
            f"What each step of the bound costs, on average over {TERM_IMAGES} test images, "
            "and the sum up to each step."
        )
        yield Picture(
            "terms.png", "terms", "Where the nats go", caption, term_chart(terms.cpu().numpy())
        )
    if isinstance(model, Inpaintable):
        caption = (
            "Left a test image, beside it the part that the model is given (the rest is "
            "grey), then completions that it draws."
        )
        picture = completions(model, x, y, rng=rng_for("completion"))
        yield Picture("completion.png", "completion", "Completions", caption, grids.png(picture))


def _latent_pictures(
    model: GenerativeModel, x: Tensor, y: Tensor | None, rng_for: Callable[[str], Generator]
) -> Iterator[Picture]:
    of_one_class = ", both of one class" if model.conditional else ""
    probe = _probe(model, rng_for("probe"))
    real_valued = probe.is_floating_point()
    way = "along the sphere" if real_valued else "one code after another"
    caption = f"Each row joins two random latents{of_one_class}, {way}."
    picture = interpolation(model, rng=rng_for("interpolation"))
    yield Picture(
        "interpolation.png", "interpolation", "Between random images", caption, grids.png(picture)
    )
    if isinstance(model, Encoder):
        caption = (
            f"Each row joins two test images{of_one_class}: the outermost are real, between "
            "them are decoded latents."
        )
        picture = interpolation(model, x, y, rng=rng_for("interpolation-images"), mode="images")
        yield Picture(
            "interpolation-images.png",
            "interpolation",
            "Between real images",
            caption,
            grids.png(picture),
        )
        caption = "Test images, and below each of them what encoding and decoding makes of it."
        picture = reconstructions(model, x, y, rng=rng_for("reconstruction"))
        yield Picture(
            "reconstruction.png", "reconstruction", "Reconstructions", caption, grids.png(picture)
        )
    if model.conditional:
        caption = (
            "A row has latents drawn by the same random numbers under each label in turn: "
            "what is alike in it is not told by the label."
        )
        picture = classes(model, rng=rng_for("classes"))
        yield Picture(
            "classes.png",
            "interpolation",
            "The same random numbers under every label",
            caption,
            grids.png(picture),
        )
    if (
        real_valued and probe.numel() < model.spec.dims
    ):  # one of as many coordinates as there are pixels says nothing by itself
        caption = (
            "One latent coordinate a row, from 2.5 standard deviations of the prior below its mean "
            "to as many above, all else unchanged: the "
            "coordinates that change the image most."
        )
        picture = traversal(model, rng=rng_for("traversal"))
        yield Picture(
            "traversal.png", "traversal", "Latent coordinates", caption, grids.png(picture)
        )


@torch.no_grad()
def _probe(model: GenerativeModel, rng: Generator) -> Tensor:
    """One latent, for its form."""
    assert isinstance(model, Latent)
    return model.prior(1, labels_for(model, None, 1), rng=rng)
