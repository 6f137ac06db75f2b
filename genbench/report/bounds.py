"""What is to be said of a likelihood beside its number: how much of a bound is its schedule's, and
what it means to stand above independent pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genbench.data.datasets import spec_of
from genbench.families.diffusion import GaussianDiffusion
from genbench.nn.schedule_floor import LEVELS, bound_floor
from genbench.registry import build
from genbench.report.text import number
from genbench.results.entry import EntryResults

__all__ = ["floor_of", "remark", "stands_above"]

Row = Mapping[str, Any]


def floor_of(results: EntryResults) -> float | None:
    """Bits/dim of an entry's bound that no denoiser can beat, with 6 digits, by the schedule of its
    model (:func:`genbench.nn.schedule_floor.bound_floor`); None for models without one, and where
    it is not known.
    """
    model, spec = results.model, spec_of(results.entry.dataset)
    if not (isinstance(model, type) and issubclass(model, GaussianDiffusion)):
        return None
    built = build(results.entry, spec)
    if not isinstance(built, GaussianDiffusion) or spec.levels != LEVELS:
        return None
    floor = bound_floor(built.schedule, built.variance)
    return None if floor is None else float(f"{floor:.6g}")


def stands_above(row: Row, rows: Sequence[Row]) -> str:
    """The control row above which the bits/dim of a contender are; empty if there is none, or they
    are below.
    """
    if row["control"] or "bits_per_dim" not in row["metrics"]:
        return ""
    value = row["metrics"]["bits_per_dim"]["value"]
    controls = [other for other in rows if other["control"] and "bits_per_dim" in other["metrics"]]
    above = [one for one in controls if value > one["metrics"]["bits_per_dim"]["value"]]
    return str(above[0]["entry"]) if above else ""


def remark(row: Row, rows: Sequence[Row]) -> str:
    """What is to be said of the likelihood of a row among those of its data set; empty if
    nothing.
    """
    control, floor = stands_above(row, rows), row.get("floor_bits_per_dim")
    is_bound = row["likelihood_kind"] == "lower_bound"
    told = []
    if control and is_bound:
        told.append(
            f"Its bound is not there yet: it stands above {control}. That says nothing of its "
            "samples."
        )
    elif control:
        told.append(f"Above {control}: how pixels go together is not yet learned.")
    if floor is not None:
        told.append(
            f"{number(floor, 2)} bits/dim of its bound are the schedule's, whatever the denoiser; "
            "what else exceeds the images' own entropy is not yet learned."
        )
    elif control and is_bound:
        told.append("What exceeds the images' own entropy is not yet learned.")
    return " ".join(told)
