"""`genbench diff`: results made in other ways, or not there, and which runs it takes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import ENTRY_STAGES
from genbench.pipeline.stage_runner import call_stage
from genbench.results.file_diff import arrays_differ, values_differ
from genbench.results.run_diff import compare_runs
from tests import equal_runs
from tests.equal_runs import METADATA, Change, arrays, call, flip, record, removed, tensors, text


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two projects with equal results of two entries and a data set."""
    return equal_runs.equal_runs(tmp_path)


def sums(run: Path) -> None:
    """Let the records of an entry name the files that they were made from by their hashes."""
    weights, samples = (
        hashlib.sha256((run / "made" / name).read_bytes()).hexdigest()
        for name in ("weights.safetensors", "samples.npz")
    )
    record("sampling.json", lambda r: r.update(weights=weights))(run)
    record("likelihood.json", lambda r: r["made_from"].update(weights=weights))(run)
    record("quality.json", lambda r: r["made_from"].update(samples=samples))(run)
    both = {"weights": weights, "samples": samples}
    record("probe.json", lambda r: r["made_from"].update(both))(run)


def reform(run: Path) -> None:
    """The same weights in the form that has a checksum, which is made by hand; the same samples,
    compressed.
    """
    about = json.loads(METADATA["genbench"]) | {"format": "genbench-2"}
    found = safetensors.numpy.load_file(run / "made" / "weights.safetensors")
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, array in sorted(found.items()):
        digest.update(f"{name} torch.{array.dtype} {array.shape}".encode() + array.tobytes())
    tensors(lambda t: t, {"genbench": json.dumps(about | {"sha256": digest.hexdigest()})})(run)
    np.savez_compressed(run / "made" / "samples.npz", **np.load(run / "made" / "samples.npz"))


def test_equal_weights_and_samples_are_equal_in_another_form_and_so_is_what_was_made_from_them(
    runs: tuple[Path, Path],
) -> None:
    before = (runs[0] / "made" / "weights.safetensors").read_bytes()
    reform(runs[1])
    assert (runs[1] / "made" / "weights.safetensors").read_bytes() != before
    record("sampling.json", lambda r: r.update(sample_ms_per_image=9.0))(runs[1])
    assert compare_runs(*runs).equal  # records that do not know of the other form
    for run in runs:
        sums(run)
    assert compare_runs(*runs).equal
    assert compare_runs(*runs[::-1]).equal


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (record("sampling.json", lambda r: r.update(weights="0" * 64)), ["sampling"]),
        (
            record("likelihood.json", lambda r: r["made_from"].update(weights="0" * 64)),
            ["likelihood"],
        ),
        (record("quality.json", lambda r: r["made_from"].update(samples="0" * 64)), ["quality"]),
        (
            lambda run: (tensors(lambda t: flip(t["w1"], 7))(run), sums(run)),
            ["weights", "sampling", "likelihood", "probe"],
        ),
        (
            lambda run: (
                arrays("made/samples.npz", lambda a: flip(a["images"], 9))(run),
                sums(run),
            ),
            ["samples", "quality", "probe"],
        ),
    ],
)
def test_what_was_made_from_other_files_differs(
    runs: tuple[Path, Path], change: Change, parts: list[str]
) -> None:
    for run in runs:
        sums(run)
    change(runs[1])
    assert [
        part for part, differences in compare_runs(*runs).items["made"].items() if differences
    ] == parts


def test_damaged_weights_differ_from_whole_ones(runs: tuple[Path, Path]) -> None:
    """Also where the damage is in their checksum alone."""
    for run in runs:
        reform(run)
    path = runs[1] / "made" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[data.index(b"sha256") + 12] ^= 1
    path.write_bytes(bytes(data))
    (difference,) = compare_runs(*runs).items["made"]["weights"]
    assert "its content is not that of the checksum in it" in difference.how


