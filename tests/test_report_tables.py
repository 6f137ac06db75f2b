"""The report as CSV and as Markdown, and the processors that both name."""

from __future__ import annotations

import csv
import io
import json

import pytest

from genbench.config.layout import Layout
from genbench.files import write_json
from genbench.report.page import Material, page
from genbench.report.tables import csv_table, markdown
from genbench.report.text import number, plus_minus
from genbench.results import entry as reading
from tests.invented_results import Bench, row


def test_csv_holds_every_number(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.23456789)
    bench.add("g", "gamma")
    rows = {line["entry"]: line for line in csv.DictReader(io.StringIO(csv_table(bench.board())))}
    assert float(rows["alpha"]["bits_per_dim"]) == 1.23456789
    assert rows["alpha"]["bits_per_dim_n"] == "100"
    assert rows["g"]["bits_per_dim"] == rows["g"]["matches_likelihood"] == ""
    assert rows["g"]["fid_mnist_stderr"] == ""
    assert rows["g"]["parameters"] == "1234"


def test_csv_leaves_empty_what_is_absent_and_nothing_else(bench: Bench) -> None:
    """A seed of 0, a flag that is false and a score of 0 are there."""
    bench.add("alpha", "alpha", bits=0.0)
    bench.sampling("alpha", matches=False, sampler="ddim-20")
    board = bench.board()
    (line,) = csv.DictReader(io.StringIO(csv_table(board)))
    (one,) = board["rows"]
    own = {key: one[key] for key in line if key in one}
    assert (own["seed"], own["control"], own["matches_likelihood"]) == (0, False, False)
    assert {key: line[key] for key in own} == {key: str(value) for key, value in own.items()}
    assert (line["bits_per_dim"], line["bits_per_dim_n"]) == ("0.0", "100")


def test_markdown_marks_kinds_and_samplers(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.add("beta", "beta", bits=1.25)
    bench.add("delta", "delta", bits=1.0)
    bench.add("floor", "floor", fid=0.5)
    bench.sampling("beta", matches=False, sampler="ddim-20")
    bench.declare("gone", "gamma")
    bench.fail("gone", "train", "a | pipe and <b>")
    text = markdown(bench.board())
    lines = {
        line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")
    }
    assert "| 1.200 ± 0.010 |" in lines["`alpha`"]
    assert "| ≤ 1.250 ± 0.010 |" in lines["`beta` †"]
    assert "| ≈ 1.000 ± 0.010 |" in lines["`delta`"]
    assert "(control)" in lines["`floor`"]
    assert {line.count("|") for line in lines.values()} == {10}
    assert r"a \| pipe and \<b\>" in text
    assert "cheaper or sharpened sampler" in text


def kind(isa: str) -> dict[str, object]:
    return {
        "machine": "x86_64",
        "vendor": "AuthenticAMD",
        "isa": isa,
        "libraries": {"torch": "2.9"},
        "limits": {},
    }


def on(bench: Bench, name: str, trained: str, **later: str) -> None:
    """Say on which kind of processor the stages of an entry ran."""
    run = Layout.of(bench.params).run_dir(name).path
    files = {"provenance.json": trained, "sampling.json": later.get("sampled", trained)}
    for file, isa in files.items():
        write_json(run / file, json.loads((run / file).read_text()) | {"kind": kind(isa)})
    for file, isa in (
        ("likelihood.json", later.get("likelihood", trained)),
        ("quality.json", later.get("quality", trained)),
    ):
        record = json.loads((run / file).read_text())
        write_json(run / file, record | {"made_from": record["made_from"] | {"kind": kind(isa)}})


def test_the_processor_is_named_for_each_row_as_soon_as_rows_differ(bench: Bench) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.add("beta", "beta", bits=1.25)
    for name in ("alpha", "beta"):
        on(bench, name, "AVX2")
    board = bench.board()
    assert [r["processor"] for r in board["rows"]] == [
        "AMD, AVX2, torch 2.9",
        "AMD, AVX2, torch 2.9",
    ]
    assert "processor" not in markdown(board)
    assert "· AMD, AVX2" not in page(board, reading.read_entries(bench.params), Material())[0]
    on(bench, "beta", "AVX512_BF16", quality="AVX2")
    board = bench.board()
    text = markdown(board)
    assert text.count("| processor |") == 1
    lines = {
        line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")
    }
    assert lines["`alpha`"].endswith("| AMD, AVX2, torch 2.9 |")
    assert lines["`beta`"].endswith(
        "| AMD, AVX512_BF16, torch 2.9; samples scored on AMD, AVX2, torch 2.9 |"
    )
    html = page(board, reading.read_entries(bench.params), Material())[0]
    assert "· AMD, AVX2, torch 2.9</small>" in html
    assert "· AMD, AVX512_BF16, torch 2.9; samples scored on AMD, AVX2, torch 2.9</small>" in html
    rows = {line["entry"]: line for line in csv.DictReader(io.StringIO(csv_table(board)))}
    assert rows["alpha"]["processor"] == "AMD, AVX2, torch 2.9"


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("sampled", "sampled on"),
        ("likelihood", "likelihood scored on"),
        ("quality", "samples scored on"),
    ],
)
def test_a_stage_on_another_processor_is_named(bench: Bench, stage: str, words: str) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    on(bench, "alpha", "AVX2", **{stage: "AVX512"})
    assert (
        row(bench.board(), "alpha")["processor"]
        == f"AMD, AVX2, torch 2.9; {words} AMD, AVX512, torch 2.9"
    )


def test_a_mean_over_seeds_names_the_processors_of_all(bench: Bench) -> None:
    for seed, isa in enumerate(("AVX2", "AVX512")):
        bench.add(f"alpha-s{seed}", "alpha", bits=1.2, seed=seed)
        on(bench, f"alpha-s{seed}", isa)
    mean = next(r for r in bench.board()["rows"] if r["status"] == "aggregate")
    assert mean["processor"] == "AMD, AVX2, torch 2.9 / AMD, AVX512, torch 2.9"


def test_markdown_of_nothing(bench: Bench) -> None:
    bench.declare("alpha", "alpha")
    assert "Not complete: `alpha`" in markdown(bench.board())


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.23456, 0.0123, "1.235 ± 0.012"),
        (83.456, 0.5, "83.46 ± 0.50"),
        (1234.5, 12.0, "1234 ± 12"),
        (0.5, 0.0, "0.5000"),
        (0.0, None, "0"),
        (0.0482512, 4e-7, "0.04825"),
        (0.0482512, 6e-7, "0.048251 ± 0.000001"),
    ],
)
def test_errors_have_two_digits(value: float, error: float | None, text: str) -> None:
    assert plus_minus(value, error) == text


def test_small_numbers_are_not_rounded_away() -> None:
    assert float(number(0.00123)) == pytest.approx(0.00123, rel=1e-2)
    assert float(number(-0.5)) == -0.5
