"""The report of a profile: everything in reports/<profile>/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from genbench.config.layout import Layout, ReportDir
from genbench.config.params import Params
from genbench.data.datasets import spec_of
from genbench.external.rows import ExternalRow, read_rows
from genbench.files import write_bytes, write_json, write_text
from genbench.report.beside import beside
from genbench.report.chart import Chart
from genbench.report.curves import curves
from genbench.report.external import trained_here
from genbench.report.forest import distances, forest
from genbench.report.grids import real_grids, sample_grid
from genbench.report.learning import courses, learning
from genbench.report.page import Material, page
from genbench.report.probes import neighbour_grid
from genbench.report.published import published
from genbench.report.rows import headlines, leaderboard, without_seeds
from genbench.report.scatter import Point, scatter
from genbench.report.tables import csv_table, markdown
from genbench.results.entry import EntryResults
from genbench.results.with_seeds import results_with_seeds

__all__ = ["write_report"]


def write_report(
    params: Params,
    folder: Path,
    *,
    notice: str = "",
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the report of a profile's entries into ``folder``. What is missing or damaged is
    listed, never fatal.

    Arguments:
        params: the profile.
        folder: where.
        notice: of a page that is renewed while a run lasts, how far that is; the page then loads
            itself again and again.
        reasons: why entries are missing, by name, in place of what their files tell.
    """
    entries, layout, report = list(results_with_seeds(params)), Layout.of(params), ReportDir(folder)
    external = read_rows(params)
    board = leaderboard(params, entries, reasons, external)
    # Of further seeds the numbers are shown, and no pictures.
    own = [results for results in entries if results.layout.profile == params.profile]
    material = _material(board, own, layout)
    material.samples |= _samples_of(external)
    # A page elsewhere cannot link to docs/.
    documented = set() if notice else {path.stem for path in layout.docs.glob("*.md")}
    html, spilled = page(board, entries, material, documented, notice=notice)
    write_json(report.leaderboard, board)
    for name, scores in headlines(board).items():
        write_json(report.metrics(name), scores)
    write_text(report.csv, csv_table(board))
    write_text(report.markdown, markdown(board))
    write_text(report.page, html)
    for name, data in {**_figures(material), **dict(spilled)}.items():
        write_bytes(report.figures / name, data)


def _material(
    board: Mapping[str, Any], entries: Sequence[EntryResults], layout: Layout
) -> Material:
    """The pictures of the page."""
    material, here = Material(), {**board, "rows": trained_here(board["rows"])}
    for results in entries:
        name, spec = results.entry.name, spec_of(results.entry.dataset)
        training, sampling = results.training.result, results.sampling.result
        if sampling is not None:
            labels = sampling.labels if results.conditional else None
            material.samples[name] = sample_grid(sampling.images, labels, spec)
            if (near := _neighbours(results, sampling.images)) is not None:
                material.neighbours[name] = near
        if training is not None and (chart := _curves(training.history, name)) is not None:
            material.curves[name] = chart
    for dataset in dict.fromkeys(results.entry.dataset for results in entries):
        if grids := real_grids(layout.data(dataset), dataset, spec_of(dataset)):
            material.real[dataset] = grids
        material.costs[dataset] = _costs(here, dataset)
        if (found := distances(board["comparisons"].get(dataset, {"pairs": []}))) is not None:
            material.forests[dataset] = forest(*found, dataset)
        if (chart := _learning(here, entries, dataset)) is not None:
            material.learning[dataset] = chart
        if (chart := _beside(here, dataset)) is not None:
            material.beside[dataset] = chart
    return material


def _samples_of(external: Sequence[ExternalRow]) -> dict[str, bytes]:
    """Grids of what others made."""
    return {
        one.name: sample_grid(one.scored.images, one.scored.labels, spec_of(one.dataset))
        for one in external
        if one.scored is not None
    }


def _families(board: Mapping[str, Any]) -> list[str]:
    """Those of all contenders, whose order gives each its colour."""
    return sorted({row["family"] for row in board["rows"] if not row["control"]})


def _learning(
    board: Mapping[str, Any], entries: Sequence[EntryResults], dataset: str
) -> Chart | None:
    rows = [row for row in board["rows"] if row["dataset"] == dataset and row["control"]]
    controls = {
        row["entry"]: row["metrics"]["nats"]["value"] for row in rows if "nats" in row["metrics"]
    }
    own = [results for results in entries if results.entry.dataset == dataset]
    return learning(list(courses(own)), controls, _families(board), dataset)


def _beside(board: Mapping[str, Any], dataset: str) -> Chart | None:
    results = published(dataset)
    rows = [row for row in board["rows"] if row["dataset"] == dataset and not row["control"]]
    if results is None:
        return None
    return beside(results, without_seeds(rows), _families(board), dataset)


def _neighbours(results: EntryResults, samples: np.ndarray) -> bytes | None:
    probe, spec = results.probe.result, spec_of(results.entry.dataset)
    return None if probe is None else neighbour_grid(samples, probe.neighbours, spec)


def _curves(history: Sequence[Mapping[str, float | None]], entry: str) -> Chart | None:
    return curves(pd.DataFrame(history, dtype=float), entry)


def _figures(material: Material) -> dict[str, bytes]:
    """The files of figures/ by name."""
    found = {f"{entry}-samples.png": png for entry, png in material.samples.items()}
    found |= {f"{entry}-neighbours.png": png for entry, png in material.neighbours.items()}
    found |= {
        f"real-{dataset}-{kind}.png": png
        for dataset, grids in material.real.items()
        for kind, png in grids.items()
    }
    found |= {f"{entry}-curves.png": chart.png for entry, chart in material.curves.items()}
    for dataset, charts in material.costs.items():
        found |= {f"cost-{dataset}-{i + 1}.png": chart.png for i, chart in enumerate(charts)}
    found |= {f"nats-above-{name}.png": chart.png for name, chart in material.forests.items()}
    found |= {f"learning-{name}.png": chart.png for name, chart in material.learning.items()}
    return found | {f"published-{name}.png": chart.png for name, chart in material.beside.items()}


def _costs(board: Mapping[str, Any], dataset: str) -> list[Chart]:
    """Bits/dim against training time, and FID against sampling time: CPU time, if all results tell
    it. Of entries that differ in the seed alone, their mean is shown.
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

    def told(cpu: str, wall: str) -> tuple[str, str]:
        known = all(cpu in row["cost"] for row in shown if wall in row["cost"])
        return (cpu, "CPU ") if known else (wall, "")

    training, of_training = told("train_cpu_seconds", "train_seconds")
    sampling, of_sampling = told("sample_cpu_ms_per_image", "sample_ms_per_image")
    charts = (
        scatter(
            points("bits_per_dim", training),
            families,
            xlabel=f"training {of_training}seconds, {dataset}",
            ylabel="bits/dim (lower is better)",
            log_y=False,
        ),
        scatter(
            points("fid_mnist", sampling),
            families,
            xlabel=f"sampling {of_sampling}ms per image, {dataset}",
            ylabel="FID (lower is better)",
            log_y=True,
        ),
    )
    return [chart for chart in charts if chart is not None]
