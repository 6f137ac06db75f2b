"""A damaged file, or a model that cannot be imported, costs its own entry only."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from genbench.config.layout import Layout
from genbench.files import write_bytes, write_npz
from genbench.results import entry as reading
from pipelines import report
from tests.invented_results import Bench, fake_class, row

NAN = b'{"value": NaN, "stderr": null, "n": 1, "higher_is_better": false}'
PICTURE = b'[{"file": "%s", "kind": "process", "title": "t", "caption": "c"}]'


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("quality.json", b"{"),
        ("quality.json", b"[]"),
        ("quality.json", b'{"entry": "alpha", "metrics": [], "withheld": {}}'),
        ("quality.json", b'{"entry": "other", "metrics": {}, "withheld": {}}'),
        ("likelihood.json", b'{"entry": "alpha", "metrics": {"nats": %s}, "withheld": {}}' % NAN),
        ("cost.json", b'{"parameters": "many"}'),
        ("cost.json", b'{"train_seconds": NaN}'),
        ("provenance.json", b"\xff\xfe"),
        ("weights.safetensors", b"\x10\x00\x00"),
        ("history.csv", b""),
        ("history.csv", b"step,loss/loss\n1,abc\n"),
        ("samples.npz", b"PK"),
        ("sampling.json", b"{}"),
        ("pictures/pictures.json", PICTURE % b"../../weights.png"),
        ("pictures/pictures.json", PICTURE % b"gone.png"),
    ],
)
def test_a_damaged_file_costs_its_own_entry_only(bench: Bench, file: str, content: bytes) -> None:
    run = bench.add("alpha", "alpha", bits=1.2)
    bench.add("beta", "beta", bits=1.3)
    write_bytes(run / file, content)
    board = bench.board()
    assert row(board, "beta")["status"] == "ok"
    (gap,) = board["missing"]
    assert gap["entry"] == "alpha"
    assert Path(file).name in gap["reason"] or "gone.png" in gap["reason"]
    assert str(bench.params.root) not in gap["reason"]


def test_samples_of_another_shape_are_refused(bench: Bench) -> None:
    run = bench.add("alpha", "alpha", bits=0.2, dataset="binary_mnist")
    write_npz(run / "samples.npz", {"images": np.full((3, 28, 28), 2, np.uint8)})
    assert "levels 0..1, got 2" in bench.board()["missing"][0]["reason"]
    write_npz(run / "samples.npz", {"images": np.zeros((3, 1, 28, 28), np.uint8)})
    assert "uint8 (n, 28, 28)" in bench.board()["missing"][0]["reason"]


def test_a_model_that_cannot_be_imported_costs_its_own_entries_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> SimpleNamespace:
        if name == "beta":
            raise SyntaxError("invalid syntax (beta.py, line 3)")
        return fake_class(name)

    bench.add("alpha", "alpha", bits=1.2)
    bench.add("beta", "beta", bits=1.3)
    monkeypatch.setattr(reading, "model_class", broken)
    board = bench.board()
    assert [r["entry"] for r in board["rows"]] == ["alpha"]
    assert "line 3" in board["missing"][0]["reason"]


def test_a_failing_report_leaves_the_former_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("alpha", "alpha", bits=1.2)
    bench.write()
    before = bench.page()
    monkeypatch.setattr("genbench.report.build.csv_table", lambda board: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.run(bench.params)
    assert bench.page() == before
    assert [p.name for p in Layout.of(bench.params).report.path.parent.iterdir()] == ["quick"]
