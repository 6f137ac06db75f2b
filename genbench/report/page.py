"""index.html: one file with everything inside, at most 4 MB."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from genbench.errors import UserError
from genbench.hardware.kind import in_words
from genbench.report.charts import Chart
from genbench.report.published import merged, published
from genbench.report.rows import kinds_differ, without_seeds
from genbench.report.text import KIND_NAMES, KIND_SENTENCES, MARKS, number, plus_minus
from genbench.report.variants import inside, variants
from genbench.report.view import table
from genbench.results.collect import Outcome
from genbench.scoring.records import Visual

__all__ = ["MAX_BYTES", "Material", "page"]

MAX_BYTES = 4_000_000

_PROTOCOL = {
    "samples": "samples per entry",
    "sample_chunk": "samples per seeded chunk",
    "likelihood_images": "test images for a likelihood",
    "likelihood_images_many_passes": "test images where an image takes many network passes",
    "many_passes": "network passes per image that count as many",
    "likelihood_images_very_many_passes": (
        "test images where an image takes very many network passes"
    ),
    "very_many_passes": "network passes per image that count as very many",
    "feature_reference_images": "test images that samples are compared with",
}


@dataclass(slots=True)
class Material:
    """The pictures of the page.

    Attributes:
        samples: PNG grid per entry.
        real: per data set the PNG grids ``mixed`` and, where there are labels, ``by_class``.
        curves: learning curves per entry.
        costs: charts of quality against cost per data set.
    """

    samples: dict[str, bytes] = field(default_factory=dict)
    real: dict[str, dict[str, bytes]] = field(default_factory=dict)
    curves: dict[str, Chart] = field(default_factory=dict)
    costs: dict[str, list[Chart]] = field(default_factory=dict)


class _Budget:
    """Embeds pictures as data URIs as long as the page stays below its size."""

    def __init__(self, left: int) -> None:
        self.left = left

    def embed(self, data: bytes, kind: str) -> Markup | None:
        uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        if len(uri) > self.left:
            return None
        self.left -= len(uri)
        return Markup(uri)  # base64 of our own making


def page(
    board: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    material: Material,
    documented: Collection[str] = (),
) -> tuple[str, list[tuple[str, bytes]]]:
    """The page, and the visuals that found no room in it, as ``(file name, bytes)`` for the folder
    figures/ that it links them in.

    Arguments:
        board: the content of leaderboard.json.
        outcomes: the entries.
        material: the pictures.
        documented: names of the pages in docs/, which it links to.

    Raises:
        UserError: it is above ``MAX_BYTES`` even with all pictures beside it.
    """
    bare, _ = _render(board, outcomes, material, documented, _Budget(0))
    left = MAX_BYTES - len(bare.encode())
    if left < 0:
        raise UserError(
            f"the report's page of {len(board['rows'])} rows has {MAX_BYTES - left:,} bytes "
            "without its pictures, above its limit of "
            f"{MAX_BYTES:,}; move some entries of profile {board['profile']!r} to a profile of "
            "their own"
        )
    return _render(board, outcomes, material, documented, _Budget(left))


def _render(
    board: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    material: Material,
    documented: Collection[str],
    budget: _Budget,
) -> tuple[str, list[tuple[str, bytes]]]:
    real = {
        name: {kind: budget.embed(png, "png") for kind, png in grids.items()}
        for name, grids in material.real.items()
    }
    samples = {name: budget.embed(png, "png") for name, png in material.samples.items()}
    visuals, spilled = _visuals(outcomes, budget)
    names = dict.fromkeys(
        [row["dataset"] for row in board["rows"]] + [gap["dataset"] for gap in board["missing"]]
    )
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, plus_minus=plus_minus, in_words=in_words)
    return environment.from_string(_resource("page.html.j2")).render(
        board=board,
        style=Markup(_resource("page.css")),  # files of this package
        script=Markup(_resource("page.js")),
        protocol=[(text, f"{board['protocol'][key]:,}") for key, text in _PROTOCOL.items()],
        kinds=[
            (KIND_NAMES[kind], MARKS.get(kind, "–"), sentence)
            for kind, sentence in KIND_SENTENCES.items()
        ],
        marks=MARKS,
        datasets=[_dataset(board, outcomes, name) for name in names],
        samples=samples,
        real=real,
        visuals=visuals,
        curves={
            name: Markup(chart.svg) for name, chart in material.curves.items()
        },  # escaped where it is drawn
        costs={
            name: [Markup(chart.svg) for chart in charts] for name, charts in material.costs.items()
        },
        environments=_environments(board),
        documented=documented,
        families=sorted({row["family"] for row in board["rows"]} & set(documented)),
        fid=published("fid"),
    ), spilled


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _visuals(
    outcomes: Sequence[Outcome], budget: _Budget
) -> tuple[dict[str, list[tuple[Visual, str]]], list[tuple[str, bytes]]]:
    """Per entry its visuals with the address of each picture: the first of every entry find room
    before any second one.
    """
    addresses: dict[tuple[str, str], str] = {}
    spilled = []
    queues = [
        [(outcome.entry.name, visual) for visual in outcome.visuals or ()] for outcome in outcomes
    ]
    for entry, visual in filter(
        None, itertools.chain.from_iterable(itertools.zip_longest(*queues))
    ):
        uri = budget.embed(visual.data, visual.file.rsplit(".", 1)[-1])
        if uri is None:
            spilled.append((f"{entry}-{visual.file}", visual.data))
        addresses[entry, visual.file] = uri or f"figures/{entry}-{visual.file}"
    return {
        o.entry.name: [(v, addresses[o.entry.name, v.file]) for v in o.visuals]
        for o in outcomes
        if o.visuals
    }, spilled


def _dataset(board: Mapping[str, Any], outcomes: Sequence[Outcome], name: str) -> dict[str, Any]:
    rows = [row for row in board["rows"] if row["dataset"] == name]
    single = [row for row in rows if row["status"] != "aggregate"]
    missing = [gap for gap in board["missing"] if gap["dataset"] == name]
    block = published(name)
    selection, everything = (
        merged(block, [row for row in without_seeds(rows) if not row["control"]])
        if block
        else ([], [])
    )
    return {
        "name": name,
        "rows": single,
        "table": table(rows, name, several_kinds=kinds_differ(board["rows"])),
        "complete": sum(row["status"] == "ok" for row in single),
        "entries": sum(row["status"] == "ok" for row in single) + len(missing),
        "highlights": [
            h
            for h in (
                _highlight(rows, "bits_per_dim", "Lowest bits/dim"),
                _highlight(rows, "fid_mnist", "Lowest FID"),
            )
            if h
        ],
        "published": block,
        "selection": selection,
        "everything": everything,
        "conditional": any(row["conditional"] for row in single),
        "variants": variants(rows, {outcome.entry.name: outcome.entry for outcome in outcomes}),
        "inside": inside(rows),
    }


def _highlight(
    rows: Sequence[Mapping[str, Any]], key: str, label: str
) -> tuple[str, str, str] | None:
    contenders = [
        row
        for row in rows
        if not row["control"] and row["status"] != "aggregate" and key in row["metrics"]
    ]
    found = [row for row in contenders if row["metrics"][key]["kind"] != "estimate"]
    if not found:
        return None
    best = min(found, key=lambda row: row["metrics"][key]["value"])
    metric = best["metrics"][key]
    mark = MARKS.get(metric["kind"] or "", "")
    return label, f"{mark if mark != '=' else ''} {number(metric['value'])}".strip(), best["entry"]


def _environments(board: Mapping[str, Any]) -> list[tuple[dict[str, Any], list[str]]]:
    """The distinct provenances, each with its entries."""
    groups: dict[str, list[str]] = {}
    for row in board["rows"]:
        if row["provenance"] is not None:
            groups.setdefault(json.dumps(row["provenance"], sort_keys=True), []).append(
                row["entry"]
            )
    return [
        (json.loads(text), sorted(entries))
        for text, entries in sorted(groups.items(), key=lambda item: item[1])
    ]
