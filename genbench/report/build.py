"""The report of a profile: everything in reports/<profile>/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from genbench.config.params import Params
from genbench.data.datasets import spec_of
from genbench.files import write_bytes, write_json, write_text
from genbench.report.charts import Chart, Point, curves, scatter
from genbench.report.grids import real_grids, sample_grid
from genbench.report.page import Material, page
from genbench.report.rows import headlines, leaderboard, without_seeds
from genbench.report.tables import csv_table, markdown
from genbench.results.collect import Outcome, collect

__all__ = ["write_report"]


def write_report(params: Params, folder: Path) -> None:
    """Write the report of a profile's entries into ``folder``. What is missing or damaged is
    listed, never fatal.
    """
    outcomes = collect(params)
    board = leaderboard(params, outcomes)
    datasets = list(dict.fromkeys(outcome.entry.dataset for outcome in outcomes))
    material = Material(
        samples={o.entry.name: _samples(o) for o in outcomes if o.sampling is not None},
        real={
            name: grids
            for name in datasets
            if (grids := real_grids(params.data(name), name, spec_of(name)))
        },
        curves={
            o.entry.name: chart
            for o in outcomes
            if o.training and (chart := _curves(o.training.history, o.entry.name))
        },
        costs={name: _costs(board, name) for name in datasets},
    )
    documented = {path.stem for path in (params.root / "docs").glob("*.md")}
    html, spilled = page(board, outcomes, material, documented)
    write_json(folder / "leaderboard.json", board)
    for entry, scores in headlines(board).items():
        write_json(folder / "metrics" / f"{entry}.json", scores)
    write_text(folder / "leaderboard.csv", csv_table(board))
    write_text(folder / "leaderboard.md", markdown(board))
    write_text(folder / "index.html", html)
    for name, data in {**_figures(material), **dict(spilled)}.items():
        write_bytes(folder / "figures" / name, data)


def _samples(outcome: Outcome) -> bytes:
    assert outcome.sampling is not None
    labels = outcome.sampling.labels if outcome.conditional else None
    return sample_grid(outcome.sampling.images, labels, spec_of(outcome.entry.dataset))


def _curves(history: Sequence[Mapping[str, float | None]], entry: str) -> Chart | None:
    return curves(pd.DataFrame(history, dtype=float), entry)


def _figures(material: Material) -> dict[str, bytes]:
    """The files of figures/ by name."""
    found = {f"{entry}-samples.png": png for entry, png in material.samples.items()}
    found |= {
        f"real-{dataset}-{kind}.png": png
        for dataset, grids in material.real.items()
        for kind, png in grids.items()
    }
    found |= {f"{entry}-curves.png": chart.png for entry, chart in material.curves.items()}
    for dataset, charts in material.costs.items():
        found |= {f"cost-{dataset}-{i + 1}.png": chart.png for i, chart in enumerate(charts)}
    return found


def _costs(board: Mapping[str, Any], dataset: str) -> list[Chart]:
    """Bits/dim against training time, and FID against sampling time. Of entries that differ in the
    seed alone, their mean is shown.
    """
    rows = [row for row in board["rows"] if row["dataset"] == dataset]
    families = sorted({row["family"] for row in board["rows"] if not row["control"]})
    shown = without_seeds(rows)

    def points(metric: str, cost: str) -> list[Point]:
        return [
            Point(
                row["entry"],
                row["family"],
                row["cost"][cost],
                row["metrics"][metric]["value"],
                row["control"],
            )
            for row in shown
            if metric in row["metrics"] and cost in row["cost"]
        ]

    likelihood = points("bits_per_dim", "train_seconds")
    quality = points("fid_mnist", "sample_ms_per_image")
    charts = (
        scatter(
            likelihood,
            families,
            xlabel=f"training seconds, {dataset}",
            ylabel="bits/dim (lower is better)",
            log_y=False,
        ),
        scatter(
            quality,
            families,
            xlabel=f"sampling ms per image, {dataset}",
            ylabel="FID (lower is better)",
            log_y=True,
        ),
    )
    return [chart for chart in charts if chart is not None]
