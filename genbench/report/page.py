"""index.html: one file with everything inside, at most 5 MB."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from genbench.config.layout import BEAT
from genbench.errors import UserError
from genbench.external.nats import REPORTED
from genbench.hardware.kind import in_words
from genbench.pictures.picture import Picture
from genbench.report.best import KINDS_THAT_WIN, best_of_kind, best_scores, models
from genbench.report.chart import Chart
from genbench.report.embed import Room
from genbench.report.external import trained_here
from genbench.report.probes import FLAG, likelihood_of_odd_inputs, memorisation
from genbench.report.published import merged, published
from genbench.report.rows import has_means, kinds_differ, without_seeds
from genbench.report.text import KIND_NAMES, KIND_SENTENCES, MARKS, SPREADS, number, plus_minus
from genbench.report.variants import inside, variants
from genbench.report.view import table
from genbench.results.entry import EntryResults
from genbench.scoring.odd_inputs import ODD_INPUTS

__all__ = ["MAX_BYTES", "Material", "page"]

MAX_BYTES = 5_000_000


@dataclass(slots=True)
class Material:
    """The pictures of the page.

    Attributes:
        samples: PNG grid per entry.
        real: per data set the PNG grids ``mixed`` and, where there are labels, ``by_class``.
        curves: learning curves per entry.
        costs: charts of quality against cost per data set.
        learning: chart of validation nats against core-seconds per data set.
        forests: chart of the distances to the lowest nats per data set.
        beside: chart of our results beside published ones per data set.
        neighbours: PNG of samples above their nearest training images per entry.
    """

    samples: dict[str, bytes] = field(default_factory=dict)
    real: dict[str, dict[str, bytes]] = field(default_factory=dict)
    curves: dict[str, Chart] = field(default_factory=dict)
    costs: dict[str, list[Chart]] = field(default_factory=dict)
    learning: dict[str, Chart] = field(default_factory=dict)
    forests: dict[str, Chart] = field(default_factory=dict)
    beside: dict[str, Chart] = field(default_factory=dict)
    neighbours: dict[str, bytes] = field(default_factory=dict)


def page(
    board: Mapping[str, Any],
    entries: Sequence[EntryResults],
    material: Material,
    documented: Collection[str] = (),
    *,
    notice: str = "",
) -> tuple[str, list[tuple[str, bytes]]]:
    """The page, and the pictures that found no room in it, as ``(file name, bytes)`` for the folder
    figures/ that it links them in.

    Arguments:
        board: the content of leaderboard.json.
        entries: the entries.
        material: the pictures.
        documented: names of the pages in docs/, which it links to.
        notice: what stands at its head while a run lasts, which renews the script beside it.

    Raises:
        UserError: it is above ``MAX_BYTES`` even with all pictures beside it.
    """
    bare, _ = _render(board, entries, material, documented, Room(0), notice)
    left = MAX_BYTES - len(bare.encode())
    if left < 0:
        raise UserError(
            f"the report's page of {len(board['rows'])} rows has {MAX_BYTES - left:,} bytes "
            f"without its pictures, above its limit of {MAX_BYTES:,}; move some entries of profile "
            f"{board['profile']!r} to a profile of their own"
        )
    return _render(board, entries, material, documented, Room(left), notice)


def _render(
    board: Mapping[str, Any],
    entries: Sequence[EntryResults],
    material: Material,
    documented: Collection[str],
    room: Room,
    notice: str,
) -> tuple[str, list[tuple[str, bytes]]]:
    real = {
        name: {kind: room.embed(png, "png") for kind, png in grids.items()}
        for name, grids in material.real.items()
    }
    samples = {name: room.embed(png, "png") for name, png in material.samples.items()}
    neighbours = {name: room.embed(png, "png") for name, png in material.neighbours.items()}
    own = [results for results in entries if results.layout.profile == board["profile"]]
    pictures, spilled = _pictures(own, room)
    names = dict.fromkeys(one["dataset"] for one in (*board["rows"], *board["missing"]))
    curves, learning, forests, beside = (
        {name: Markup(chart.svg) for name, chart in charts.items()}  # escaped there
        for charts in (material.curves, material.learning, material.forests, material.beside)
    )
    costs = {
        name: [Markup(chart.svg) for chart in charts] for name, charts in material.costs.items()
    }
    kinds = [
        (KIND_NAMES[kind], MARKS.get(kind, "–"), sentence)
        for kind, sentence in KIND_SENTENCES.items()
        if kind != REPORTED or any(row["likelihood_kind"] == kind for row in board["rows"])
    ]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, plus_minus=plus_minus, in_words=in_words)
    html = environment.from_string(_resource("page.html.j2")).render(
        board=board,
        notice=notice,
        beat=BEAT,
        style=Markup(_resource("page.css")),  # files of this package
        script=Markup(_resource("page.js")),
        protocol=[(text, f"{number:,}") for text, number in _protocol(board["protocol"])],
        kinds=kinds,
        marks=MARKS,
        spreads=SPREADS,
        has_means=has_means(board["rows"]),
        datasets=[_dataset(board, entries, name) for name in names],
        samples=samples,
        neighbours=neighbours,
        flag=FLAG,
        odd_inputs=ODD_INPUTS,
        real=real,
        pictures=pictures,
        curves=curves,
        learning=learning,
        forests=forests,
        beside=beside,
        costs=costs,
        environments=_environments(board),
        documented=documented,
        families=sorted({row["family"] for row in board["rows"]} & set(documented)),
        family_of={row["entry"]: _group(row) for row in board["rows"]},
        groups=sorted({_group(row) for row in board["rows"]}),
        fid=published("fid"),
    )
    return html, spilled


def _group(row: Mapping[str, Any]) -> str:
    """What the reader may restrict the page to: a family, or the controls."""
    return "controls" if row["control"] else str(row["family"])


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _protocol(protocol: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The numbers of images of the protocol, each with what it is."""
    yield "samples per entry", protocol["samples"]
    yield "samples per seeded chunk", protocol["sample_chunk"]
    for count in protocol["likelihood_images"]:
        passes = count["from_passes"]
        some = f" of {passes:,} network passes per image or more" if passes > 1 else ""
        yield f"test images for a likelihood{some}", count["images"]
    yield "test images that samples are compared with", protocol["feature_reference_images"]


