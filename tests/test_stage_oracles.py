"""What the stages write, beside what the models give when they are called directly: data, weights,
samples.
"""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import itertools
import json
import platform
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import genbench
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.data import mnist as mnist_source
from genbench.data.raw_file import RawFile
from genbench.data.splits import Dataset
from genbench.files import read_npz
from genbench.hardware import precision
from genbench.pipeline.stage_runner import call_stage
from genbench.training.fit import fit
from genbench.training.history import Fitted
from pipelines import sample, train
from tests import by_hand
from tests.small_project import (
    ENTRIES,
    Spy,
    cut,
    install_models,
    project,
    trained,
    untrained,
    with_spy,
)


@pytest.fixture
def datasets(mnist: Dataset, binary_mnist: Dataset) -> dict[str, Dataset]:
    """The splits that the project has, by data set."""
    return {part.name: cut(part) for part in (mnist, binary_mnist)}


@pytest.fixture
def spied(tmp_path: Path, mnist: Dataset, monkeypatch: pytest.MonkeyPatch) -> Iterator[Params]:
    """A project with an entry whose model notes down its calls, not trained yet."""
    install_models(tmp_path / "site", monkeypatch)
    Spy.calls.clear()
    yield with_spy(project(tmp_path, mnist))
    Spy.calls.clear()


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------------- prepare


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(
        struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
    )


