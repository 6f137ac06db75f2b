"""Receipts of stages: when one counts, and what happens when a stage is run twice at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import STAGES
from genbench.errors import UserError
from genbench.files import write_json
from genbench.pipeline.receipts import Receipt, content_of, publish, read_receipt
from genbench.pipeline.stage_runner import stage_places


@pytest.fixture
def ready(params: Params) -> Params:
    """A project in which `sample` of `made` can have run."""
    layout = Layout.of(params)
    for path in (layout.fingerprint("made", "sample"), layout.run_dir("made").weights):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the first {path.name}")
    return params


def receipt_of(params: Params, *, host: str = "here", begun: float = 1.0) -> Receipt:
    layout = Layout.of(params)
    own = content_of(layout.fingerprint("made", "sample"))
    reads = {"weights": content_of(layout.run_dir("made").weights)}
    return Receipt("sample", "made", own, reads, {}, host, begun, 2.5)


def run(params: Params, folder: Path, samples: str, record: str, **of: object) -> None:
    """As a process does that has sampled."""
    folder.mkdir(parents=True)
    staged = {"samples": folder / "samples.npz", "sampling": folder / "sampling.json"}
    staged["samples"].write_text(samples)
    staged["sampling"].write_text(record)
    places = stage_places(params, STAGES["sample"], "made")
    final = {part: places[part] for part in staged}
    publish(params, replace(receipt_of(params), **of), staged, final)  # type: ignore[arg-type]


def test_what_is_published_is_in_place_and_has_a_receipt(ready: Params, tmp_path: Path) -> None:
    assert read_receipt(ready, "sample", "made") is None
    run(ready, tmp_path / "a", "digits", "1 s")
    place = Layout.of(ready).run_dir("made")
    assert place.samples.read_text() == "digits"
    assert not (tmp_path / "a" / "samples.npz").exists()
    found = read_receipt(ready, "sample", "made")
    assert found is not None
    assert found.writes == {
        "samples": content_of(place.samples),
        "sampling": content_of(place.sampling),
    }
    assert (found.host, found.seconds) == ("here", 2.5)


@pytest.mark.parametrize("changed", ["samples", "sampling", "weights", "fingerprint", "receipt"])
def test_a_receipt_counts_as_long_as_all_is_so(ready: Params, tmp_path: Path, changed: str) -> None:
    run(ready, tmp_path / "a", "digits", "1 s")
    layout = Layout.of(ready)
    places = {
        "fingerprint": layout.fingerprint("made", "sample"),
        "receipt": layout.done("made", "sample"),
    }
    path = places.get(changed) or getattr(layout.run_dir("made"), changed)
    content = path.read_bytes()
    path.write_bytes(b"{}")
    assert read_receipt(ready, "sample", "made") is None
    path.unlink()
    assert read_receipt(ready, "sample", "made") is None
    path.write_bytes(content)
    assert read_receipt(ready, "sample", "made") is not None


def test_who_ends_second_leaves_equal_results_as_they_are(ready: Params, tmp_path: Path) -> None:
    run(ready, tmp_path / "a", "digits", "1 s")
    run(ready, tmp_path / "b", "digits", "9 s", host="there", begun=1.5)
    place = Layout.of(ready).run_dir("made")
    assert place.sampling.read_text() == "1 s", "times are the first one's, as all else"
    found = read_receipt(ready, "sample", "made")
    assert found is not None
    assert found.host == "here"


def test_other_bits_are_an_error_that_names_both(ready: Params, tmp_path: Path) -> None:
    run(ready, tmp_path / "a", "digits", "1 s")
    with pytest.raises(UserError, match=r"sample of made ran twice, here on there and on here"):
        run(ready, tmp_path / "b", "others", "1 s", host="there", begun=1.5)
    assert Layout.of(ready).run_dir("made").samples.read_text() == "digits"


def test_from_other_inputs_the_second_one_stands(ready: Params, tmp_path: Path) -> None:
    run(ready, tmp_path / "a", "digits", "1 s")
    Layout.of(ready).run_dir("made").weights.write_text("others")
    run(ready, tmp_path / "b", "others", "9 s", begun=1.5)
    assert Layout.of(ready).run_dir("made").samples.read_text() == "others"
    assert read_receipt(ready, "sample", "made") is not None


def test_half_of_each_of_two_counts_as_nothing(ready: Params, tmp_path: Path) -> None:
    """Two whose locks do not see each other: one file of each, and the receipt of either."""
    run(ready, tmp_path / "a", "digits", "1 s")
    Layout.of(ready).run_dir("made").sampling.write_text("9 s")
    assert read_receipt(ready, "sample", "made") is None


def test_a_folder_is_what_is_in_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "x").write_text("1")
        (tmp_path / name / "y").write_text("2")
    same = content_of(tmp_path / "a")
    assert same == content_of(tmp_path / "b")
    (tmp_path / "b" / "y").rename(tmp_path / "b" / "z")
    assert same != content_of(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        content_of(tmp_path / "c")


def test_a_receipt_is_plain_json(ready: Params, tmp_path: Path) -> None:
    run(ready, tmp_path / "a", "digits", "1 s")
    path = Layout.of(ready).done("made", "sample")
    written = json.loads(path.read_text())
    assert written["reads"] == {"weights": content_of(Layout.of(ready).run_dir("made").weights)}
    write_json(path, {**written, "unknown": 1})
    assert read_receipt(ready, "sample", "made") is None, "of another version"