def test_an_entry_or_a_data_set_of_one_run_alone_is_named(runs: tuple[Path, Path]) -> None:
    shutil.rmtree(runs[1] / "vae")
    for pair in (runs, runs[::-1]):
        code_, out, _ = call(*pair)
        assert code_ == 1
        assert f"vae: only in {runs[0]}" in out.splitlines()
        assert "0 of 3 differ; in one of the runs only: 1" in out.splitlines()
    (runs[0] / "features" / "mnist.npz").unlink()
    code_, out, _ = call(*runs)
    assert code_ == 1
    assert f"vae: only in {runs[0]}" in out.splitlines()
    assert f"features/mnist: only in {runs[1]}" in out.splitlines()
    assert "0 of 2 differ; in one of the runs only: 2" in out.splitlines()


def test_what_neither_run_has_is_said(runs: tuple[Path, Path]) -> None:
    for run in runs:
        removed("samples.npz")(run)
        removed("nats.npz")(run)
    code_, out, _ = call(*runs)
    assert code_ == 0
    assert out.splitlines()[:2] == ["made: equal (neither has samples, nats)", "vae: equal"]


def test_many_differences_of_a_part_are_counted_and_json_has_all(runs: tuple[Path, Path]) -> None:
    for i in range(8):
        (runs[1] / "made" / "pictures" / f"{i}.png").write_bytes(b"")
    arrays("made/nats.npz", lambda a: a["nats"].__imul__(2))(runs[1])
    _, out, _ = call(*runs)
    (line,) = [line for line in out.splitlines() if line.startswith("made: ")]
    assert (
        "pictures differ (0.png: only in the second; 1.png: only in the second; 2.png: only in the "
        "second; 5 more)" in line
    )
    code_, out, _ = call(*runs, "--json")
    assert code_ == 1
    found = json.loads(out)
    assert [one["where"] for one in found["items"]["made"]["pictures"]] == [
        f"{i}.png" for i in range(8)
    ]
    (nats,) = found["items"]["made"]["nats"]
    assert nats["size"] == np.abs(np.load(runs[0] / "made" / "nats.npz")["nats"]).max()
    assert found["items"]["vae"] == {part: [] for part in found["items"]["made"]}
    assert (found["equal"], found["only_in_first"], found["only_in_second"]) == (False, [], [])
    assert (found["first"], found["second"]) == tuple(map(str, runs))


def test_other_machines_are_named_where_results_differ(runs: tuple[Path, Path]) -> None:
    record("provenance.json", lambda r: r.update(threads=4))(runs[1])
    arrays("made/nats.npz", lambda a: flip(a["nats"], 0))(runs[1])
    _, out, _ = call(*runs)
    last = out.splitlines()[-1]
    assert last.startswith(
        f"{runs[0]} was made on AMD, AVX2 with 2 threads and torch 2.15.0, {runs[1]} on AMD, AVX2 "
        "with 2 threads"
    )
    assert "AMD, AVX2 with 4 threads" in last


def test_projects_stand_for_their_runs_of_a_profile(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    projects = [run.parents[1] for run in runs]
    for project in projects:
        shutil.copytree(project / "runs" / "quick", project / "runs" / "smoke")
    arrays("made/samples.npz", lambda a: flip(a["images"], 0))(runs[1].parent / "smoke")
    assert call(*projects)[0] == 0
    assert call(*projects, "--profile", "smoke")[0] == 1
    assert call(projects[0], runs[1])[0] == 0
    monkeypatch.chdir(projects[1])
    assert call("../one", ".")[0] == 0
    assert call("quick", "smoke")[0] == 1
    assert call("quick", "../one")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "one"), "nowhere is no folder"),
        (("one", "one/runs/quick"), "one and the same folder"),
        (
            ("one", "two", "--profile", "full"),
            "one has no results of profile 'full', but of: quick; choose one by --profile",
        ),
        (("one", "empty"), "empty holds no results of genbench"),
        (("one", "two/runs"), "runs holds no results of genbench"),
        (("one",), "Missing argument"),
        (("one", "two", "--jsn"), "--jsn"),
    ],
)
def test_runs_that_cannot_be_compared_end_with_2(
    runs: tuple[Path, Path], arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs[0].parents[2])
    Path("empty").mkdir()
    code_, out, err = call(*arguments)
    assert code_ == 2
    assert said in err
    assert out == ""


def test_comparing_needs_no_torch(runs: tuple[Path, Path]) -> None:
    program = """
import sys
from genbench.results.run_diff import print_diff
print(print_diff(*sys.argv[1:3], "quick"), "torch" in sys.modules)
"""
    text("history.csv", ",5.25,", ",5.5,")(runs[1])
    tensors(lambda t: flip(t["w1"], 0))(runs[1])
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, runs)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "1 False"


