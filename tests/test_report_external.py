"""What others made, in the report: a row beside the entries that competes for nothing, and what is
said of one whose scores do not count.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genbench.config.layout import Layout
from genbench.config.stages import STAGES
from genbench.errors import UserError
from genbench.external.images import Images, chosen
from genbench.external.nats import Nats, nats_metrics
from genbench.external.rows import check_new_name, keep, read_rows, scored_by
from genbench.files import write_npz
from genbench.report.page import Material, page
from genbench.report.rows import leaderboard
from genbench.report.tables import csv_table, markdown
from genbench.results import entry as reading
from genbench.results.schema import validate
from genbench.scoring.records import Metric, Record
from genbench.spec import DataSpec
from tests.invented_results import Bench, row
from tests.pages import leaderboard_of, summary_of

KIND = {
    "machine": "x86_64",
    "vendor": "AuthenticAMD",
    "isa": "AVX2",
    "libraries": {"torch": "2.9"},
    "limits": {},
}
SPEC = DataSpec(28, 28, 256, 10)
FEATURES = "0" * 64


def add(
    bench: Bench,
    name: str,
    *,
    bits: float | None = None,
    fid: float | None = 0.001,
    n: int = 100,
    labels: bool = False,
) -> Path:
    """Keep a row with invented scores, which are better than all others."""
    rng = np.random.default_rng(len(name))
    images = Images(
        rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), np.arange(n) % 10 if labels else None
    )
    nats = None if bits is None else Nats(np.full(9, bits * 784 * math.log(2)), np.arange(9))
    made_from = {
        "samples": images.digest,
        "nats": None if nats is None else nats.digest,
        "images": n,
        "labels": labels,
        **scored_by(bench.params),
        "features": FEATURES,
        "kind": KIND,
    }
    metrics = {} if nats is None else nats_metrics(nats, SPEC)
    withheld = {"is_mnist": "depends on the number of samples"}
    if fid is not None:
        metrics["fid_mnist"] = Metric(fid, None, n, False, detail={"reference_n": 100})
    return keep(bench.params, "mnist", images, nats, Record(name, metrics, withheld, made_from))


def board(bench: Bench) -> dict[str, Any]:
    entries, external = reading.read_entries(bench.params), read_rows(bench.params)
    return leaderboard(bench.params, entries, external=external)


def shown(bench: Bench) -> str:
    return page(board(bench), reading.read_entries(bench.params), Material())[0]


def entries(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2, fid=5.0)
    bench.add("alpha-wide", "alpha", bits=1.4, fid=4.0, width=2)
    bench.add("gamma", "gamma", fid=3.0)


# ---------------------------------------------------------------------- the row


def test_a_row_says_what_it_is(bench: Bench) -> None:
    entries(bench)
    before = board(bench)
    add(bench, "theirs", bits=0.5, labels=True)
    after = board(bench)
    own = row(after, "theirs")
    assert [r for r in after["rows"] if r is not own] == before["rows"]
    assert after["missing"] == []
    said = ("dataset", "family", "status", "likelihood_kind", "seed", "conditional", "control")
    assert [own[key] for key in said] == [
        "mnist", "external", "external", "reported", None, True, False,
    ]  # fmt: skip
    assert own["metrics"]["bits_per_dim"]["value"] == pytest.approx(0.5)
    assert own["metrics"]["bits_per_dim"]["kind"] == "reported"
    assert own["metrics"]["fid_mnist"]["value"] == 0.001
    assert own["processor"] == "AMD, AVX2, torch 2.9"
    add(bench, "samples-only")
    assert row(board(bench), "samples-only")["likelihood_kind"] == "none"


def test_the_schema_wants_what_a_row_is_made_from(bench: Bench) -> None:
    add(bench, "theirs")
    found = board(bench)
    found["rows"][0]["seed"] = 0
    with pytest.raises(UserError, match="seed"):
        validate(found)
    found["rows"][0]["seed"] = None
    del found["rows"][0]["made_from"]["samples"]
    with pytest.raises(UserError, match="'samples' is a required property"):
        validate(found)


def test_a_row_stands_in_its_group_and_wins_nothing(bench: Bench) -> None:
    entries(bench)
    before = leaderboard_of(shown(bench), "mnist")[1], summary_of(shown(bench))
    add(bench, "theirs", bits=0.1)
    add(bench, "samples-only")
    text = shown(bench)
    table = leaderboard_of(text, "mnist")[1]
    groups = re.findall(r'<tr class="group">.*?<b>(.*?)</b>', text)
    assert groups == ["Exact", "Reported elsewhere", "No likelihood"]
    assert not any(
        cell.best for name in ("theirs", "samples-only") for cell in table[name].values()
    )
    assert table["theirs"]["bits/dim"].text("mark") == "?"
    assert table["theirs"]["IS"].text("val") == "withheld"
    assert summary_of(text) == before[1]
    for name, cells in before[0].items():
        for head, cell in cells.items():
            assert table[name][head] == cell


def test_what_was_reported_is_explained_only_where_there_is_some(bench: Bench) -> None:
    entries(bench)
    add(bench, "samples-only")
    assert "reported elsewhere" not in shown(bench)
    add(bench, "theirs", bits=0.5)
    assert "reported elsewhere" in shown(bench)


def test_markdown_and_csv_have_the_row(bench: Bench) -> None:
    entries(bench)
    assert "§" not in markdown(board(bench))
    add(bench, "theirs", bits=0.5)
    text = markdown(board(bench))
    (line,) = (one for one in text.splitlines() if one.startswith("| `theirs`"))
    assert line.startswith("| `theirs` § | reported elsewhere | ? 0.5000 |")
    assert "§: made elsewhere" in text
    assert "?: likelihoods that came with the samples" in text
    lines = {one["entry"]: one for one in csv.DictReader(io.StringIO(csv_table(board(bench))))}
    assert float(lines["theirs"]["fid_mnist"]) == 0.001
    assert (lines["theirs"]["seed"], lines["theirs"]["parameters"]) == ("", "")


def test_the_report_shows_the_samples_that_are_scored(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    add(bench, "theirs", n=150)
    written = bench.write()
    assert row(written, "theirs")["made_from"]["images"] == 150
    folder = Layout.of(bench.params).report
    assert 'alt="Samples of theirs"' in bench.page()
    pixels = np.asarray(Image.open(folder.figures / "theirs-samples.png"))
    images = np.random.default_rng(6).integers(0, 256, (150, 28, 28), dtype=np.uint8)
    first, second = images[chosen(150, 100)][[0, 11]]
    assert (pixels[:56:2, :56:2] == first).all()
    assert (pixels[57 : 57 + 56 : 2, 57 : 57 + 56 : 2] == second).all()
    assert folder.metrics("theirs").is_file()


def test_the_report_depends_on_what_is_kept(bench: Bench) -> None:
    """By the folder that DVC looks at, so that the next run writes the report anew."""
    kept = add(bench, "theirs").relative_to(bench.params.root)
    assert kept == Path("runs/quick/external/mnist/theirs")
    assert "runs" in STAGES["report"].reads
    assert Layout.of(bench.params).place("runs") in (bench.params.root / kept).parents


# ---------------------------------------------------------------------- rows that do not count


def _damaged(path: Path) -> None:
    (path / "quality.json").write_text("{")


def _without_record(path: Path) -> None:
    (path / "quality.json").unlink()


def _without_samples(path: Path) -> None:
    (path / "samples.npz").unlink()


def _other_samples(path: Path) -> None:
    write_npz(path / "samples.npz", {"images": np.zeros((100, 28, 28), np.uint8)})


def _other_arrays(path: Path) -> None:
    write_npz(path / "samples.npz", {"x": np.zeros(3)})


def _renamed(path: Path) -> None:
    path.rename(path.with_name("other"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_damaged, "quality.json is no valid JSON"),
        (_without_record, "quality.json"),
        (_without_samples, "samples.npz does not exist"),
        (_other_samples, "samples.npz has changed since it was scored"),
        (_other_arrays, "samples.npz has changed since it was scored"),
        (_renamed, "is the record of 'theirs'"),
    ],
)
def test_a_damaged_row_is_listed_and_costs_nothing_else(
    bench: Bench, change: Callable[[Path], None], said: str
) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    add(bench, "mine")
    change(add(bench, "theirs"))
    found = board(bench)
    assert [r["entry"] for r in found["rows"]] == ["alpha", "mine"]
    (gap,) = found["missing"]
    assert gap["dataset"] == "mnist"
    assert said in gap["reason"]
    folder = f"runs/quick/external/mnist/{gap['entry']}"
    assert gap["reason"].endswith(f"to remove the row, delete {folder}")
    assert str(bench.params.root) not in gap["reason"]
    # The entries are complete.
    assert summary_of(shown(bench))["mnist"]["Complete"][0] == "1 of 1"


@pytest.mark.parametrize("change", ["metrics", "samples", "feature_reference_images", "features"])
def test_scores_by_another_protocol_do_not_count(bench: Bench, change: str) -> None:
    add(bench, "theirs", bits=0.5, labels=True)
    params = bench.params
    if change == "metrics":
        bench.params = replace(params, metrics=("kid",))
    elif change == "features":
        write_npz(Layout.of(params).features("mnist"), {"features": np.zeros(3)})
    else:
        bench.params = replace(params, protocol=replace(params.protocol, **{change: 50}))
    (gap,) = board(bench)["missing"]
    folder = "runs/quick/external/mnist/theirs"
    name = change if change in ("metrics", "features") else f"protocol.{change}"
    assert gap["reason"] == (
        f"{name} changed since it was scored; run `genbench evaluate {folder}/samples.npz "
        f"--dataset mnist --as theirs --labels --nats {folder}/nats.npz`; to remove the row, "
        f"delete {folder}"
    )


def test_a_name_that_an_entry_has_is_refused_and_told(bench: Bench) -> None:
    add(bench, "theirs")
    check_new_name(bench.params, "mnist", "theirs")
    bench.add("theirs", "alpha", bits=1.2)
    with pytest.raises(UserError, match="'theirs' is an entry"):
        check_new_name(bench.params, "mnist", "theirs")
    found = board(bench)
    assert [r["status"] for r in found["rows"]] == ["ok"]
    assert "an entry is called theirs now, too" in found["missing"][0]["reason"]
