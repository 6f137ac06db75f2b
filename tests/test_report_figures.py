"""The grids and charts of the report on few values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from genbench.base import DataSpec
from genbench.report.curves import curves
from genbench.report.grids import pick
from genbench.report.scatter import Point, scatter
from genbench.results import entry as reading


def test_a_class_per_row() -> None:
    labels = np.array([2, 0, 1, 1, 0, 2, 2, 1])
    images = np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    chosen, columns = pick(images, labels)
    assert columns == 2
    assert chosen[:, 0, 0].tolist() == [1, 4, 2, 3, 0, 5]
    chosen, columns = pick(images[:7], None)
    assert (chosen[:, 0, 0].tolist(), columns) == (list(range(7)), 7)


def test_labels_of_points_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation, Text

    boxes = []
    save: Callable[..., None] = Figure.savefig

    def spy(figure: Figure, *args: object, **options: object) -> None:
        save(figure, *args, **options)
        if options["format"] == "png":
            renderer = figure._get_renderer()
            notes = [
                child for child in figure.axes[0].get_children() if isinstance(child, Annotation)
            ]
            boxes.extend(
                (note.get_text(), Text.get_window_extent(note, renderer)) for note in notes
            )

    monkeypatch.setattr(Figure, "savefig", spy)
    points = [Point(f"entry_{i}", "flow", 10 + i % 3, 5 + i // 3 * 0.01) for i in range(9)] + [
        Point("far", "flow", 5000, 90)
    ]
    points.append(Point("ceiling", "control", 1e-6, 100, True))
    chart = scatter(points, ["flow"], xlabel="seconds", ylabel="bits", log_y=False)
    assert chart is not None
    assert sorted(text for text, _ in boxes) == sorted(p.name for p in points)
    overlapping = [
        (a[0], b[0]) for i, a in enumerate(boxes) for b in boxes[:i] if a[1].overlaps(b[1])
    ]
    assert overlapping == []
    assert all(f">{p.name}<" in chart.svg for p in points)


def test_charts_without_points() -> None:
    import pandas as pd

    assert scatter([], [], xlabel="x", ylabel="y", log_y=True) is None
    assert (
        scatter(
            [Point("a", "control", 1.0, 1.0, True)], ["flow"], xlabel="x", ylabel="y", log_y=True
        )
        is None
    )
    assert (
        scatter([Point("a", "flow", 0.0, 1.0)], ["flow"], xlabel="x", ylabel="y", log_y=True)
        is None
    )
    assert curves(pd.DataFrame({"step": []}), "alpha") is None
    assert (
        curves(pd.DataFrame({"step": [1], "loss/loss": [2.0], "other/loss": [np.nan]}), "alpha")
        is not None
    )


def test_the_real_schema_of_a_data_set_is_the_one_drawn() -> None:
    assert reading.spec_of("mnist") == DataSpec(28, 28, 256, 10)
