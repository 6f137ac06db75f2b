"""The sections on memorisation and on odd inputs: their tables, and samples with their nearest
training images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genbench.base import DataSpec
from genbench.pictures.grids import grid, png
from genbench.report.columns import MEMORISATION, ODD_INPUTS
from genbench.report.variants import Variant, Variants, numbers
from genbench.report.view import Cell

__all__ = ["FLAG", "likelihood_of_odd_inputs", "memorisation", "neighbour_grid"]

Row = Mapping[str, Any]

FLAG = "⚑"
"""Before a share of copies that is above that of validation images."""
_COLUMNS = 10
_SCALE = 2


def memorisation(rows: Sequence[Row]) -> Variants | None:
    """What tells of memorisation of the rows of a data set; None where it was not looked for."""
    found = numbers(rows, MEMORISATION)
    if found is None:
        return None
    by_entry = {row["entry"]: row for row in rows}
    told = tuple(_told(variant, by_entry[variant.entry]) for variant in found.rows)
    return replace(found, rows=told)


def _told(variant: Variant, row: Row) -> Variant:
    """A row with what the details of its metrics say."""
    cells = {column.key: cell for column, cell in zip(MEMORISATION, variant.cells, strict=True)}
    details = {key: metric["detail"] for key, metric in row["metrics"].items()}
    if {"p", "flagged"} <= (share := details.get("copied_share", {})).keys():
        cells["copied_share"] = _share(cells["copied_share"], share)
    if "seen_share" in (detail := details.get("nats_gap", {})):
        seen = f"{detail['seen_share']:.0%} of the training split was seen"
        cells["nats_gap"] = replace(cells["nats_gap"], title=f"{seen}; {cells['nats_gap'].title}")
    return replace(variant, cells=tuple(cells[column.key] for column in MEMORISATION))


def _share(cell: Cell, detail: Mapping[str, Any]) -> Cell:
    title = f"p = {detail['p']:.2g}; {cell.title}"
    return replace(cell, mark=FLAG if detail["flagged"] else "", title=title)


def likelihood_of_odd_inputs(rows: Sequence[Row]) -> Variants | None:
    """Bits/dim of odd inputs of the rows of a data set, with a mark before those that cost a model
    less than digits do; None without any.
    """
    found = numbers(rows, ODD_INPUTS)
    if found is None:
        return None
    shown = []
    for variant in found.rows:
        digits = variant.cells[0].value
        cells = [
            replace(cell, mark=f"{FLAG} {cell.mark}") if _is_below(cell, digits) else cell
            for cell in variant.cells
        ]
        shown.append(replace(variant, cells=tuple(cells)))
    return replace(found, rows=tuple(shown))


def _is_below(cell: Cell, digits: float | None) -> bool:
    return cell.value is not None and digits is not None and cell.value < digits


def neighbour_grid(
    samples: np.ndarray, neighbours: Mapping[str, np.ndarray], spec: DataSpec
) -> bytes | None:
    """PNG of some samples, and below each its nearest training image; None without any.

    Arguments:
        samples: all of an entry, uint8 (n, H, W).
        neighbours: ``sample``, places among them, and ``images``, the training images.
        spec: of the data set.
    """
    if not neighbours or int(neighbours["sample"].max()) >= len(samples):
        return None
    drawn, stored = samples[neighbours["sample"]], neighbours["images"]
    columns = min(_COLUMNS, len(drawn))
    whole = len(drawn) - len(drawn) % columns
    rows = [images[:whole].reshape(-1, columns, *images.shape[1:]) for images in (drawn, stored)]
    pairs = np.stack(rows, 1).reshape(-1, *samples.shape[1:])
    return png(grid(pairs, levels=spec.levels, columns=columns, scale=_SCALE, gap=1))