@pytest.mark.parametrize("place", ["mirror", "cache"])
def test_prepare_splits_the_published_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The last training images are validation, and each image keeps its label."""
    numbers = np.random.default_rng(0)
    x, test_x = (numbers.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in (13, 5))
    y, test_y = np.arange(13, dtype=np.uint8) % 10, np.arange(5, dtype=np.uint8) + 3
    files = {f"file-{i}.gz": idx(array) for i, array in enumerate((x, y, test_x, test_y))}
    published = [
        RawFile("mnist", name, (), "md5", hashlib.md5(content).hexdigest())
        for name, content in files.items()
    ]
    monkeypatch.setattr(mnist_source, "raw_files", lambda: published)
    monkeypatch.setitem(mnist_source.SIZES, "train", 9)
    params = project(tmp_path)
    folder = {
        "mirror": tmp_path / "mirror" / "mnist",
        "cache": tmp_path / "data" / "raw" / "mnist",
    }[place]
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    monkeypatch.delenv("GENBENCH_MIRROR", raising=False)
    if place == "mirror":
        monkeypatch.setenv("GENBENCH_MIRROR", str(tmp_path / "mirror"))
    call_stage("prepare", params, "mnist")
    expected = {
        "train_x": x[:9],
        "train_y": y[:9],
        "valid_x": x[9:],
        "valid_y": y[9:],
        "test_x": test_x,
        "test_y": test_y,
    }
    found = read_npz(Layout.of(params).data("mnist"))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name
        assert found[name].dtype == np.uint8


# ---------------------------------------------------------------------- train


@pytest.mark.parametrize("name", ["made", "made-s4", "cvae", "rbm"])
def test_weights_and_history_are_those_of_a_training_by_hand(
    finished: Params, datasets: dict[str, Dataset], name: str
) -> None:
    entry = ENTRIES[name]
    torch.manual_seed(by_hand.seed("init", name, entry.seed))
    model = untrained(entry)
    history = by_hand.Training(model, datasets[entry.dataset], name, entry.seed, entry.train).run()
    written = safetensors.torch.load_file(Layout.of(finished).run_dir(name).weights)
    expected = model.state_dict()
    assert written.keys() == expected.keys()
    for key, value in expected.items():
        # Adam divides by the size of a gradient, so where that is near 0 its rounding, other on
        # each processor and memory layout, moves a weight by more than rounding.
        near = torch.isclose(written[key], value, atol=1e-5, rtol=1e-4, equal_nan=True)
        assert near.double().mean() > 0.999, key
        assert torch.allclose(written[key], value, atol=1e-4, rtol=1e-4, equal_nan=True), key
    with Layout.of(finished).run_dir(name).history.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (
        [int(row["step"]) for row in rows] == [row["step"] for row in history] == list(range(1, 10))
    )
    for row, by_hands in zip(rows, history, strict=True):
        logged = {
            key: float(text)
            for key, text in row.items()
            if text and key not in ("step", "seconds", "images_per_second")
        }
        assert logged == pytest.approx(
            {key: value for key, value in by_hands.items() if key != "step"}, rel=1e-4
        )
    validated = [int(row["step"]) for row in rows if row.get("loss/valid_loss")]
    assert validated == ([] if name == "rbm" else [3, 6, 9])


def test_another_seed_is_another_training(finished: Params) -> None:
    one, other = (
        safetensors.torch.load_file(Layout.of(finished).run_dir(name).weights)
        for name in ("made", "made-s4")
    )
    assert {key for key in one if torch.equal(one[key], other[key])} == set()


def test_the_weights_say_whose_they_are(finished: Params) -> None:
    with safetensors.safe_open(Layout.of(finished).run_dir("cvae").weights, "pt") as file:
        about = json.loads(file.metadata()["genbench"])
    entry = ENTRIES["cvae"]
    blocks = {"entry": "cvae", "model": "cvae", "dataset": "mnist", "seed": 1, "arch": entry.arch}
    assert (
        about.items()
        >= (blocks | {"spec": {"height": 28, "width": 28, "levels": 256, "classes": 10}}).items()
    )


def test_costs_are_those_of_the_loop(spied: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Fitted] = []

    @functools.wraps(fit)
    def listening(*arguments: Any, **options: Any) -> Fitted:
        told.append(fit(*arguments, **options))
        return told[-1]

    monkeypatch.setattr(train, "fit", listening)
    call_stage("train", spied, "spy")
    cost = read(Layout.of(spied).run_dir("spy").cost)
    assert cost["parameters"] == 785
    assert cost["steps"] == 9
    assert cost["train_seconds"] == told[0].seconds
    assert cost["train_cpu_seconds"] == told[0].cpu_seconds
    assert cost["train_images_per_second"] == told[0].images_per_second
    assert cost["peak_memory_mb"] > 100  # torch alone takes more


@pytest.mark.parametrize("name", ["rbm", "gan", "copy"])
def test_parameters_are_what_is_trained_and_no_buffers(finished: Params, name: str) -> None:
    """The chains of an RBM, the averages of spectral and batch norms, and kept images are none."""
    model = trained(finished, name)
    assert any(True for _ in model.buffers())
    assert read(Layout.of(finished).run_dir(name).cost)["parameters"] == sum(
        parameter.numel() for parameter in model.parameters()
    )


@pytest.mark.parametrize(
    ("given", "native", "resolved"),
    [("auto", True, "bfloat16"), ("auto", False, "float32"), ("bfloat16", False, "bfloat16")],
)
def test_provenance_tells_precision_versions_and_machine(
    spied: Params, monkeypatch: pytest.MonkeyPatch, given: str, native: bool, resolved: str
) -> None:
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: native)
    options = {**spied.entries["spy"].train, "arithmetic": {"cpu": {"precision": given}}}
    params = with_spy(spied, train=options)
    call_stage("train", params, "spy")
    provenance = read(Layout.of(params).run_dir("spy").provenance)
    assert {call.precision for call in Spy.calls if call.method == "training_loss"} == {
        getattr(torch, resolved)
    }
    assert provenance["precision"] == resolved
    assert provenance["train"] == options
    assert provenance["git"] is None  # the project is outside of git
    assert (provenance["device"], provenance["threads"]) == ("cpu", 1)
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "genbench": genbench.__version__,
    }
    assert provenance["versions"].items() >= versions.items()
    assert provenance["kind"]["machine"] == platform.machine()
    assert provenance["kind"]["libraries"]["torch"] == torch.__version__
    assert provenance["kind"]["isa"].endswith("BF16") == native
    assert provenance["hardware"]


# ---------------------------------------------------------------------- sample


@pytest.mark.parametrize("name", ENTRIES)
def test_samples_are_what_the_model_draws_chunk_by_chunk(finished: Params, name: str) -> None:
    """23 images in chunks of 9, each with a generator of its own, cut at the end; what depends on
    other draws is drawn in one go.
    """
    model, entry = trained(finished, name), ENTRIES[name]
    chunks = [range(23)] if name == "copy" else [range(0, 9), range(9, 18), range(18, 27)]
    drawn = []
    for number, chunk in enumerate(chunks):
        y = torch.tensor([i % 10 for i in chunk]) if model.conditional else None
        drawn.append(
            model.sample(
                len(chunk), y, rng=by_hand.rng("sample", name, entry.seed, number), **entry.sample
            )
        )
    written = read_npz(Layout.of(finished).run_dir(name).samples)
    assert np.array_equal(written["images"], torch.cat(drawn)[:23, 0].numpy())
    assert written["images"].dtype == np.uint8
    assert written.keys() == ({"images", "labels"} if model.conditional else {"images"})
    if model.conditional:
        assert written["labels"].tolist() == [i % 10 for i in range(23)]


@pytest.mark.parametrize("name", [name for name in ENTRIES if name != "copy"])
def test_chunks_are_drawn_with_different_noise(finished: Params, name: str) -> None:
    drawn = read_npz(Layout.of(finished).run_dir(name).samples)["images"].reshape(23, -1)
    assert len(np.unique(drawn, axis=0)) == 23


SAMPLERS = {
    "made": ("ancestral", True),
    "made-s4": ("ancestral", True),
    "cvae": ("ancestral", True),
    "ddpm": ("ddim-4 (clip=True, guidance=0.7)", False),
    "rbm": ("gibbs-15", True),  # a longer chain than the default of 12
    "gan": ("generator", None),
    "copy": ("training images", None),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_sampling_tells_sampler_mark_and_circumstances(finished: Params, name: str) -> None:
    about = read(Layout.of(finished).run_dir(name).sampling)
    assert (about["sampler"], about["matches_likelihood"]) == SAMPLERS[name]
    assert about["n"] == 23
    assert about["options"] == ENTRIES[name].sample
    assert about["weights"] == sha256(Layout.of(finished).run_dir(name).weights)
    assert (about["precision"], about["device"], about["threads"]) == ("float32", "cpu", 1)
    assert about["kind"] == read(Layout.of(finished).run_dir(name).provenance)["kind"]


@pytest.mark.parametrize(
    ("options", "sampler", "matches"),
    [
        ({}, "spying", True),
        ({"steps": 4}, "spying", True),  # the default, named
        ({"temperature": 0.5}, "spying (temperature=0.5)", False),
        ({"temperature": 0.5, "steps": 2}, "spying (steps=2, temperature=0.5)", False),
        ({"precision": "auto"}, "spying (precision=bfloat16)", False),
    ],
)
def test_options_of_sample_are_passed_on_and_named(
    spied: Params,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    sampler: str,
    matches: bool,
) -> None:
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: True)
    params = with_spy(spied, sample=options)
    call_stage("train", params, "spy")
    Spy.calls.clear()
    call_stage("sample", params, "spy")
    assert [call.options for call in Spy.calls] == 3 * [
        {"n": 9, "temperature": 1.0, "steps": 4, "precision": "float32"} | options
    ]
    assert [call.y for call in Spy.calls] == [
        [i % 10 for i in range(first, first + 9)] for first in (0, 9, 18)
    ]
    assert [call.seed for call in Spy.calls] == [
        by_hand.seed("sample", "spy", 6, number) for number in range(3)
    ]
    assert {(call.training, call.precision, call.threads) for call in Spy.calls} == {
        (False, torch.float32, 1)
    }
    about = read(Layout.of(params).run_dir("spy").sampling)
    assert (about["sampler"], about["matches_likelihood"]) == (sampler, matches)
    assert about["precision"] == ("bfloat16" if "precision" in options else "float32")


def test_the_time_of_a_sample_is_that_of_all_chunks_whenever_they_were_drawn(
    spied: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of a second passes from one look at the clock to the next, and a half of all cores'
    work; 27 images were drawn to keep 23.
    """
    call_stage("train", spied, "spy")
    ticks = itertools.count(0, 0.25)
    work = itertools.count(0, 0.5)
    clocks = SimpleNamespace(monotonic=lambda: next(ticks), process_time=lambda: next(work))
    monkeypatch.setattr(sample, "time", clocks)
    draw = Spy.sample

    @functools.wraps(draw)  # its options are checked by its signature
    def killed(self: Spy, n: int, y: Any = None, **options: Any) -> Any:
        if len([call for call in Spy.calls if call.method == "sample"]) == 2:
            raise KeyboardInterrupt
        return draw(self, n, y, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Spy, "sample", killed)
        with pytest.raises(KeyboardInterrupt):
            call_stage("sample", spied, "spy")
    call_stage("sample", spied, "spy")
    assert len([call for call in Spy.calls if call.method == "sample"]) == 3
    record = read(Layout.of(spied).run_dir("spy").sampling)
    assert record["sample_ms_per_image"] == pytest.approx(1000 * 3 * 0.25 / 27)
    assert record["sample_cpu_ms_per_image"] == pytest.approx(1000 * 3 * 0.5 / 27)
    assert record["at_once"] == 1
