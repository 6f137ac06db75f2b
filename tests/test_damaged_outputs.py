"""Weights and pictures that are damaged, or go while they are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from genbench.config.layout import Layout
from genbench.config.params import Entry, Params
from genbench.files import read_json, sha256, write_bytes, write_json
from genbench.results import staleness
from genbench.scoring.records import Record
from genbench.tracking.runs import tracked_runs
from tests import damage
from tests.damage import check_left_out, report


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of two finished entries, ``made`` and ``vae``."""
    return damage.two_entries(tmp_path, monkeypatch)


@pytest.mark.parametrize("about_", ["[]", "3", '"text"', "null", "{}", "no json"])
def test_weights_with_another_header(params: Params, about_: str) -> None:
    header = json.dumps({"__metadata__": {"genbench": about_}}).encode()
    write_bytes(
        Layout.of(params).run_dir("made").weights, len(header).to_bytes(8, "little") + header
    )
    whole, missing = report(params)
    assert whole == {"vae"}
    assert "weights.safetensors" in missing["made"] or "train is out of date" in missing["made"]
    assert list(tracked_runs(params)[1]) == ["made"]


@pytest.mark.parametrize("part", [b"seed", b"sha256", b"genbench-2", b""])
def test_a_flipped_bit_of_the_weights(params: Params, part: bytes) -> None:
    """In the head, and in the last byte of the tensors; what follows from the weights is then no
    reason of its own.
    """
    path = Layout.of(params).run_dir("made").weights
    for file, key in (("likelihood.json", "made_from"), ("sampling.json", None)):
        record = read_json(path.with_name(file))
        (record if key is None else record[key])["weights"] = sha256(path)
        write_json(path.with_name(file), record)
    assert report(params)[0] == {"made", "vae"}
    data = bytearray(path.read_bytes())
    data[data.index(part) if part else -1] ^= 1
    write_bytes(path, bytes(data))
    check_left_out(params, "weights.safetensors")
    for reason in (report(params)[1]["made"], tracked_runs(params)[1]["made"]):
        assert "other ones now" not in reason and "out of date" not in reason


def test_a_picture_that_would_fill_the_memory(params: Params) -> None:
    """A whole one, of 25 million pixels in some kilobytes, which Pillow by itself reads."""
    Image.new("1", (5000, 5000)).save(
        Layout.of(params).run_dir("made").pictures / "interpolation.png"
    )
    check_left_out(params, "pictures/interpolation.png")
    assert (
        "has more pixels than the 16777216 that are read; delete it"
        in tracked_runs(params)[1]["made"]
    )


def test_an_output_that_goes_while_it_is_read(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As DVC removes those of a stage that it runs again."""
    seen = staleness.outdated_quality

    def and_gone(params: Params, entry: Entry, record: Record) -> str | None:
        reason = seen(params, entry, record)
        if record.entry == "made":
            Layout.of(params).run_dir("made").samples.unlink(missing_ok=True)
        return reason

    monkeypatch.setattr(staleness, "outdated_quality", and_gone)
    found, skipped = tracked_runs(params)
    assert [one.entry.name for one in found] == ["vae"]
    assert skipped.keys() == {"made"} and "samples.npz" in skipped["made"]


def test_a_listed_picture_that_is_gone(params: Params) -> None:
    (Layout.of(params).run_dir("made").pictures / "interpolation.png").unlink()
    check_left_out(params, "interpolation.png")


def test_pictures_that_nothing_lists_are_left_alone(params: Params) -> None:
    (Layout.of(params).run_dir("made").pictures / "left.png").write_bytes(b"no picture")
    assert report(params) == ({"made", "vae"}, {})
    found = {one.entry.name: one for one in tracked_runs(params)[0]}
    assert [picture.file for picture in found["made"].pictures] == ["interpolation.png"]
