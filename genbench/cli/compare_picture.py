"""The picture of `genbench compare`: on how many test images one entry is better and by how much,
and the images on which two entries differ most.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, FigureBase

from genbench.comparison.scored import Scored, in_common
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.data.datasets import spec_of
from genbench.data.splits import load_split
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.pictures.grids import stretch
from genbench.report.chart import INK, MUTED, SERIES, chart

__all__ = ["draw", "most_different"]

_SHOWN = 10


def most_different(d: np.ndarray, count: int = _SHOWN) -> np.ndarray:
    """Places of the differences (n,) that are largest in size, the first entry's largest loss
    first, int64 (count,).
    """
    chosen = np.argsort(-np.abs(d), kind="stable")[:count]
    return chosen[np.argsort(-d[chosen], kind="stable")]


def draw(a: Scored, b: Scored, params: Params, path: Path) -> None:
    """Write the picture as PNG.

    Arguments:
        a: the first entry.
        b: the second.
        params: a profile whose data set is prepared.
        path: where.

    Raises:
        UserError: another ending than ``.png``, or data that are not there.
    """
    if path.suffix != ".png":
        raise UserError(f"--picture: the file must end in .png, got {path}")
    images, _ = load_split(Layout.of(params).data(a.dataset), a.dataset, "test")
    common = in_common(a, b)
    chosen = most_different(common.differences)
    levels = spec_of(a.dataset).levels
    pixels = stretch(images[common.images[chosen].tolist()], levels=levels)

    def figure() -> Figure:
        whole = Figure(figsize=(8.0, 3.4), layout="constrained")
        left, right = np.ravel(np.asarray(whole.subfigures(1, 2, width_ratios=(1, 1.35))))
        _histogram(left, a.name, b.name, common.differences)
        _images(right, pixels, common.differences[chosen], common.images[chosen])
        return whole

    write_bytes(path, chart(figure, f"{a.name} against {b.name}").png)


def _histogram(figure: FigureBase, a: str, b: str, d: np.ndarray) -> None:
    axes = figure.subplots()
    axes.hist(d, bins=40, color=SERIES[0])
    axes.axvline(0.0, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.axvline(float(d.mean()), color=SERIES[1], linewidth=1.4)
    axes.set_xlabel(f"nats of {a} minus nats of {b}")
    axes.set_ylabel("test images")
    share = 100 * float((d < 0).mean())
    axes.set_title(f"fewer nats with {a} on {share:.0f} % of the images", color=INK, fontsize=9)


def _images(figure: FigureBase, pixels: np.ndarray, d: np.ndarray, numbers: np.ndarray) -> None:
    places = figure.subplots(2, _SHOWN // 2, squeeze=False).ravel()
    figure.suptitle("the test images that differ most", color=INK, fontsize=9)
    for axes in places:
        axes.set_axis_off()
    for axes, image, difference, number in zip(places, pixels, d, numbers, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(f"{difference:+.1f}\nno. {number}", color=MUTED, fontsize=8)
