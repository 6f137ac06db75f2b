"""What training tells besides the weights: the log, the clock, and the table that they become."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Clock", "Fitted", "to_csv"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training tells besides the weights.

    Attributes:
        history: one row per logged step: ``step``, ``seconds``, ``images_per_second``,
            ``<phase>/<value>``.
        seconds: time in this loop, earlier runs included.
        cpu_seconds: what all cores have worked meanwhile, in sum.
        images_per_second: training images over the time spent in steps, without validation.
    """

    history: list[dict[str, float]]
    seconds: float
    cpu_seconds: float
    images_per_second: float


@dataclass(slots=True)
class Clock:
    """Where the loop is; goes into checkpoints."""

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    training: float = 0.0
    images: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def to_csv(history: Sequence[Mapping[str, float]]) -> str:
    """The rows of :class:`Fitted` as CSV text: ``step``, ``seconds``, ``images_per_second``, then
    the logged values; empty where absent.
    """
    columns = ["step", "seconds", "images_per_second"]
    columns += sorted({name for row in history for name in row} - set(columns))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: int(v) if k == "step" else f"{v:.8g}" for k, v in row.items()} for row in history
    )
    return text.getvalue()
