"""Stage ``visuals@entry``: weights and test images in, pictures of what the model is capable of
out.
"""

from __future__ import annotations

import functools
from dataclasses import asdict

from genbench import weights
from genbench.config.params import Params
from genbench.data.splits import load_split
from genbench.files import replace_directory, write_bytes, write_json
from genbench.hardware import device
from genbench.pictures import gallery
from genbench.seeding import generator_for

__all__ = ["run"]


def run(params: Params, entry: str) -> None:
    """Write ``visuals/`` of an entry: the pictures, and visuals.json, which lists them (an empty
    list if the model can show nothing).
    """
    block = params.entry(entry)
    place = device.setup(params.compute)
    model = weights.load(params.run(entry), device=place)
    x, y = load_split(params.data(block.dataset), block.dataset, "test")
    rng_for = functools.partial(generator_for, "visuals", entry, block.seed, device=place)
    with replace_directory(params.run(entry) / "visuals") as folder:
        listed = []
        for visual in gallery.everything(model, x, y, rng_for=rng_for, sampler=block.sample):
            write_bytes(folder / visual.file, visual.data)
            listed.append({key: value for key, value in asdict(visual).items() if key != "data"})
        write_json(folder / "visuals.json", listed)
