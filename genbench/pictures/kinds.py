"""Pictures of what a model is capable of; its capabilities are found by isinstance, never by name.

| function            | needs                          | picture                                                                     |
|---------------------|--------------------------------|-----------------------------------------------------------------------------|
| ``interpolation``   | ``Latent``                     | from one random image to another, along the latent space                    |
| ``interpolation``   | ``Latent`` and ``Encoder``     | with ``mode="images"``: from one real image to another                      |
| ``classes``         | ``Latent``, a conditional model| one latent under each label, by the same random numbers                     |
| ``traversal``       | ``Latent``, real-valued        | one latent coordinate after another turned from low to high                 |
| ``reconstructions`` | ``Latent`` and ``Encoder``     | real images above what is left of them after encoding and decoding          |
| ``process``         | ``Traceable``                  | frames of an animation of sampling; ``strip`` shows a few moments on paper  |
| ``completions``     | ``Inpaintable``                | real images of which a part is hidden, and several completions each         |

All return grey pictures, uint8 (h, w), for ``images.png`` or ``images.gif``, and raise UserError
naming the models that can where this one cannot. ``genbench.pictures.gallery`` makes all of them
for one model. Images ``x`` are uint8 (N, 1, H, W) levels; labels ``y`` int64 (N,) are passed on to
conditional models and only help to choose images for the others. ``rng`` lives on the model's
device.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from genbench.base import Encoder, GenerativeModel, Inpaintable, Latent, Traceable
from genbench.errors import UserError
from genbench.pictures import grids
from genbench.pictures.latent_paths import between, prior_scale, turned
from genbench.registry import model_classes

__all__ = [
    "classes",
    "completions",
    "exemplars",
    "interpolation",
    "labels_for",
    "process",
    "reconstructions",
    "strip",
    "trace",
    "traversal",
]

FRAMES = 60
"""Most frames of an animation."""


def _require(model: GenerativeModel, doing: str, *capabilities: type) -> None:
    """UserError unless ``model`` has all ``capabilities``."""
    if all(isinstance(model, capability) for capability in capabilities):
        return
    able = [
        name
        for name, cls in model_classes()[0].items()
        if all(issubclass(cls, capability) for capability in capabilities)
    ]
    lacking = " and ".join(c.__name__ for c in capabilities if not isinstance(model, c))
    raise UserError(
        f"{type(model).__name__} cannot {doing}: it is not {lacking}. Models that can: "
        f"{', '.join(able) or 'none'}"
    )


def labels_for(model: GenerativeModel, y: Tensor | None, n: int) -> Tensor | None:
    """Labels for ``n`` images of a conditional model: the first of ``y``, or every class in turn;
    None for an unconditional model.
    """
    if not model.conditional:
        return None
    return (
        torch.arange(n, device=model.device) % model.spec.classes
        if y is None
        else y[:n].to(model.device)
    )


def _repeat(y: Tensor | None, times: int) -> Tensor | None:
    return None if y is None else y.repeat_interleave(times)


def exemplars(x: Tensor, y: Tensor | None, n: int) -> Tensor:
    """Indices (n,) of images to show: every class in turn where there are labels, else spread over
    the split.
    """
    if len(x) < n:
        raise UserError(f"x: {n} images are needed, got {len(x)}")
    if y is None:
        return torch.arange(n) * (len(x) // n)
    groups = [torch.nonzero(y == label)[:, 0] for label in y.unique()]
    turns = [
        group[turn]
        for turn in range(max(map(len, groups)))
        for group in groups
        if turn < len(group)
    ]
    return torch.stack(turns[:n])


# ---------------------------------------------------------------------- latent space


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
        x: images to choose from with ``mode="images"``.
        y: their labels. The rows of a conditional model join two images of one class.
        rng: source of randomness.
        rows: pairs of images.
        steps: images per row. With ``mode="images"`` the two real images stand outside of them, at
            the ends.
        mode: ``"prior"`` joins random latents, ``"images"`` encodes real images.

    Returns:
        A picture, uint8 (h, w).
    """
    if mode not in ("prior", "images"):
        raise UserError(f"mode: must be 'prior' or 'images', got {mode!r}")
    if steps < 2 or rows < 1:
        raise UserError(f"steps must be at least 2 and rows at least 1, got {steps} and {rows}")
    if mode == "images":
        return _between_images(model, x, y, rng=rng, rows=rows, steps=steps)
    _require(model, "interpolate", Latent)
    assert isinstance(model, Latent)
    labels = labels_for(model, None, rows)
    ends = [model.prior(rows, labels, rng=rng) for _ in range(2)]
    path = between(ends[0], ends[1], steps, prior_scale(model, labels, rows, rng=rng)).flatten(0, 1)
    return grids.grid(
        model.decode(path, _repeat(labels, steps), rng=rng), levels=model.spec.levels, columns=steps
    )


