"""Records with a key missing, or with a value that no stage writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genbench.cli.info import print_info
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.errors import UserError
from genbench.files import read_json, write_bytes, write_json, write_text
from genbench.pipeline import run
from genbench.report.rows import leaderboard
from genbench.results.entry import read_entries
from genbench.results.reader import read_history
from genbench.tracking.runs import tracked_runs
from tests import damage
from tests.damage import JSON_FILES, VALUES, check_left_out, report


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of two finished entries, ``made`` and ``vae``."""
    return damage.two_entries(tmp_path, monkeypatch)


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


# ---------------------------------------------------------------------- other records


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
