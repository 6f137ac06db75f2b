"""Pictures of one trained entry for the command line, of any number of images and seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from genbench import weights
from genbench.base import GenerativeModel
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Entry, Params
from genbench.data.splits import load_split
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.hardware import device as devices
from genbench.pictures import classes as class_kind
from genbench.pictures import grids
from genbench.pictures.asked import chosen_labels, mask_of, upper_rows, with_digits
from genbench.pictures.completion import completions
from genbench.pictures.interpolation import interpolation
from genbench.pictures.reconstruction import reconstructions
from genbench.pictures.sampling_process import process
from genbench.pictures.traversal import traversal
from genbench.seeding import generator_for

__all__ = ["animate", "inpaint", "interpolate", "reconstruct", "sample", "traverse"]

_MAX_ANIMATED = 400
"""Images of an animation: all of its frames are in memory at once, and more do not fit into its
file.
"""


@dataclass(frozen=True, slots=True)
class _Trained:
    """A trained entry, and the randomness of a picture of it."""

    params: Params
    entry: Entry
    model: GenerativeModel
    rng: Generator

    @classmethod
    def load(cls, profile: str, name: str, purpose: str, seed: int) -> _Trained:
        params = load_params(profile)
        entry = params.entry(name)
        place = devices.setup(params.compute)
        model = weights.load(Layout.of(params).run_dir(name).weights, device=place)
        rng = generator_for("picture", purpose, name, seed, device=place)
        return cls(params, entry, model, rng)

    def test_images(self, seed: int) -> tuple[Tensor, Tensor | None]:
        """The test split in an order of its own for each seed, as it is for seed 0."""
        dataset = self.entry.dataset
        x, y = load_split(Layout.of(self.params).data(dataset), dataset, "test")
        if seed == 0:
            return x, y
        order = torch.randperm(len(x), generator=generator_for("picture", "order", seed))
        return x[order], None if y is None else y[order]


def _check_suffix(file: Path, suffix: str) -> None:
    """Refuse a name before the work of minutes, not after it."""
    if file.suffix.lower() != suffix:
        raise UserError(f"{file}: the picture's name must end in {suffix}")


def _write(file: Path, content: bytes) -> None:
    write_bytes(file, content)
    print(file)


@torch.no_grad()
def sample(
    profile: str, name: str, file: Path, *, n: int = 64, labels: str | None = None, seed: int = 0
) -> None:
    """Draw ``n`` new samples into a PNG, by the sampler that is scored.

    Arguments:
        profile: the profile.
        name: a trained entry.
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
    trained = _Trained.load(profile, name, "sample", seed)
    model, options = trained.model, trained.entry.sample
    y = chosen_labels(model, labels, n)
    parts = [
        model.sample(len(part), None if y is None else y[part], rng=trained.rng, **options)
        for part in torch.arange(n).split(trained.params.protocol.sample_chunk)
    ]
    classes = 1 if y is None else len(labels.split(",")) if labels else model.spec.classes
    # A column for each label where there are several.
    columns = classes if classes > 1 else math.ceil(math.sqrt(n))
    page = grids.grid(torch.cat(parts), levels=model.spec.levels, columns=columns)
    _write(file, grids.png(page))


def interpolate(
    profile: str,
    name: str,
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
    trained = _Trained.load(profile, name, "interpolate", seed)
    model, rng = trained.model, trained.rng
    if classes:
        _write(file, grids.png(class_kind.classes(model, rng=rng, rows=rows)))
        return
    x, y = trained.test_images(seed) if real else (None, None)
    mode = "images" if real else "prior"
    page = interpolation(model, x, y, rng=rng, rows=rows, steps=steps or 11, mode=mode)
    _write(file, grids.png(page))


def reconstruct(profile: str, name: str, file: Path, *, n: int = 30, seed: int = 0) -> None:
    """Draw test images above their reconstructions into a PNG."""
    _check_suffix(file, ".png")
    grids.check_count(n=n)
    trained = _Trained.load(profile, name, "reconstruct", seed)
    x, y = trained.test_images(seed)
    _write(file, grids.png(reconstructions(trained.model, x, y, rng=trained.rng, n=n)))


def traverse(
    profile: str, name: str, file: Path, *, rows: int = 6, steps: int = 11, seed: int = 0
) -> None:
    """Draw latent coordinates from low to high into a PNG, those that change the image most."""
    _check_suffix(file, ".png")
    grids.check_count(rows=rows, steps=steps)
    trained = _Trained.load(profile, name, "traverse", seed)
    page = traversal(trained.model, rng=trained.rng, rows=rows, steps=steps)
    _write(file, grids.png(page))


def animate(
    profile: str, name: str, file: Path, *, n: int = 20, labels: str | None = None, seed: int = 0
) -> None:
    """Draw the process of sampling into a GIF."""
    _check_suffix(file, ".gif")
    grids.check_count(most=_MAX_ANIMATED, n=n)
    trained = _Trained.load(profile, name, "animate", seed)
    model, sampler = trained.model, trained.entry.sample
    y, columns = chosen_labels(model, labels, n), math.ceil(math.sqrt(n))
    frames = process(model, n, y, rng=trained.rng, columns=columns, sampler=sampler)
    _write(file, grids.gif(frames, max_bytes=4_000_000))


def inpaint(
    profile: str,
    name: str,
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
        name: a trained entry.
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
    trained = _Trained.load(profile, name, "inpaint", seed)
    model, known = trained.model, None
    if mask is not None:
        known = mask_of(mask, model.spec)
    elif rows is not None:
        known = upper_rows(rows, model.spec)
    x, y = trained.test_images(seed)
    if digits is not None:
        x, y = with_digits(x, y, digits)
    if n > len(x):
        raise UserError(f"--n: there are {len(x)} such test images, got {n}")
    try:
        page = completions(model, x, y, known, rng=trained.rng, rows=n, draws=draws)
    except UserError:
        raise
    except ValueError as error:  # the model refuses the mask
        raise UserError(str(error) if mask is None else f"{mask}: {error}") from error
    _write(file, grids.png(page))