def _between_images(
    model: GenerativeModel,
    x: Tensor | None,
    y: Tensor | None,
    *,
    rng: Generator,
    rows: int,
    steps: int,
) -> np.ndarray:
    _require(model, "interpolate between real images", Latent, Encoder)
    assert isinstance(model, Latent) and isinstance(model, Encoder)
    if x is None:
        raise UserError("x: mode 'images' needs images to choose from, got None")
    first, last = _pairs(model, x, y, rows)
    a, b = (x[index].to(model.device) for index in (first, last))
    labels = labels_for(model, None if y is None else y[first], rows)
    ends = [model.encode(images_, labels, rng=rng) for images_ in (a, b)]
    path = between(ends[0], ends[1], steps, prior_scale(model, labels, rows, rng=rng)).flatten(0, 1)
    shown = model.decode(path, _repeat(labels, steps), rng=rng).unflatten(0, (rows, steps))
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


@torch.no_grad()
def classes(model: GenerativeModel, *, rng: Generator, rows: int = 6) -> np.ndarray:
    """A random latent a row, drawn from the prior of each label by the same random numbers and
    decoded under it, a column each.
    """
    _require(model, "decode latents", Latent)
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
        drawn.append(model.prior(rows, torch.full((rows,), label, device=model.device), rng=rng))
    z = torch.stack(drawn, 1).flatten(0, 1)
    labels = torch.arange(count, device=model.device).repeat(rows)
    return grids.grid(model.decode(z, labels, rng=rng), levels=model.spec.levels, columns=count)


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
    """
    _require(model, "traverse latents", Latent)
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
        return model.decode(latents, _repeat(label, len(latents)), rng=rng)

    low, high = (shown(tried, torch.tensor([sign * reach])) for sign in (-1, 1))
    effect = (high.float() - low.float()).abs().mean((1, 2, 3)).cpu()
    best = tried[effect.argsort(descending=True, stable=True)[:rows]]
    return grids.grid(
        shown(best, torch.linspace(-reach, reach, steps)), levels=model.spec.levels, columns=steps
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
    """Real images, and below each what encoding and decoding makes of it."""
    _require(model, "reconstruct", Latent, Encoder)
    assert isinstance(model, Latent) and isinstance(model, Encoder)
    columns = min(columns, n)
    chosen = exemplars(x, y, n - n % columns)
    labels = labels_for(model, None if y is None else y[chosen], len(chosen))
    real = x[chosen].to(model.device)
    again = model.decode(model.encode(real, labels, rng=rng), labels, rng=rng)
    pairs = torch.stack(
        [real.unflatten(0, (-1, columns)), again.unflatten(0, (-1, columns))], dim=1
    )
    return grids.grid(pairs.flatten(0, 2), levels=model.spec.levels, columns=columns)


# ---------------------------------------------------------------------- sampling


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
    _require(model, "show how it samples", Traceable)
    assert isinstance(model, Traceable)
    options = model.trace_options(**sampler)
    frames = model.frames(n, labels_for(model, y, n), rng=rng, **options)
    return torch.stack([frame.cpu().clone() for frame in frames])


def _moments(states: Tensor, most: int) -> Tensor:
    """At most ``most`` of the states, evenly spread, the first and the last among them."""
    return states[torch.linspace(0, len(states) - 1, min(most, len(states))).round().long()]


def process(
    model: GenerativeModel,
    n: int = 20,
    y: Tensor | None = None,
    *,
    rng: Generator,
    columns: int = 5,
    sampler: Mapping[str, Any] = MappingProxyType({}),
) -> list[np.ndarray]:
    """The sampling of ``n`` images as frames for ``images.gif``, at most ``FRAMES``; the last shows
    the samples.
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
    """The sampling of ``n`` images, a row each, at ``columns`` evenly spread moments."""
    states = _moments(trace(model, n, y, rng=rng, sampler=sampler), columns)
    return grids.grid(
        states.transpose(0, 1).flatten(0, 1), levels=model.spec.levels, columns=len(states)
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
        x: images to choose from.
        y: their labels.
        mask: bool (H, W), True where the image is known; None: the half that the model draws first,
            if it has an order, else the upper half.
        rng: source of randomness.
        rows: images.
        draws: completions of each.
    """
    _require(model, "complete images", Inpaintable)
    assert isinstance(model, Inpaintable)
    height, width = model.spec.height, model.spec.width
    mask = _first_half(model) if mask is None else mask
    if mask.dtype != torch.bool or tuple(mask.shape) != (height, width):
        raise UserError(
            f"mask: must be bool ({height}, {width}), got {mask.dtype} {tuple(mask.shape)}"
        )
    chosen = exemplars(x, y, rows)
    labels = labels_for(model, None if y is None else y[chosen], rows)
    real = x[chosen].to(model.device)
    done = model.complete(
        real.repeat_interleave(draws, 0), mask.to(model.device), _repeat(labels, draws), rng=rng
    )
    greys = torch.from_numpy(grids.stretch(real, levels=model.spec.levels))[:, None]
    known = greys.where(mask, torch.tensor(grids.GAP_GREY, dtype=torch.uint8))
    completed = torch.from_numpy(grids.stretch(done, levels=model.spec.levels)).unflatten(
        0, (rows, draws)
    )
    return grids.grid(
        torch.cat([greys, known, completed], dim=1).flatten(0, 1)[:, None],
        levels=256,
        columns=draws + 2,
    )


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
