"""The README's picture: the first samples of some entries of `quick`, not chosen, beside real test
digits.

python -m benchmarks.figure      # needs runs/quick; writes docs/figures/samples.png
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.data.datasets import spec_of
from genbench.files import read_npz, write_bytes
from genbench.pictures import grids

ENTRIES = [
    *("gated_pixel_cnn", "pixel_transformer", "lstm"),
    *("wavenet", "made", "binary-gated_pixel_cnn"),
    *("vae", "cvae", "vq_vae"),
    *("dcgan", "hinge_gan", "real_nvp"),
    *("ddpm", "ddpm_cond", "flow_matching"),
    *("ebm", "binary-rbm"),
]
SHOWN, COLUMNS, BESIDE = 40, 10, 3
TITLE, GAP = 30, 12  # pixels


def panel(params: Params, name: str) -> np.ndarray:
    """The samples of an entry below its name, uint8 (h, w); ``real digits`` are images of the test
    split.
    """
    if name == "real digits":
        x, levels = read_npz(Layout.of(params).data("mnist"))["test_x"], 256
        x = x[np.random.default_rng(0).permutation(len(x))]
    else:
        x, levels = (
            read_npz(Layout.of(params).run_dir(name).samples)["images"],
            spec_of(params.entry(name).dataset).levels,
        )
    shown = torch.from_numpy(np.ascontiguousarray(x[:SHOWN].reshape(-1, 1, *x.shape[-2:])))
    grid = grids.grid(shown, levels=levels, columns=COLUMNS)
    canvas = Image.fromarray(np.pad(grid, ((TITLE, 0), (0, 0)), constant_values=255))
    font = ImageFont.truetype(
        str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 20
    )
    ImageDraw.Draw(canvas).text((0, 3), name, fill=0, font=font)
    return np.asarray(canvas)


def main() -> None:
    """Draw it."""
    params = load_params("quick")
    panels = [panel(params, name) for name in [*ENTRIES, "real digits"]]
    rows = []
    for begin in range(0, len(panels), BESIDE):
        padded = [
            np.pad(p, ((0, GAP), (0, GAP)), constant_values=255)
            for p in panels[begin : begin + BESIDE]
        ]
        rows.append(np.concatenate(padded, axis=1))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows)[:-GAP, :-GAP]).save(buffer, "PNG", optimize=True)
    write_bytes(params.root / "docs" / "figures" / "samples.png", buffer.getvalue())


if __name__ == "__main__":
    main()
