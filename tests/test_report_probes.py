"""The sections on memorisation and on odd inputs: their numbers, their flags, their pictures."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from genbench.base import DataSpec
from genbench.config.layout import Layout
from genbench.files import write_npz
from genbench.report.build import _material
from genbench.report.page import Material, page
from genbench.report.probes import FLAG, neighbour_grid
from genbench.results import entry as reading
from genbench.scoring.records import Metric, Record, write_record
from tests.invented_results import Bench
from tests.pages import Cell, section_of, tables_of

SPEC = DataSpec(28, 28, 256)


def share(value: float, *, flagged: bool) -> Metric:
    detail = {"flagged": flagged, "p": 2e-7, "held_out_share": 0.0, "held_out_n": 100}
    return Metric(value, 0.03, 100, None, detail=detail)


def bits(value: float, kind: str = "lower_bound") -> Metric:
    return Metric(value, 0.01, 20, None, kind)


PROBES = {
    "alpha": {
        "copied_share": share(0.0, flagged=False),
        "copying_z": Metric(1.25, 1.0, 100, None),
        "nats_gap": Metric(-3.5, 0.25, 100, None, detail={"seen_share": 0.4}),
        "bits_per_dim_digits": bits(1.2, "exact"),
        "bits_per_dim_mirrored": bits(1.3, "exact"),
        "bits_per_dim_black": bits(0.1, "exact"),
    },
    "beta": {
        "bits_per_dim_digits": bits(1.25),
        "bits_per_dim_mirrored": bits(1.24),
        "bits_per_dim_black": bits(1.26),
    },
    "floor": {"copied_share": share(0.125, flagged=True), "copying_z": Metric(-8, 1.0, 100, None)},
}


@pytest.fixture
def probed(bench: Bench) -> Bench:
    """Three entries, of which one was not looked at for memorisation."""
    rng = np.random.default_rng(0)
    for name, metrics in PROBES.items():
        run = bench.add(name, name, bits=None if name == "floor" else 1.2)
        withheld = {"bits_per_dim_noise": "4 of 20 are not finite"} if name == "alpha" else {}
        write_record(run / "probe.json", Record(name, metrics, withheld))
        if "copied_share" in metrics:
            arrays = {
                "sample": np.arange(20),
                "distance": np.ones((20, 2)),
                "images": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
            }
            write_npz(run / "neighbours.npz", arrays)
    bench.add("gamma", "gamma")
    return bench


def page_of(bench: Bench) -> str:
    board, entries = bench.board(), reading.read_entries(bench.params)
    return page(board, entries, _material(board, entries, Layout.of(bench.params)))[0]


def table(text: str, section: str) -> dict[str, dict[str, Cell]]:
    """Cells by entry and head."""
    (found,) = tables_of(section_of(text, section))
    head, *rows = found
    names = [cell.text("th") for cell in head]
    return {row[0].text("entry"): dict(zip(names[1:], row[1:], strict=True)) for row in rows}


def test_memorisation_is_told_of_the_entries_that_were_looked_at(probed: Bench) -> None:
    found = table(page_of(probed), "memorisation")
    assert list(found) == ["alpha", "floor"]
    alpha, floor = found["alpha"], found["floor"]
    assert list(alpha) == ["copies", "copying z", "gap in nats"]
    assert (alpha["copies"].text("mark"), floor["copies"].text("mark")) == ("", FLAG)
    assert floor["copies"].text("val") == "0.125"
    assert floor["copies"].text("err") == "± 0.030"
    assert floor["copies"].attributes["title"].startswith("copies: p = 2e-07; 100 images")
    assert (alpha["copying z"].text("val"), alpha["copying z"].text("err")) == ("1.2", "± 1.0")
    assert (alpha["gap in nats"].text("val"), alpha["gap in nats"].text("err")) == (
        "-3.50",
        "± 0.25",
    )
    assert "40% of the training split was seen" in alpha["gap in nats"].attributes["title"]
    assert floor["gap in nats"].text("val") == ""


def test_odd_inputs_below_digits_are_marked(probed: Bench) -> None:
    found = table(page_of(probed), "odd-inputs")
    assert list(found) == ["alpha", "beta"]
    heads = ["digits", "mirrored", "rotated", "inverted", "shuffled", "noise", "black"]
    assert list(found["alpha"]) == heads
    marked = {
        (name, head)
        for name, row in found.items()
        for head, cell in row.items()
        if FLAG in cell.text("mark")
    }
    assert marked == {("alpha", "black"), ("beta", "mirrored")}
    assert found["beta"]["mirrored"].text("mark") == f"{FLAG} ≤"
    assert found["beta"]["black"].text("mark") == "≤"
    assert found["alpha"]["mirrored"].text("val") == "1.300"
    assert found["alpha"]["noise"].text("val") == "withheld"
    assert "4 of 20 are not finite" in found["alpha"]["noise"].attributes["title"]


def test_neither_is_in_another_table(probed: Bench) -> None:
    text = page_of(probed)
    board = section_of(text, "board-mnist")
    for head in ("copies", "copying", "gap in nats", "mirrored", "noise"):
        assert head not in board
    assert 'id="variants"' not in text


def test_without_probes_there_is_no_section(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    text = page_of(bench)
    assert 'id="memorisation"' not in text and 'id="odd-inputs"' not in text


def test_samples_are_shown_above_their_nearest_training_images(probed: Bench) -> None:
    section = section_of(page_of(probed), "memorisation")
    pictures = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]+)"', section)
    assert len(pictures) == 2
    run = Layout.of(probed.params).run_dir("alpha")
    with np.load(run.samples) as samples, np.load(run.neighbours) as near:
        drawn, stored = samples["images"][:20], near["images"]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0]))).convert("L"))
    for number in (0, 7, 13):
        row, column = divmod(number, 10)
        for part, images in enumerate((drawn, stored)):
            top, left = (2 * row + part) * 57, column * 57
            found = shown[top : top + 56 : 2, left : left + 56 : 2].astype(int)
            assert np.abs(found - images[number]).max() <= 8, "the nearest of sixteen greys"
    assert shown.shape == (4 * 57 - 1, 10 * 57 - 1)


def test_pictures_without_room_lie_beside_the_page(probed: Bench) -> None:
    board, entries = probed.board(), reading.read_entries(probed.params)
    assert "neighbours.png" not in page(board, entries, Material())[0]
    probed.write()
    files = {path.name for path in Layout.of(probed.params).report.figures.iterdir()}
    assert {"alpha-neighbours.png", "floor-neighbours.png"} <= files
    assert "beta-neighbours.png" not in files


def test_few_samples_are_shown_in_one_row_and_none_not_at_all() -> None:
    images = np.zeros((3, 28, 28), np.uint8)
    near = {"sample": np.array([2, 0]), "images": images[:2]}
    data = neighbour_grid(images, near, SPEC)
    assert data is not None
    assert Image.open(io.BytesIO(data)).size == (2 * 57 - 1, 2 * 57 - 1)
    assert neighbour_grid(images, {}, SPEC) is None
    assert neighbour_grid(images[:2], near, SPEC) is None, "they are of other samples"
