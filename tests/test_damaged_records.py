"""A damaged file of one entry leaves out that entry alone, with a reason that names the file: in
the report, in tracking and in `info`.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genbench.cli.info import print_info
from genbench.config.layout import Layout
from genbench.config.params import Entry, Params
from genbench.errors import UserError
from genbench.files import (
    read_json,
    read_npz,
    sha256,
    write_bytes,
    write_json,
    write_npz,
    write_text,
)
from genbench.pipeline import run
from genbench.report.page import Material, page
from genbench.report.rows import leaderboard
from genbench.report.tables import csv_table, markdown
from genbench.results import staleness
from genbench.results.entry import read_entries
from genbench.results.reader import read_history
from genbench.scoring.records import Record
from genbench.tracking.runs import tracked_runs
from tests.entries import finished_project

JSON_FILES = (
    "likelihood.json",
    "quality.json",
    "cost.json",
    "provenance.json",
    "sampling.json",
    "pictures/pictures.json",
)
VALUES: tuple[Any, ...] = (None, True, 3, -2.5, "text", [], [1], {}, {"a": {}}, 10**400)
"""A value of every type of JSON."""


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of two finished entries, ``made`` and ``vae``."""
    params = finished_project(tmp_path, ["made", "vae"])
    monkeypatch.chdir(tmp_path)
    return params


def report(params: Params) -> tuple[set[str], dict[str, str]]:
    """The entries that the report shows whole, and the reasons for the others; writes all of it but
    the pictures.
    """
    outcomes = read_entries(params)
    board = leaderboard(params, outcomes)
    page(board, outcomes, Material({}, {}, {}, {}), set())
    csv_table(board)
    markdown(board)
    return {row["entry"] for row in board["rows"] if row["status"] == "ok"}, {
        gap["entry"]: gap["reason"] for gap in board["missing"]
    }


def check_left_out(params: Params, file: str) -> None:
    """``made`` is left out for its ``file``, and ``vae`` is not, wherever entries are read."""
    whole, missing = report(params)
    assert whole == {"vae"}
    found, skipped = tracked_runs(params)
    assert [one.entry.name for one in found] == ["vae"]
    for reasons in (missing, skipped):
        assert reasons.keys() == {"made"}
        assert Path(file).name in reasons["made"]


def test_the_example_is_whole(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(params) == ({"made", "vae"}, {})
    assert {one.entry.name for one in tracked_runs(params)[0]} == {"made", "vae"}
    print_info("quick", "made")
    assert "nats: 400" in capsys.readouterr().out


# ---------------------------------------------------------------------- whole files

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "binary": lambda data: b"\xff\x00\xfe" + data,
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "file",
    [
        *JSON_FILES,
        "history.csv",
        "samples.npz",
        "weights.safetensors",
        "pictures/interpolation.png",
    ],
)
def test_a_damaged_file(
    params: Params, file: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Layout.of(params).run_dir("made").path / file
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    check_left_out(params, file)
    print_info("quick", "made")
    printed = capsys.readouterr().out
    assert Path(file).name in printed
    assert ("fid_mnist: 12.5" in printed) == (file != "quality.json"), (
        "the scores in other files are shown all the same"
    )


@pytest.mark.parametrize("value", [*VALUES, float("nan"), float("inf")], ids=repr)
@pytest.mark.parametrize("file", JSON_FILES)
def test_a_value_of_another_type_in_place_of_a_record(
    params: Params, file: str, value: object
) -> None:
    if file == "pictures/pictures.json" and value == []:
        value = [[]]  # an empty list is a record of no pictures
    (Layout.of(params).run_dir("made").path / file).write_text(json.dumps(value))
    check_left_out(params, file)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"entry": "made", "entry": 1}', '{"a": ' * 500 + "1" + "}" * 500, "1" * 5000],
)
def test_json_that_no_stage_writes(params: Params, text: str) -> None:
    Layout.of(params).run_dir("made").quality.write_text(text)
    check_left_out(params, "quality.json")


