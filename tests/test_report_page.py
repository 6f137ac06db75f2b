"""The report's page: that it stands alone, what its tables mark, which pictures it holds."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genbench.base import Likelihood
from genbench.config.layout import Layout
from genbench.errors import UserError
from genbench.files import read_json, write_bytes, write_json, write_text
from genbench.pictures.grids import png
from genbench.report.page import MAX_BYTES, Material, page
from genbench.results import entry as reading
from genbench.scoring.records import Record, write_record
from tests.invented_results import MODELS, Bench, everything


class Reader(HTMLParser):
    """Collects what a browser would load, the links, the texts of tables, and the tags that are not
    closed.
    """

    VOID = frozenset(("meta", "link", "img", "br", "use", "path"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.scripts = 0
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.scripts += tag == "script"
        if given.get("id"):
            self.ids.append(str(given["id"]))
        for key in ("src", "srcset", "data", "poster", "xlink:href"):
            if key in given:
                self.loaded.append(str(given[key]))
        if "href" in given:
            (self.links if tag == "a" else self.loaded).append(str(given["href"]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self.open.pop() == tag


def test_the_page_stands_alone(full_report: Bench) -> None:
    text = full_report.page()
    reader = Reader(text)
    assert reader.open == []
    assert [place for place in reader.loaded if not place.startswith(("data:", "#"))] == []
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", text)
    assert all(
        link.startswith(("#", "https://arxiv.org/abs/", "../../docs/", "leaderboard."))
        for link in reader.links
    )
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    assert len(text.encode()) <= MAX_BYTES
    sections = (
        "summary",
        "board-mnist",
        "missing",
        "samples",
        "pictures",
        "curves",
        "cost",
        "published",
        "environment",
    )
    assert set(sections) <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))


def test_each_entry_has_an_address_and_a_family_to_be_shown_by(full_report: Bench) -> None:
    text = full_report.page()
    rows = read_json(Layout.of(full_report.params).report.leaderboard)["rows"]
    groups = {row["entry"]: "controls" if row["control"] else row["family"] for row in rows}
    assert f"<option>{'</option><option>'.join(sorted(set(groups.values())))}</option>" in text
    for entry, group in groups.items():
        assert f'<tr id="entry-{entry}" data-family="{group}">' in text
    pattern = r'<figure(?: class="chart")? data-family="([^"]*)">.*?#entry-([^"]+)"'
    shown = re.findall(pattern, text, flags=re.DOTALL)
    assert {entry: group for group, entry in shown} == {
        entry: group for entry, group in groups.items() if not entry.endswith("*")
    }


def test_what_is_long_is_folded(full_report: Bench) -> None:
    text = full_report.page()
    for name in ("pictures", "curves", "environment"):
        section = text.partition(f'<section id="{name}">')[2].partition("</section>")[0]
        first = re.search("<figure|<table", section)
        assert first is not None
        assert 0 <= section.find("<details") < first.start()
        assert "<details open" not in section


def test_errors_are_shown_and_not_run(full_report: Bench) -> None:
    text = full_report.page()
    assert Reader(text).scripts == 1
    assert html.escape("</pre><script>alert(1)</script>") in text
    assert "A <walk>" not in text
    assert "A &lt;walk&gt;" in text


def test_equal_inputs_give_equal_files(bench: Bench, full_report: Bench) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {
            str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
        }

    everything(bench).write()
    first = files(Layout.of(full_report.params).report.path)
    assert first == files(Layout.of(bench.params).report.path)
    names = {
        "alpha-samples.png",
        "alpha-curves.png",
        "real-mnist-mixed.png",
        "real-mnist-by_class.png",
        "cost-mnist-1.png",
        "cost-mnist-2.png",
    }
    assert {f"figures/{name}" for name in names} <= first.keys()
    assert "figures/floor-curves.png" not in first


def test_groups_are_apart_and_controls_last(full_report: Bench) -> None:
    table = full_report.page().split('id="board-mnist"')[1].split("</table>")[0]
    groups = re.findall(r'<tr class="group">.*?<b>(.*?)</b>', table)
    assert groups == ["Exact", "Bound", "Estimate", "No likelihood", "Controls"]
    controls = table.split('<tbody class="controls">')[1]
    assert re.findall(r'<span class="entry">(.*?)</span>', controls) == ["ceiling", "floor"]
    assert table.count('<tbody class="controls">') == 1


def test_marks_and_notes_of_the_table(bench: Bench) -> None:
    everything(bench).sampling("beta_cond", matches=False, sampler="ddim-20")
    run = Layout.of(bench.params).run_dir("delta").path
    write_record(
        run / "likelihood.json",
        Record("delta", {}, {"nats": "ESS 3 is below 10", "bits_per_dim": "ESS 3 is below 10"}),
    )
    text, _ = page(bench.board(), reading.read_entries(bench.params), Material())
    section = text.split('id="board-mnist"')[1].split("</section>")[0]
    notes = re.findall(r"<li>(.*?)</li>", section.split('<ol class="notes">')[1])
    row_of = {
        name: part
        for part in section.split("<tr id=")
        for name in re.findall(r'class="entry"[^>]*>(.*?)<', part)[:1]
    }
    (number_of,) = re.findall(r'class="entry"[^>]*>beta_cond</a><sup>(\d)</sup>', section)
    assert "cheaper or sharpened sampler" in notes[int(number_of) - 1]
    assert (
        '<span class="mark">≤</span><span class="val">1.250</span> <span class="err">± 0.010</span>'
        in row_of["beta_cond"]
    )
    assert '<span class="mark">=</span><span class="val">1.200</span>' in row_of["alpha"]
    withheld = set(re.findall(r"withheld</span><sup>(\d)</sup>", row_of["delta"]))
    assert {notes[int(n) - 1] for n in withheld} == {"delta: ESS 3 is below 10"}
    assert "conditional" in row_of["beta_cond"]


def test_estimates_do_not_win(full_report: Bench) -> None:
    section = full_report.page().split('id="board-mnist"')[1].split("</section>")[0]
    row_of = {
        name: part
        for part in section.split("<tr id=")
        for name in re.findall(r'class="entry"[^>]*>(.*?)<', part)[:1]
    }
    assert '<span class="mark">≈</span>' in row_of["delta"]
    assert "best" not in row_of["delta"]


def test_the_place_of_an_fid_between_the_controls(full_report: Bench) -> None:
    section = full_report.page().split('id="board-mnist"')[1].split("</section>")[0]
    places = dict(
        re.findall(
            r'class="entry">(\w+)</span>(?:(?!class="entry">).)*?left:([\d.]+)%',
            section,
            flags=re.DOTALL,
        )
    )
    assert float(places["gamma"]) == pytest.approx(
        100 * math.log(3.0 / 0.5) / math.log(300.0 / 0.5), abs=0.06
    )
    assert "floor" not in places


def test_every_entry_has_its_samples_and_real_ones_beside(full_report: Bench) -> None:
    section = full_report.page().split('id="samples"')[1].split("</section>")[0]
    pictures = {
        alt: data
        for data, alt in re.findall(r'src="data:image/png;base64,([^"]*)" alt="([^"]*)"', section)
    }
    assert {
        f"Samples of {name}" for name in ("alpha", "beta_cond", "gamma", "floor", "binary-alpha")
    } <= pictures.keys()
    assert {
        "100 real test images of mnist",
        "Real test images of mnist, a class per row",
        "100 real test images of binary_mnist",
    } <= pictures.keys()
    shown = Image.open(io.BytesIO(base64.b64decode(pictures["Samples of alpha"])))
    assert shown.size == (10 * 57 - 1, 10 * 57 - 1)
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28), dtype=np.uint8)
    pixels = np.asarray(shown)
    found = pixels[57 * 3 : 57 * 3 + 56 : 2, 57 * 4 : 57 * 4 + 56 : 2]
    assert np.abs(17.0 * found - images[34]).max() <= 8.5, "the nearest of sixteen greys"


@pytest.mark.parametrize("entries", [("alpha",), ("gamma",), ("floor",), ()])
def test_the_page_of_few_entries(bench: Bench, entries: tuple[str, ...]) -> None:
    bench.declare("gone", "beta", dataset="binary_mnist")
    for name in entries:
        bench.add(name, name, bits=None if MODELS[name][0] is Likelihood.NONE else 1.2)
    board = bench.write()
    assert Reader(bench.page()).open == []
    assert [r["entry"] for r in board["rows"]] == list(entries)
    assert "No entry of this data set has been trained yet." in bench.page()


def test_pictures_beyond_the_budget_become_files(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    noise = np.random.default_rng(0)
    items = []
    for i in range(80):
        # Noise of sixteen greys stays 75 kB.
        write_bytes(
            run / "pictures" / f"v{i}.png", png(noise.integers(0, 256, (300, 500), dtype=np.uint8))
        )
        items.append({"file": f"v{i}.png", "kind": "process", "title": f"title {i}", "caption": ""})
    write_json(run / "pictures" / "pictures.json", items)
    bench.write()
    text = bench.page()
    assert len(text.encode()) <= MAX_BYTES
    beside = re.findall(r'src="(figures/alpha-v\d+\.png)"', text)
    assert 0 < len(beside) < 80
    assert all((Layout.of(bench.params).report.path / name).is_file() for name in beside)
    assert sum(f"title {i} of alpha" in text for i in range(80)) == 80


def test_a_page_above_its_limit_has_its_pictures_beside_it_or_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything(bench)
    outcomes, pictures = (
        reading.read_entries(bench.params),
        Material(samples={"alpha": bytes(100_000)}),
    )
    board = bench.board()
    bare = len(page(board, outcomes, Material(samples={"alpha": bytes(10**7)}))[0].encode())
    monkeypatch.setattr("genbench.report.page.MAX_BYTES", bare + 1000)
    text, _ = page(board, outcomes, pictures)
    assert 'src="figures/alpha-samples.png"' in text
    assert len(text.encode()) <= bare + 1000
    monkeypatch.setattr("genbench.report.page.MAX_BYTES", bare // 2)
    with pytest.raises(UserError, match=r"without its pictures, above its limit .* 'quick'"):
        page(board, outcomes, pictures)


def test_only_families_with_a_page_are_linked(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.add("gamma", "gamma")
    write_text(bench.params.root / "docs" / "autoregressive.md", "# Autoregressive models")
    bench.write()
    links = {link for link in Reader(bench.page()).links if link.startswith("../../docs/")}
    assert links == {"../../docs/autoregressive.md"}
    assert ">adversarial" in bench.page()


def test_the_commit_is_shown_whole(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    path = run / "provenance.json"
    write_json(path, json.loads(path.read_text()) | {"git": "v0.1-3-gabcdef012345-dirty"})
    bench.write()
    assert "<code>v0.1-3-gabcdef012345-dirty</code>" in bench.page()
