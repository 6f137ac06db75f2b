"""Pictures of one trained entry for the command line, of any number of images and seed."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Generator, Tensor

from genbench import checkpoint, data, images, visuals
from genbench import device as devices
from genbench.base import GenerativeModel
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.params import Entry, Params, load_params
from genbench.seeding import generator_for

__all__ = ["animate", "interpolate", "reconstruct", "sample"]


def _load(profile: str, entry: str, purpose: str, seed: int) -> tuple[Params, Entry, GenerativeModel, Generator]:
    params = load_params(profile)
    block = params.entry(entry)
    place = devices.setup(params.compute)
    model = checkpoint.load(params.run(entry) / "weights.safetensors", device=place)
    return params, block, model, generator_for("picture", purpose, entry, seed, device=place)


def _check_suffix(file: Path, suffix: str) -> None:
    """Refuse a name before the work of minutes, not after it."""
    if file.suffix.lower() != suffix:
        raise UserError(f"{file}: the picture's name must end in {suffix}")


def _write(file: Path, content: bytes) -> None:
    write_bytes(file, content)
    print(file)


def _labels(model: GenerativeModel, text: str | None, n: int) -> Tensor | None:
    """The labels (n,) that ``text`` names, repeated; by default every class in turn for conditional models."""
    if text is None:
        return torch.arange(n, device=model.device) % model.spec.classes if model.conditional else None
    try:
        wanted = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--labels: must be integers with commas between them, like 0,1,2, got {text!r}") from None
    y = torch.tensor([wanted[i % len(wanted)] for i in range(n)], device=model.device)
    try:
        model.check_labels(n, y)
    except ValueError as error:
        raise UserError(f"--labels: {error}") from error
    return y


@torch.no_grad()
def sample(profile: str, entry: str, file: Path, *, n: int = 64, labels: str | None = None, seed: int = 0) -> None:
    """Draw ``n`` new samples into a PNG, by the sampler that is scored.

    Arguments:
        profile: the profile.
        entry: a trained entry.
        file: the picture.
        n: number of samples.
        labels: labels such as ``0,1,2`` for a conditional entry, repeated as often as needed; None: every class in turn.
        seed: another seed draws other samples.

    Raises:
        UserError: unknown entry, labels that the entry does not take, not a PNG.
    """
    _check_suffix(file, ".png")
    params, block, model, rng = _load(profile, entry, "sample", seed)
    y, size = _labels(model, labels, n), params.protocol.sample_chunk
    parts = [model.sample(len(part), None if y is None else y[part], rng=rng, **block.sample) for part in torch.arange(n).split(size)]
    classes = 1 if y is None else len(labels.split(",")) if labels else model.spec.classes
    columns = classes if classes > 1 else math.ceil(math.sqrt(n))  # a column for each label where there are several
    _write(file, images.png(images.grid(torch.cat(parts), levels=model.spec.levels, columns=columns)))


def interpolate(profile: str, entry: str, file: Path, *, real: bool = False, rows: int = 6, steps: int = 11, seed: int = 0) -> None:
    """Draw ways through the latent space into a PNG, between random latents or, if ``real``, between test images."""
    _check_suffix(file, ".png")
    params, block, model, rng = _load(profile, entry, "interpolate", seed)
    x, y = _test_images(params, block, seed) if real else (None, None)
    picture = visuals.interpolation(model, x, y, rng=rng, rows=rows, steps=steps, mode="images" if real else "prior")
    _write(file, images.png(picture))


def reconstruct(profile: str, entry: str, file: Path, *, n: int = 30, seed: int = 0) -> None:
    """Draw test images above their reconstructions into a PNG."""
    _check_suffix(file, ".png")
    params, block, model, rng = _load(profile, entry, "reconstruct", seed)
    x, y = _test_images(params, block, seed)
    _write(file, images.png(visuals.reconstructions(model, x, y, rng=rng, n=n)))


def animate(profile: str, entry: str, file: Path, *, n: int = 20, labels: str | None = None, seed: int = 0) -> None:
    """Draw the process of sampling into a GIF."""
    _check_suffix(file, ".gif")
    _, _, model, rng = _load(profile, entry, "animate", seed)
    frames = visuals.process(model, n, _labels(model, labels, n), rng=rng, columns=math.ceil(math.sqrt(n)))
    _write(file, images.gif(frames, max_bytes=4_000_000))


def _test_images(params: Params, block: Entry, seed: int) -> tuple[Tensor, Tensor | None]:
    """The test split in an order of its own for each seed, as it is for seed 0."""
    x, y = data.load_split(params.data(block.dataset), block.dataset, "test")
    if seed == 0:
        return x, y
    order = torch.randperm(len(x), generator=generator_for("picture", "order", seed))
    return x[order], None if y is None else y[order]
