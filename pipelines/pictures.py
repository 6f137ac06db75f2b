"""Stage ``pictures``: weights and test images in, pictures of what the model is capable of out."""

from __future__ import annotations

import functools
from pathlib import Path

from genbench.config.params import Params
from genbench.data.splits import load_split
from genbench.files import replace_directory, write_bytes, write_json
from genbench.hardware import device
from genbench.pictures import kinds
from genbench.pictures.picture import LIST
from genbench.seeding import generator_for
from genbench.weights import load

__all__ = ["run"]


def run(params: Params, name: str, *, data: Path, weights: Path, pictures: Path) -> None:
    """Draw all pictures of an entry.

    Arguments:
        params: the profile.
        name: the entry.
        data: read: the arrays of its data set.
        weights: read: its weights.
        pictures: written: the folder of the pictures, and of a file that lists them; an empty list
            if the model can show nothing.
    """
    entry = params.entry(name)
    place = device.setup(params.compute)
    model = load(weights, device=place)
    x, y = load_split(data, entry.dataset, "test")
    # "visuals" is what this stage was called once: a seed of another name draws other pictures.
    rng_for = functools.partial(generator_for, "visuals", name, entry.seed, device=place)
    with replace_directory(pictures) as folder:
        listed = []
        for picture in kinds.everything(model, x, y, rng_for=rng_for, sampler=entry.sample):
            write_bytes(folder / picture.file, picture.data)
            listed.append(picture.listed)
        write_json(folder / LIST, listed)
