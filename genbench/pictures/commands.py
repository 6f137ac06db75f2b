"""Pictures of one trained entry for the command line, of any number of images and seed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from genbench import weights
from genbench.base import GenerativeModel
from genbench.config.layout import Layout
from genbench.config.params import Entry, Params, load_params
from genbench.data import datasets
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.hardware import device as devices
from genbench.pictures import grids, kinds
from genbench.seeding import generator_for

__all__ = ["animate", "inpaint", "interpolate", "reconstruct", "sample", "traverse"]

_MAX_ANIMATED = 400
"""Images of an animation: all of its frames are in memory at once, and more do not fit into its
file.
"""


def _load(
    profile: str, entry: str, purpose: str, seed: int
) -> tuple[Params, Entry, GenerativeModel, Generator]:
    params = load_params(profile)
    block = params.entry(entry)
    place = devices.setup(params.compute)
    model = weights.load(Layout.of(params).run_dir(entry).weights, device=place)
    return params, block, model, generator_for("picture", purpose, entry, seed, device=place)


def _check_suffix(file: Path, suffix: str) -> None:
    """Refuse a name before the work of minutes, not after it."""
    if file.suffix.lower() != suffix:
        raise UserError(f"{file}: the picture's name must end in {suffix}")


def _write(file: Path, content: bytes) -> None:
    write_bytes(file, content)
    print(file)


def _labels(model: GenerativeModel, text: str | None, n: int) -> Tensor | None:
    """The labels (n,) that ``text`` names, repeated; by default every class in turn for conditional
    models.
    """
    if text is None:
        return (
            torch.arange(n, device=model.device) % model.spec.classes if model.conditional else None
        )
    try:
        wanted = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"--labels: must be integers with commas between them, like 0,1,2, got {text!r}"
        ) from None
    y = torch.tensor([wanted[i % len(wanted)] for i in range(n)], device=model.device)
    try:
        model.check_labels(n, y)
    except ValueError as error:
        raise UserError(f"--labels: {error}") from error
    return y


@torch.no_grad()
def sample(
    profile: str, entry: str, file: Path, *, n: int = 64, labels: str | None = None, seed: int = 0
) -> None:
    """Draw ``n`` new samples into a PNG, by the sampler that is scored.

    Arguments:
        profile: the profile.
        entry: a trained entry.
        file: the picture.
        n: number of samples.
        labels: labels such as ``0,1,2`` for a conditional entry, repeated as often as needed; None:
            every class in turn.
        seed: another seed draws other samples.

    Raises:
        UserError: unknown entry, labels that the entry does not take, not a PNG, too many images.
    """
    _check_suffix(file, ".png")
    grids.check_count(n=n)
    params, block, model, rng = _load(profile, entry, "sample", seed)
    y, size = _labels(model, labels, n), params.protocol.sample_chunk
    parts = [
        model.sample(len(part), None if y is None else y[part], rng=rng, **block.sample)
        for part in torch.arange(n).split(size)
    ]
    classes = 1 if y is None else len(labels.split(",")) if labels else model.spec.classes
    columns = (
        classes if classes > 1 else math.ceil(math.sqrt(n))
    )  # a column for each label where there are several
    _write(file, grids.png(grids.grid(torch.cat(parts), levels=model.spec.levels, columns=columns)))


def interpolate(
    profile: str,
    entry: str,
    file: Path,
    *,
    real: bool = False,
    classes: bool = False,
    rows: int = 6,
    steps: int | None = None,
    seed: int = 0,
) -> None:
    """Draw ways through the latent space into a PNG: between random latents, if ``real`` between
    test images, if ``classes`` from label to label.
    """
    _check_suffix(file, ".png")
    grids.check_count(rows=rows, steps=steps or 11)
    if real and classes:
        raise UserError("--real and --classes exclude each other")
    if classes and steps is not None:
        raise UserError("--steps and --classes exclude each other: there is one image per label")
    params, block, model, rng = _load(profile, entry, "interpolate", seed)
    if classes:
        _write(file, grids.png(kinds.classes(model, rng=rng, rows=rows)))
        return
    x, y = _test_images(params, block, seed) if real else (None, None)
    picture = kinds.interpolation(
        model, x, y, rng=rng, rows=rows, steps=steps or 11, mode="images" if real else "prior"
    )
    _write(file, grids.png(picture))


def reconstruct(profile: str, entry: str, file: Path, *, n: int = 30, seed: int = 0) -> None:
    """Draw test images above their reconstructions into a PNG."""
    _check_suffix(file, ".png")
    grids.check_count(n=n)
    params, block, model, rng = _load(profile, entry, "reconstruct", seed)
    x, y = _test_images(params, block, seed)
    _write(file, grids.png(kinds.reconstructions(model, x, y, rng=rng, n=n)))


def traverse(
    profile: str, entry: str, file: Path, *, rows: int = 6, steps: int = 11, seed: int = 0
) -> None:
    """Draw latent coordinates from low to high into a PNG, those that change the image most."""
    _check_suffix(file, ".png")
    grids.check_count(rows=rows, steps=steps)
    _, _, model, rng = _load(profile, entry, "traverse", seed)
    _write(file, grids.png(kinds.traversal(model, rng=rng, rows=rows, steps=steps)))


def animate(
    profile: str, entry: str, file: Path, *, n: int = 20, labels: str | None = None, seed: int = 0
) -> None:
    """Draw the process of sampling into a GIF."""
    _check_suffix(file, ".gif")
    grids.check_count(most=_MAX_ANIMATED, n=n)
    _, block, model, rng = _load(profile, entry, "animate", seed)
    columns = math.ceil(math.sqrt(n))
    frames = kinds.process(
        model, n, _labels(model, labels, n), rng=rng, columns=columns, sampler=block.sample
    )
    _write(file, grids.gif(frames, max_bytes=4_000_000))


def inpaint(
    profile: str,
    entry: str,
    file: Path,
    *,
    rows: int | None = None,
    mask: Path | None = None,
    digits: str | None = None,
    n: int = 10,
    draws: int = 6,
    seed: int = 0,
) -> None:
    """Draw completions of test images into a PNG.

    Arguments:
        profile: the profile.
        entry: a trained entry.
        file: the picture.
        rows: upper rows of the images that are known; default: the half that the model draws first.
        mask: in place of ``rows``, a PNG of the images' size, white where they are known.
        digits: labels such as ``3,7`` of the images to complete.
        n: number of images.
        draws: completions of each.
        seed: another seed takes other images and draws other completions.

    Raises:
        UserError: an entry that cannot complete images, digits that the data does not have, a mask
            of another size or against the order.
    """
    _check_suffix(file, ".png")
    grids.check_count(n=n, draws=draws)
    params, block, model, rng = _load(profile, entry, "inpaint", seed)
    known = (
        _read_mask(mask, model)
        if mask is not None
        else None
        if rows is None
        else _upper(rows, model)
    )
    x, y = _test_images(params, block, seed)
    if digits is not None:
        x, y = _with_digits(x, y, digits)
    if n > len(x):
        raise UserError(f"--n: there are {len(x)} such test images, got {n}")
    try:
        picture = kinds.completions(model, x, y, known, rng=rng, rows=n, draws=draws)
    except UserError:
        raise
    except ValueError as error:  # the model refuses the mask
        raise UserError(str(error) if mask is None else f"{mask}: {error}") from error
    _write(file, grids.png(picture))


def _upper(rows: int, model: GenerativeModel) -> Tensor:
    if not 0 <= rows < model.spec.height:
        raise UserError(f"--rows: must be 0..{model.spec.height - 1}, got {rows}")
    return (torch.arange(model.spec.height) < rows)[:, None].expand(-1, model.spec.width)


def _read_mask(file: Path, model: GenerativeModel) -> Tensor:
    shape = (model.spec.height, model.spec.width)
    try:
        grey = np.asarray(grids.read_picture(file, "L"))
    except UserError as error:
        raise UserError(f"--mask: {error}") from error
    if grey.shape != shape:
        raise UserError(
            f"--mask: {file} must have {shape[1]} x {shape[0]} pixels like the images, got "
            f"{grey.shape[1]} x {grey.shape[0]}"
        )
    known = torch.from_numpy(grey >= 128)
    if bool(known.all()):
        raise UserError(f"--mask: {file} is white everywhere, so there is nothing to draw")
    return known


def _with_digits(x: Tensor, y: Tensor | None, text: str) -> tuple[Tensor, Tensor]:
    """The images and labels whose labels ``text`` names."""
    if y is None:
        raise UserError("--digits: this data set has no labels")
    try:
        wanted = torch.tensor([int(part) for part in text.split(",")])
    except ValueError:
        raise UserError(
            f"--digits: must be integers with commas between them, like 3,7, got {text!r}"
        ) from None
    unknown = sorted(set(wanted.tolist()) - set(y.unique().tolist()))
    if unknown:
        raise UserError(f"--digits: labels are {int(y.min())}..{int(y.max())}, got {unknown[0]}")
    chosen = torch.isin(y, wanted)
    return x[chosen], y[chosen]


def _test_images(params: Params, block: Entry, seed: int) -> tuple[Tensor, Tensor | None]:
    """The test split in an order of its own for each seed, as it is for seed 0."""
    x, y = datasets.load_split(Layout.of(params).data(block.dataset), block.dataset, "test")
    if seed == 0:
        return x, y
    order = torch.randperm(len(x), generator=generator_for("picture", "order", seed))
    return x[order], None if y is None else y[order]
