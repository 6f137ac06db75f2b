"""Checks of `genbench doctor`: the data sets, prepared or still to be had."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from genbench.cli.doctor_check import Check
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.data.mirror import mirror
from genbench.errors import UserError

if TYPE_CHECKING:
    from genbench.data.raw_file import RawFile

__all__ = ["data_set"]


def data_set(params: Params, dataset: str) -> Check:
    """A data set: its prepared file, or else where its published files are."""
    from genbench.data.datasets import source
    from genbench.data.splits import load

    layout, place = Layout.of(params), mirror()
    path, raw = layout.data(dataset), layout.raw
    if path.is_file():
        try:
            images = load(path, dataset)
        except (UserError, ValueError) as error:
            remedy = f"delete {path}; the next run writes it again"
            return Check("fail", dataset, str(error), remedy)
        sizes = f"{len(images.train_x)}/{len(images.valid_x)}/{len(images.test_x)}"
        return Check("ok", dataset, f"prepared: {sizes} images")
    if place and "://" in place:
        return Check("ok", dataset, f"not prepared yet; comes from {place}")
    files = source(dataset).raw_files()
    bad = ", ".join(file.name for file in files if not _is_here(file, place, raw))
    if not bad:
        told = f"not prepared yet; its files in {place or raw} have the published checksums"
        return Check("ok", dataset, told)
    if place:
        told = f"missing or corrupt in GENBENCH_MIRROR={place}: {bad}"
        remedy = "correct GENBENCH_MIRROR, or unset it to download"
        return Check("fail", dataset, told, remedy)
    remedy = "needs the network, or GENBENCH_MIRROR set to a folder that has them"
    return Check("warn", dataset, f"not here yet: {bad}", remedy)


def _is_here(file: RawFile, mirror: str | None, raw: Path) -> bool:
    """Whether a published file is in the mirror, or without one among the downloads, as it was
    published.
    """
    from genbench.data.download import from_mirror

    with contextlib.suppress(OSError, UserError):
        if mirror:
            return bool(from_mirror(file, mirror))
        return file.holds((raw / file.folder / file.name).read_bytes())
    return False