def _pictures(
    entries: Sequence[EntryResults], room: Room
) -> tuple[dict[str, list[tuple[Picture, str]]], list[tuple[str, bytes]]]:
    """Per entry its pictures, each with its address: the first of every entry find room before any
    second one.
    """
    found = {results.entry.name: results.pictures.result or () for results in entries}
    queues = [[(name, picture) for picture in own] for name, own in found.items()]
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*queues))
    addresses: dict[tuple[str, str], str] = {}
    spilled = []
    for name, picture in filter(None, in_turn):
        file = f"{name}-{picture.file}"
        uri = room.embed(picture.data, picture.file.rsplit(".", 1)[-1])
        if uri is None:
            spilled.append((file, picture.data))
        addresses[name, picture.file] = uri or f"figures/{file}"
    addressed = {
        name: [(picture, addresses[name, picture.file]) for picture in own]
        for name, own in found.items()
        if own
    }
    return addressed, spilled


def _dataset(
    board: Mapping[str, Any], entries: Sequence[EntryResults], name: str
) -> dict[str, Any]:
    rows = [row for row in board["rows"] if row["dataset"] == name]
    said = board["comparisons"].get(name, {})
    single = [row for row in rows if row["status"] != "aggregate"]
    declared = {results.entry.name for results in entries if results.entry.dataset == name}
    missing = [gap for gap in board["missing"] if gap["entry"] in declared]
    complete = sum(row["status"] == "ok" for row in single)
    highlights = (
        _highlight(rows, "bits_per_dim", "Lowest bits/dim", said),
        _highlight(rows, "fid_mnist", "Lowest FID", said),
    )
    results = published(name)
    contenders = [row for row in trained_here(without_seeds(rows)) if not row["control"]]
    selection, everything = ([], []) if results is None else merged(results, contenders)
    return {
        "name": name,
        "rows": single,
        "table": table(rows, name, several_kinds=kinds_differ(board["rows"]), said=said),
        "complete": complete,
        "entries": complete + len(missing),
        "highlights": [highlight for highlight in highlights if highlight is not None],
        "published": results,
        "selection": selection,
        "everything": everything,
        "conditional": any(row["conditional"] for row in single),
        "variants": variants(rows, {one.entry.name: one.entry for one in entries}),
        "inside": inside(rows),
        "memorisation": memorisation(rows),
        "odd_inputs": likelihood_of_odd_inputs(rows),
    }


def _highlight(
    rows: Sequence[Mapping[str, Any]], key: str, label: str, said: Mapping[str, Any]
) -> tuple[str, str, str] | None:
    """Label, number and entry of the lowest value of a metric among the contenders; estimates don't
    count. Where some of the others are not separated from it, they are named too; where none is
    shown to be, that is said. None where there is no value.
    """
    found = [row for row in models(rows) if key in row["metrics"]]
    found = [row for row in found if row["metrics"][key]["kind"] != "estimate"]
    if not found:
        return None
    lowest = min(found, key=lambda row: row["metrics"][key]["value"])
    metric = lowest["metrics"][key]
    if metric["kind"] in KINDS_THAT_WIN:
        best = best_of_kind(said, found, metric["kind"])
    else:
        best = best_scores(found, key, higher_is_better=False)
    mark = MARKS.get(metric["kind"] or "", "")
    told = f"{mark if mark != '=' else ''} {number(metric['value'])}".strip()
    others = [row["entry"] for row in found if row["entry"] in best - {lowest["entry"]}]
    names = str(lowest["entry"])
    if others:
        names = f"{', '.join([names, *others])} (not separated)"
    elif not best and len(found) > 1:
        names += " (not shown to be separated)"
    return label, told, names


def _environments(board: Mapping[str, Any]) -> list[tuple[dict[str, Any], list[str]]]:
    """The distinct provenances, each with its entries."""
    groups: dict[str, list[str]] = {}
    for row in board["rows"]:
        if row["provenance"] is not None:
            text = json.dumps(row["provenance"], sort_keys=True)
            groups.setdefault(text, []).append(row["entry"])
    in_order = sorted(groups.items(), key=lambda item: item[1])
    return [(json.loads(text), sorted(entries)) for text, entries in in_order]
