"""`genbench diff`: finds every single planted difference and nothing else, and leaves out what a
machine or a clock decides.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from typer.testing import CliRunner

from genbench.cli.main import app
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.pipeline.stage_runner import call_stage
from genbench.results.file_diff import arrays_differ, values_differ
from genbench.results.run_diff import compare_runs

HISTORY = """\
step,seconds,images_per_second,loss/loss,loss/valid_loss
1,0.5,100,5.25,
2,1.0,101,4.125,4.5
"""
KIND = {
    "machine": "x86_64",
    "vendor": "AuthenticAMD",
    "isa": "AVX2",
    "libraries": {"torch": "2.15.0"},
    "limits": {},
}
METADATA = {
    "genbench": json.dumps(
        {"format": "genbench-1", "model": "made", "seed": 0, "arch": {"width": 8}}, sort_keys=True
    )
}


def metric(value: float, stderr: float | None = None, **detail: object) -> dict[str, Any]:
    return {
        "value": value,
        "stderr": stderr,
        "n": 100,
        "higher_is_better": False,
        "kind": None,
        "detail": detail,
    }


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_entry(folder: Path) -> None:
    """All files of an entry, with invented content."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    tensors = {
        "w1": rng.normal(size=(4, 5)).astype(np.float32),
        "b1": np.zeros(5, np.float32),
        "steps": np.arange(3),
    }
    safetensors.numpy.save_file(tensors, folder / "weights.safetensors", METADATA)
    np.savez(
        folder / "samples.npz",
        images=rng.integers(0, 256, (6, 28, 28), dtype=np.uint8),
        labels=np.arange(6) % 3,
    )
    np.savez(folder / "nats.npz", nats=rng.normal(size=9))
    (folder / "history.csv").write_text(HISTORY)
    machine = {"device": "cpu", "threads": 2, "kind": KIND}
    about = {
        "sampler": "ancestral",
        "matches_likelihood": True,
        "n": 6,
        "options": {},
        "weights": "abc",
        "sample_ms_per_image": 2.0,
    }
    write(
        folder / "sampling.json",
        {**about, "peak_memory_mb": 9.0, "precision": "float32", **machine},
    )
    scores = {"nats": metric(90.5, 0.25, draws=16), "bits_per_dim": metric(0.125, 0.01)}
    made_from = {"weights": "abc", "kind": KIND}
    write(
        folder / "likelihood.json",
        {
            "entry": "e",
            "metrics": scores,
            "withheld": {"elbo_nats": "no draws"},
            "made_from": made_from,
        },
    )
    scores = {
        "fid_mnist": metric(12.75, reference_n=10),
        "min_class_share": metric(0.0625, shares=[0.0625, 0.9375]),
        "kid_mnist": metric(-1e-4),
    }
    write(
        folder / "quality.json",
        {
            "entry": "e",
            "metrics": scores,
            "withheld": {},
            "made_from": {"samples": "def", "kind": KIND},
        },
    )
    write(
        folder / "cost.json",
        {
            "parameters": 25,
            "steps": 2,
            "train_seconds": 1.5,
            "train_images_per_second": 9.0,
            "peak_memory_mb": 5.0,
        },
    )
    write(
        folder / "provenance.json",
        {
            "git": "1",
            "versions": {"torch": "2.15.0"},
            "hardware": "h",
            **machine,
            "precision": "float32",
            "train": {},
        },
    )
    write(
        folder / "pictures" / "pictures.json",
        [{"file": "a.png", "kind": "process", "title": "t", "caption": "c"}],
    )
    (folder / "pictures" / "a.png").write_bytes(b"\x89PNG picture")


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two projects with equal results of two entries and a data set."""
    first, second = tmp_path / "one", tmp_path / "two"
    for entry in ("made", "vae"):
        write_entry(first / "runs" / "quick" / entry)
    for folder, name in (("data", "test_x"), ("features", "features")):
        (first / "runs" / "quick" / folder).mkdir()
        np.savez(
            first / "runs" / "quick" / folder / "mnist.npz", **{name: np.arange(12.0).reshape(3, 4)}
        )
    write(first / "runs" / "quick" / "fingerprints" / "made" / "train.json", {"hash": "1"})
    shutil.copytree(first, second)
    return first / "runs" / "quick", second / "runs" / "quick"


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["diff", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


# ---------------------------------------------------------------------- planted differences

Change = Callable[[Path], object]


def tensors(
    change: Callable[[dict[str, np.ndarray]], object], about: dict[str, str] | None = None
) -> Change:
    def edit(run: Path) -> None:
        path = run / "made" / "weights.safetensors"
        found = {name: array.copy() for name, array in safetensors.numpy.load_file(path).items()}
        change(found)
        safetensors.numpy.save_file(found, path, about or METADATA)

    return edit


def arrays(name: str, change: Callable[[dict[str, np.ndarray]], object]) -> Change:
    def edit(run: Path) -> None:
        found = dict(np.load(run / name))
        change(found)
        np.savez(run / name, **found)  # type: ignore[arg-type]

    return edit


def record(name: str, change: Callable[[Any], object]) -> Change:
    def edit(run: Path) -> None:
        value = json.loads((run / "made" / name).read_text())
        change(value)
        write(run / "made" / name, value)

    return edit


def text(name: str, old: str, new: str) -> Change:
    def edit(run: Path) -> None:
        before = (run / "made" / name).read_text()
        assert old in before
        (run / "made" / name).write_text(before.replace(old, new, 1))

    return edit


def flip(array: np.ndarray, place: int) -> None:
    """Turn the last bit of one number."""
    array.view(f"u{array.itemsize}").reshape(-1)[place] ^= 1


def scaled(file: str, metric_: str, key: str, factor: float) -> Change:
    """Multiply a number of a score."""
    return record(
        file, lambda r: r["metrics"][metric_].update({key: factor * r["metrics"][metric_][key]})
    )


def detailed(file: str, metric_: str, **detail: object) -> Change:
    return record(file, lambda r: r["metrics"][metric_]["detail"].update(detail))


def removed(name: str) -> Change:
    return lambda run: (run / "made" / name).unlink()


def content(name: str, data: bytes) -> Change:
    return lambda run: (run / "made" / name).write_bytes(data)


WEIGHTS: dict[str, Change] = {
    "w1: 1 of 20 values, max |Δ| ": tensors(lambda t: flip(t["w1"], 7)),
    "b1: 1 of 5 values, max |Δ| 0": tensors(lambda t: t["b1"].__setitem__(2, -0.0)),
    "b1: 1 of 5 values, max |Δ| nan": tensors(lambda t: t["b1"].__setitem__(2, np.nan)),
    "steps: 1 of 3 values, max |Δ| 4": tensors(lambda t: t["steps"].__setitem__(1, 5)),
    "b1: float32 (5,) and float64 (5,)": tensors(lambda t: t.update(b1=t["b1"].astype(np.float64))),
    "w1: float32 (4, 5) and float32 (5, 4)": tensors(lambda t: t.update(w1=t["w1"].reshape(5, 4))),
    "b1: only in the first": tensors(lambda t: t.pop("b1")),
    "b2: only in the second": tensors(lambda t: t.update(b2=t["b1"])),
    "metadata.seed: 0 and 1": tensors(
        lambda t: t, {"genbench": METADATA["genbench"].replace('"seed": 0', '"seed": 1')}
    ),
    "holds no weights of genbench: its format is None": tensors(lambda t: t, {"other": "1"}),
    "weights.safetensors: only in the first": removed("weights.safetensors"),
    "weights.safetensors: cannot be compared: ": content("weights.safetensors", b"\x10\x00"),
}
SAMPLES: dict[str, Change] = {
    "images: 1 of 4704 values, max |Δ| 1": arrays(
        "made/samples.npz", lambda a: flip(a["images"], 99)
    ),
    "labels: 1 of 6 values": arrays("made/samples.npz", lambda a: flip(a["labels"], 0)),
    "labels: int64 (6,) and int32 (6,)": arrays(
        "made/samples.npz", lambda a: a.update(labels=a["labels"].astype(np.int32))
    ),
    "labels: only in the first": arrays("made/samples.npz", lambda a: a.pop("labels")),
    "samples.npz: cannot be compared: ": content("samples.npz", b"PK"),
}
NATS: dict[str, Change] = {
    "nats: 1 of 9 values, max |Δ| ": arrays("made/nats.npz", lambda a: flip(a["nats"], 3)),
    "nats.npz: only in the first": removed("nats.npz"),
}
LIKELIHOOD: dict[str, Change] = {
    "metrics.nats.value: 90.5 and ": scaled("likelihood.json", "nats", "value", 1 + 1e-8),
    "metrics.nats.stderr: 0.25 and ": scaled("likelihood.json", "nats", "stderr", 1 - 1e-8),
    "metrics.nats.detail.draws: 16 and 17": detailed("likelihood.json", "nats", draws=17),
    'withheld.elbo_nats: "no draws" and "none"': record(
        "likelihood.json", lambda r: r["withheld"].update(elbo_nats="none")
    ),
    'made_from.weights: "abc" and "x"': record(
        "likelihood.json", lambda r: r["made_from"].update(weights="x")
    ),
}
QUALITY: dict[str, Change] = {
    "metrics.fid_mnist.value: 12.75 and ": scaled("quality.json", "fid_mnist", "value", 1 - 1e-8),
    "metrics.kid_mnist.value: -0.0001 and -0.000100000001": scaled(
        "quality.json", "kid_mnist", "value", 1 + 1e-8
    ),
    "metrics.kid_mnist.value: -0.0001 and 0.0001": scaled(
        "quality.json", "kid_mnist", "value", -1.0
    ),
    "metrics.min_class_share.detail.shares[1]": detailed(
        "quality.json", "min_class_share", shares=[0.0625, 0.9375 + 1e-8]
    ),
    "metrics.fid_mnist.n: 100 and 200": scaled("quality.json", "fid_mnist", "n", 2),
    "metrics.kid_mnist: only in the first": record(
        "quality.json", lambda r: r["metrics"].pop("kid_mnist")
    ),
    "quality.json: cannot be compared: ": content("quality.json", b"\xff{"),
}
HISTORIES: dict[str, Change] = {
    "row 1, loss/loss: 5.25 and 5.2500001": text("history.csv", ",5.25,", ",5.2500001,"),
    "row 1, loss/valid_loss: nothing and 5": text("history.csv", ",5.25,\n", ",5.25,5\n"),
    "rows: 2 and 1": text("history.csv", "2,1.0,101,4.125,4.5\n", ""),
    "columns: step, loss/loss": text("history.csv", "loss/loss", "loss/nll"),
    "history.csv: cannot be compared: ": text("history.csv", "1,0.5", "1,1,0.5"),
}
PICTURES: dict[str, Change] = {
    "a.png: other content": content("pictures/a.png", b"\x89PNG Picture"),
    "a.png: only in the first": removed("pictures/a.png"),
    "b.png: only in the second": content("pictures/b.png", b""),
    '[0].caption: "c" and "d"': text("pictures/pictures.json", '"c"', '"d"'),
}
OTHERS: dict[str, tuple[str, str, Change]] = {
    'sampler: "ancestral" and "other"': (
        "made",
        "sampling",
        record("sampling.json", lambda r: r.update(sampler="other")),
    ),
    "parameters: 25 and 26": (
        "made",
        "size",
        record("cost.json", lambda r: r.update(parameters=26)),
    ),
    "new.json: only in the second": ("made", "other files", content("new.json", b"{}")),
    "test_x: 1 of 12 values": (
        "data/mnist",
        "arrays",
        arrays("data/mnist.npz", lambda a: flip(a["test_x"], 1)),
    ),
    "features: 1 of 12 values": (
        "features/mnist",
        "arrays",
        arrays("features/mnist.npz", lambda a: flip(a["features"], 1)),
    ),
}
PARTS = {
    "weights": WEIGHTS,
    "samples": SAMPLES,
    "nats": NATS,
    "likelihood": LIKELIHOOD,
    "quality": QUALITY,
}
PARTS |= {"history": HISTORIES, "pictures": PICTURES}
CHANGES = [
    ("made", part, said, change)
    for part, changes in PARTS.items()
    for said, change in changes.items()
]
CHANGES += [(item, part, said, change) for said, (item, part, change) in OTHERS.items()]


@pytest.mark.parametrize(
    ("item", "part", "said", "change"),
    CHANGES,
    ids=[f"{part}, {said}" for _, part, said, _ in CHANGES],
)
def test_each_planted_difference_is_found_and_nothing_else(
    runs: tuple[Path, Path], item: str, part: str, said: str, change: Change
) -> None:
    change(runs[1])
    for run in runs:  # so that sizes and dates tell nothing
        for path in run.rglob("*.*"):
            os.utime(path, (0, 0))
    report = compare_runs(*runs)
    assert report.differing == [item]
    assert [name for name, differences in report.items[item].items() if differences] == [part]
    assert not report.equal
    code_, out, _ = call(*runs)
    assert code_ == 1
    lines = out.splitlines()
    (line,) = [line for line in lines if line.startswith(f"{item}: ")]
    assert f"{part} differ" in line and said in line
    assert [other for other in lines if other.endswith(": equal")] == [
        f"{name}: equal" for name in report.items if name != item
    ]
    assert "1 of 4 differ" in lines


LEFT_OUT: dict[str, Change] = {
    "times of the history": text("history.csv", "1,0.5,100,", "1,0.75,99,"),
    "costs": record(
        "cost.json",
        lambda r: r.update(train_seconds=9.0, train_images_per_second=1.0, peak_memory_mb=1.0),
    ),
    "time of sampling": record(
        "sampling.json", lambda r: r.update(sample_ms_per_image=9.0, peak_memory_mb=1.0)
    ),
    "machine of the samples": record(
        "sampling.json", lambda r: r.update(device="cuda", threads=4, precision="bfloat16", kind={})
    ),
    "kind of the likelihood": record(
        "likelihood.json", lambda r: r["made_from"].update(kind={"machine": "arm64"})
    ),
    "no kind of the sample scores": record("quality.json", lambda r: r["made_from"].pop("kind")),
    "provenance": record("provenance.json", lambda r: r.update(git="2", threads=4)),
    "a likelihood to 1e-12": scaled("likelihood.json", "nats", "value", 1 + 1e-12),
    "a score to 1e-12": scaled("quality.json", "kid_mnist", "value", 1 - 1e-12),
    "a detail to 1e-13": detailed(
        "quality.json", "min_class_share", shares=[0.0625, 0.9375 + 1e-13]
    ),
    "a file in the making": content(".samples.npz.99.x.tmp", b"half"),
    "layout of a file": lambda run: np.savez_compressed(
        run / "made" / "nats.npz", **np.load(run / "made" / "nats.npz")
    ),
    "fingerprints": lambda run: write(run / "fingerprints" / "made" / "train.json", {"hash": "2"}),
}


@pytest.mark.parametrize("change", LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_a_machine_or_a_clock_decides_is_left_out(
    runs: tuple[Path, Path], change: Change
) -> None:
    change(runs[1])
    code_, out, _ = call(*runs)
    assert out.splitlines() == [
        "made: equal",
        "vae: equal",
        "data/mnist: equal",
        "features/mnist: equal",
        "all 4 are equal",
    ]
    assert code_ == 0


def sums(run: Path) -> None:
    """Let the records of an entry name the files that they were made from by their hashes."""
    weights, samples = (
        hashlib.sha256((run / "made" / name).read_bytes()).hexdigest()
        for name in ("weights.safetensors", "samples.npz")
    )
    record("sampling.json", lambda r: r.update(weights=weights))(run)
    record("likelihood.json", lambda r: r["made_from"].update(weights=weights))(run)
    record("quality.json", lambda r: r["made_from"].update(samples=samples))(run)


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
            ["weights", "sampling", "likelihood"],
        ),
        (
            lambda run: (
                arrays("made/samples.npz", lambda a: flip(a["images"], 9))(run),
                sums(run),
            ),
            ["samples", "quality"],
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


# ---------------------------------------------------------------------- which runs


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


# ---------------------------------------------------------------------- values


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


# ---------------------------------------------------------------------- runs of earlier versions


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


# ---------------------------------------------------------------------- real results


def test_results_of_the_stages_are_known_by_name_and_equal_when_made_again(
    params: Params, tmp_path: Path
) -> None:
    call_stage("fingerprints", params)
    call_stage("features", params, "mnist")
    for stage in ("train", "sample", "pictures", "score_likelihood", "score_samples"):
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
        "size",
        "pictures",
    ]
    assert {"data/mnist", "data/binary_mnist", "features/mnist"} <= report.items.keys()