def test_a_file_that_may_not_be_read(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of another user; who runs the tests may be allowed to read everything."""
    read = Path.read_text

    def denied(self: Path, *args: Any, **kwargs: Any) -> str:
        if self == Layout.of(params).run_dir("made").quality:
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", denied)
    check_left_out(params, "quality.json")
    assert "no permission" in report(params)[1]["made"]


def test_a_folder_in_place_of_a_file(params: Params) -> None:
    path = Layout.of(params).run_dir("made").quality
    path.unlink()
    path.mkdir()
    check_left_out(params, "quality.json")


# ---------------------------------------------------------------------- parts of records


def parts(value: Any) -> Iterator[tuple[Any, ...]]:
    """The places of all values inside ``value``."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield (key,)
        for place in parts(inner):
            yield (key, *place)


def edited(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy of ``value`` with ``new`` at a place, or without that place where ``new`` is
    ``...``.
    """
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    if new is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = new
    return copy


REQUIRED = {
    "likelihood.json": (
        "entry",
        "metrics",
        "withheld",
        "metrics.nats.value",
        "metrics.nats.n",
        "metrics.nats.stderr",
    ),
    "quality.json": (
        "entry",
        "metrics",
        "withheld",
        "metrics.fid_mnist.value",
        "metrics.fid_mnist.higher_is_better",
    ),
    "cost.json": ("parameters", "train_seconds", "train_images_per_second", "peak_memory_mb"),
    "provenance.json": (
        "git",
        "versions",
        "hardware",
        "threads",
        "device",
        "kind.isa",
        "kind.vendor",
    ),
    "sampling.json": ("sampler", "matches_likelihood", "sample_ms_per_image", "options", "n"),
    "pictures/pictures.json": ("0.file", "0.kind", "0.title", "0.caption"),
}


@pytest.mark.parametrize(
    ("file", "key"), [(file, key) for file, keys in REQUIRED.items() for key in keys]
)
def test_a_missing_key(params: Params, file: str, key: str) -> None:
    path = Layout.of(params).run_dir("made").path / file
    place = tuple(int(part) if part.isdigit() else part for part in key.split("."))
    write_json(path, edited(read_json(path), place, ...))
    check_left_out(params, file)


WRONG: tuple[tuple[str, tuple[Any, ...], Any], ...] = (
    ("quality.json", ("metrics", "fid_mnist", "value"), "12.5"),
    ("quality.json", ("metrics", "fid_mnist", "value"), None),
    ("quality.json", ("metrics", "fid_mnist", "value"), float("nan")),
    ("quality.json", ("metrics", "fid_mnist", "value"), float("inf")),
    ("quality.json", ("metrics", "fid_mnist", "value"), 10**400),
    ("quality.json", ("metrics", "fid_mnist", "value"), [12.5]),
    ("quality.json", ("metrics", "fid_mnist", "n"), 0),
    ("quality.json", ("metrics", "fid_mnist", "n"), 1.5),
    ("quality.json", ("metrics", "fid_mnist", "detail"), "text"),
    ("quality.json", ("metrics", "fid_mnist", "detail", "reference_n"), "100"),
    ("quality.json", ("metrics", "fid_mnist", "detail", "sd"), "wide"),
    ("quality.json", ("metrics", "fid_mnist", "detail", "seeds"), "three"),
    ("quality.json", ("metrics", "fid_mnist", "higher_is_better"), "no"),
    ("quality.json", ("metrics", "fid_mnist"), [1, 2]),
    ("quality.json", ("made_from",), []),
    ("quality.json", ("made_from", "metrics"), 3),
    ("quality.json", ("made_from", "kind"), "AVX2"),
    ("quality.json", ("entry",), "vae"),
    ("likelihood.json", ("metrics", "nats", "stderr"), -1),
    ("likelihood.json", ("metrics", "nats", "kind"), "certain"),
    ("likelihood.json", ("withheld",), {"nats": 3}),
    ("cost.json", ("train_seconds",), "1 s"),
    ("cost.json", ("train_seconds",), float("nan")),
    ("cost.json", ("train_seconds",), 1e300),
    ("cost.json", ("steps",), "many"),
    ("provenance.json", ("kind",), "AVX2"),
    ("provenance.json", ("kind", "libraries"), ["torch"]),
    ("provenance.json", ("threads",), "2"),
    ("provenance.json", ("versions",), ["torch 2"]),
    ("provenance.json", ("precision",), {"a": 1}),
    ("provenance.json", ("train",), []),
    ("sampling.json", ("n",), "120"),
    ("sampling.json", ("options",), []),
    ("sampling.json", ("sample_ms_per_image",), "fast"),
    ("sampling.json", ("kind",), {}),
    ("pictures/pictures.json", (0, "file"), "../../vae/pictures/interpolation.png"),
    ("pictures/pictures.json", (0, "file"), "/etc/passwd"),
    ("pictures/pictures.json", (0, "file"), ".."),
    ("pictures/pictures.json", (0, "file"), "pictures.json"),
    ("pictures/pictures.json", (0, "title"), 3),
)  # fmt: skip


@pytest.mark.parametrize(("file", "place", "value"), WRONG)
def test_a_wrong_value(params: Params, file: str, place: tuple[Any, ...], value: object) -> None:
    path = Layout.of(params).run_dir("made").path / file
    path.write_text(json.dumps(edited(read_json(path), place, value)))
    check_left_out(params, file)


@pytest.mark.parametrize("file", JSON_FILES)
def test_no_value_anywhere_is_in_the_way_of_another_entry(params: Params, file: str) -> None:
    """Every part of a record, replaced by a value of every type: harmless or the reason to leave
    the entry out, and never an error.
    """
    path = Layout.of(params).run_dir("made").path / file
    record, left_out = read_json(path), 0
    for place in parts(record):
        for value in (None, "text", -2.5, [1], {"a": {}}):
            path.write_text(json.dumps(edited(record, place, value)))
            (made, vae) = read_entries(params)
            assert vae.reasons == ()
            if not made.reasons:
                report(params)
            found, skipped = tracked_runs(params)
            assert "vae" in {one.entry.name for one in found}
            assert skipped.keys() <= {"made"}
            print_info("quick", "made")
            left_out += bool(made.reasons)
    assert left_out > 10, "hardly any of them was noticed, so this test looks at the wrong places"


# ---------------------------------------------------------------------- history.csv

HEAD = "step,seconds,loss/loss\n"


@pytest.mark.parametrize(
    "content",
    [
        "seconds,loss/loss\n1,2\n",
        "step,loss/loss\n1,2\n",
        "step,step,seconds\n1,1,2\n",
        "\n",
        HEAD + "1,0.5\n",
        HEAD + "1,0.5,2,3\n",
        HEAD + "one,0.5,2\n",
        HEAD + "1.5,0.5,2\n",
        HEAD + "-1,0.5,2\n",
        HEAD + "1e300,0.5,2\n",
        HEAD + "nan,0.5,2\n",
        HEAD + ",0.5,2\n",
        HEAD + "1,,2\n",
        HEAD + "1,inf,2\n",
        HEAD + "1,0.5,two\n",
        HEAD + '1,0.5,"2\n',
        HEAD + "1,0.5,2\0\n",
    ],
)
def test_a_history_of_another_form(params: Params, content: str) -> None:
    write_text(Layout.of(params).run_dir("made").history, content)
    check_left_out(params, "history.csv")


def test_a_history_is_read_to_the_digit_and_empty_cells_are_none(tmp_path: Path) -> None:
    write_text(tmp_path / "history.csv", HEAD + "1,0.5,\n2,0.1,0.30000000000000004\n3,1e-05,nan\n")
    first, second, third = read_history(tmp_path / "history.csv")
    assert first == {"step": 1.0, "seconds": 0.5, "loss/loss": None}
    assert second["loss/loss"] == 0.30000000000000004
    assert third["loss/loss"] is not None
    assert np.isnan(third["loss/loss"])
    write_text(tmp_path / "history.csv", HEAD)
    assert read_history(tmp_path / "history.csv") == []


# ---------------------------------------------------------------------- arrays


class Malice:
    """An object whose unpickling ends the process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exit, (13,)


def _saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _of_objects() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, images=np.array([Malice()] * 3, dtype=object))
    return buffer.getvalue()


IMAGES = np.zeros((120, 28, 28), np.uint8)
ARRAYS: dict[str, dict[str, np.ndarray] | bytes] = {
    "no array": {},
    "other keys": {"pictures": IMAGES},
    "float": {"images": IMAGES.astype(np.float32)},
    "another shape": {"images": IMAGES[:, None]},
    "no images": {"images": IMAGES[:0]},
    "fewer images": {"images": IMAGES[:7]},
    "objects": _of_objects(),
    "a pickle": pickle.dumps(Malice()),
    "an npy file": _saved(IMAGES),
    "text as labels": {"images": IMAGES, "labels": np.array(["1"] * 120)},
    "too few labels": {"images": IMAGES, "labels": np.zeros(7, np.int64)},
    "too large labels": {"images": IMAGES, "labels": np.full(120, 10)},
    "negative labels": {"images": IMAGES, "labels": np.full(120, -1)},
}


@pytest.mark.parametrize("content", ARRAYS.values(), ids=ARRAYS)
def test_samples_of_another_form(params: Params, content: dict[str, np.ndarray] | bytes) -> None:
    path = Layout.of(params).run_dir("made").samples
    if isinstance(content, bytes):
        write_bytes(path, content)
    else:
        write_npz(path, content)
    whole, missing = report(params)
    assert whole == {"vae"}
    assert "samples" in missing["made"]
    assert list(tracked_runs(params)[1]) == ["made"]


def test_any_flipped_byte_of_an_npz_file_is_an_error_that_names_it_or_harmless(
    tmp_path: Path,
) -> None:
    path = tmp_path / "samples.npz"
    np.savez_compressed(
        path, images=np.arange(400, dtype=np.uint8).reshape(4, 10, 10), labels=np.arange(4)
    )
    data, named = path.read_bytes(), 0
    for i in range(len(data)):
        path.write_bytes(data[:i] + bytes([data[i] ^ 0x55]) + data[i + 1 :])
        try:
            read_npz(path)
        except ValueError as error:
            named += "samples.npz is corrupt" in str(error)
    assert named > len(data) / 2


# ----------------------------------------------------------------- weights, pictures, other records


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


@pytest.mark.parametrize("value", [None, [], 3, "text", {"error": 3}])
def test_a_damaged_reason_of_a_failure_is_no_failure_of_the_report(
    params: Params, value: object
) -> None:
    Layout.of(params).run_dir("made").quality.unlink()
    write_json(Layout.of(params).status("made", "score_samples"), value)
    assert "made-score_samples.json does not say why" in report(params)[1]["made"]


def test_damaged_data_leave_out_pictures_alone(params: Params) -> None:
    write_bytes(Layout.of(params).data("mnist"), b"no data")
    assert report(params) == ({"made", "vae"}, {})


def test_an_entry_whose_settings_changed_is_out_of_date_and_not_damaged(params: Params) -> None:
    changed = replace(params, protocol=replace(params.protocol, samples=60))
    assert tracked_runs(changed)[1]["made"] == (
        "sample is out of date: protocol.samples was 120 and is now 60; "
        "run `genbench run --entries made`"
    )


def test_a_record_names_its_file_when_it_is_read_alone(tmp_path: Path) -> None:
    from genbench.scoring.records import read_record

    for value in VALUES:
        (tmp_path / "quality.json").write_text(
            json.dumps({"entry": "made", "metrics": value, "withheld": {}})
        )
        if value == {}:
            assert read_record(tmp_path / "quality.json").metrics == {}
        else:
            with pytest.raises(UserError, match=r"quality\.json is no score record"):
                read_record(tmp_path / "quality.json")


# ---------------------------------------------------------------------- what a run says at its end


def test_a_run_says_what_the_report_lacks(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    Layout.of(params).run_dir("made").quality.write_text("[]")
    write_json(Layout.of(params).report.leaderboard, leaderboard(params, read_entries(params)))
    write_text(Layout.of(params).report.page, "")
    run._tell(params, ["made", "vae"])
    printed = capsys.readouterr()
    first, second = printed.err.splitlines()
    assert first == "missing from the report:"
    assert second.startswith("  made: ") and "quality.json" in second
    assert printed.out.startswith("report: ")
    run._tell(params, ["vae"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        "",
        "5",
        "{}",
        '{"missing": [5]}',
        '{"missing": {"entry": "made"}}',
        "\x00",
        "[" * 100_000,
    ],
)
def test_a_damaged_leaderboard_is_in_no_runs_way(
    params: Params, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    """As a report stage that fails may leave the one of another version, or a disk one with lost
    bits.
    """
    write_text(Layout.of(params).report.leaderboard, content)
    write_text(Layout.of(params).report.page, "")
    run._tell(params, ["made"])
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(
        "warning: what is missing from the report is not known: "
        f"{Layout.of(params).report.path / 'leaderboard.json'} is "
    )
    assert printed.out.startswith("report: ")