@pytest.mark.parametrize(
    ("a", "b", "differ"),
    [
        (0.0, 0.0, False),
        (0.0, -0.0, False),
        (0.0, 1e-300, True),
        (1.0, 1, False),
        (1, 2, True),
        (10**15, 10**15 + 1, True),  # whole numbers are counts
        (1e15, 1e15 + 1, False),
        (True, 1, True),
        (None, 0, True),
        (None, None, False),
        (float("nan"), float("nan"), True),
        (float("inf"), float("inf"), False),
        ([1.0], [1.0, 1.0], True),
        ({}, [], True),
        ("a", "a", False),
    ],
)
def test_numbers_with_a_point_agree_relatively_and_all_else_exactly(
    a: object, b: object, differ: bool
) -> None:
    assert bool(list(values_differ(a, b, relative=1e-9))) is differ
    assert bool(list(values_differ({"x": [a]}, {"x": [b]}, relative=1e-9))) is differ


def test_arrays_of_other_types_are_compared_by_their_bits() -> None:
    raw = np.frombuffer(b"\x01\x00\x02\x00", "V2")  # as bfloat16 is read
    (found,) = arrays_differ({"w": raw}, {"w": np.frombuffer(b"\x01\x00\x02\x01", "V2")})
    assert (found.where, found.how, found.size) == ("w", "1 of 2 values", None)
    assert not list(
        arrays_differ({"w": raw, "e": np.zeros((0, 3))}, {"e": np.zeros((0, 3)), "w": raw.copy()})
    )


def as_before(run: Path) -> None:
    """The pictures and fingerprints of a run under their former names."""
    folder = run / "made" / "pictures"
    (folder / "pictures.json").rename(folder / "visuals.json")
    folder.rename(run / "made" / "visuals")
    (run / "fingerprints").rename(run / "code")


@pytest.mark.parametrize("number", [0, 1])
def test_pictures_of_an_earlier_version_are_compared_with_those_of_now(
    runs: tuple[Path, Path], number: int
) -> None:
    as_before(runs[number])
    assert call(*runs)[0] == 0
    (runs[1 - number] / "made" / "pictures" / "a.png").write_bytes(b"\x89PNG Picture")
    code, out, _ = call(*runs)
    assert code == 1
    assert "pictures differ (a.png: other content)" in out
    (runs[1 - number] / "made" / "pictures" / "pictures.json").unlink()
    (line,) = [line for line in call(*runs)[1].splitlines() if line.startswith("made: ")]
    place = "first" if number == 0 else "second"
    assert f"only in the {place}" in line


def test_a_folder_of_pictures_that_an_earlier_version_left_is_not_compared(
    runs: tuple[Path, Path],
) -> None:
    shutil.copytree(runs[0] / "made" / "pictures", runs[0] / "made" / "visuals")
    (runs[0] / "made" / "visuals" / "more.png").write_bytes(b"")
    shutil.copytree(runs[0] / "fingerprints", runs[0] / "code")
    assert call(*runs)[0] == 0


def test_results_of_the_stages_are_known_by_name_and_equal_when_made_again(
    params: Params, tmp_path: Path
) -> None:
    call_stage("fingerprints", params)
    call_stage("features", params, "mnist")
    for stage in ENTRY_STAGES:
        call_stage(stage, params, "vae")
    before = tmp_path / "before"
    shutil.copytree(Layout.of(params).runs, before)
    for name in ("samples.npz", "nats.npz", "likelihood.json", "quality.json"):
        (Layout.of(params).run_dir("vae").path / name).unlink()
    for stage in ("sample", "score_likelihood", "score_samples"):
        call_stage(stage, params, "vae")
    report = compare_runs(before, Layout.of(params).runs)
    assert report.equal
    assert list(report.items["vae"]) == [
        "weights",
        "samples",
        "sampling",
        "nats",
        "history",
        "likelihood",
        "quality",
        "probe",
        "neighbours",
        "size",
        "pictures",
    ]
    assert {"data/mnist", "data/binary_mnist", "features/mnist"} <= report.items.keys()
