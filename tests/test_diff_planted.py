"""`genbench diff` finds each difference that is planted; times and machines are none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from genbench.results.run_diff import compare_runs
from tests import equal_runs
from tests.equal_runs import (
    METADATA,
    Change,
    arrays,
    call,
    content,
    detailed,
    flip,
    record,
    removed,
    scaled,
    tensors,
    text,
    write,
)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two projects with equal results of two entries and a data set."""
    return equal_runs.equal_runs(tmp_path)


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


PROBES: dict[str, Change] = {
    "metrics.copied_share.value: 0.125 and ": scaled(
        "probe.json", "copied_share", "value", 1 + 1e-8
    ),
    "metrics.copied_share.detail.flagged: true and false": detailed(
        "probe.json", "copied_share", flagged=False
    ),
    "made_from.memorisation: true and false": record(
        "probe.json", lambda r: r["made_from"].update(memorisation=False)
    ),
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
    "distance: 1 of 14 values": (
        "made",
        "neighbours",
        arrays("made/neighbours.npz", lambda a: flip(a["distance"], 0)),
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
    "probe": PROBES,
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
