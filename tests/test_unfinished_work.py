"""Unfinished work is used for what it was begun for, and for nothing else: whatever determines a
result is changed, one thing at a time.

The work that is left behind is spoiled, so that a stage that goes on from it shows that at once.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from genbench import weights as checkpoint
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.files import read_npz, write_json, write_npz
from genbench.hardware import device, precision
from genbench.hardware import kind as processor
from genbench.hardware.compute import Compute
from genbench.pipeline.stage_runner import call_stage
from genbench.training.checkpoints import Workspace
from tests.params_factory import likelihood_images
from tests.small_project import ENTRIES, IMAGES, STAGES, TRAIN, install_models

SPOILED = 0.75
"""Every floating-point number of spoiled work; its images are all of level 1."""
OUTPUTS = {
    "train": ("weights.safetensors",),
    "sample": ("samples.npz",),
    "score_likelihood": ("nats.npz", "likelihood.json"),
}


def spoil(value: Any) -> Any:
    """The same with other numbers in its tensors and arrays."""
    if isinstance(value, Tensor):
        return torch.full_like(value, SPOILED) if value.is_floating_point() else value
    if isinstance(value, np.ndarray):
        if value.dtype == np.uint8:
            return np.ones_like(value)
        return np.full_like(value, SPOILED) if value.dtype.kind == "f" else value
    if isinstance(value, Mapping):
        return {key: spoil(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(spoil(inner) for inner in value)
    return value


@contextlib.contextmanager
def spoiling() -> Iterator[None]:
    """All work that is kept meanwhile is spoiled, in files that are whole."""
    save, chunk = Workspace.save, Workspace.chunk
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workspace, "save", lambda self, name, value: save(self, name, spoil(value)))
        patch.setattr(
            Workspace,
            "chunk",
            lambda self, name, compute: chunk(self, name, lambda: spoil(compute())),
        )
        yield


def is_spoiled(params: Params, stage: str, name: str) -> bool:
    """Whether what a stage wrote was made from spoiled work."""
    folder = Layout.of(params).run_dir(name).path
    if stage == "train":
        weights = safetensors.torch.load_file(folder / "weights.safetensors")
        return any(
            bool((value == SPOILED).all())
            for value in weights.values()
            if value.is_floating_point()
        )
    if stage == "sample":
        return bool((read_npz(folder / "samples.npz")["images"] == 1).all((1, 2)).any())
    return any(
        bool((np.abs(values) == SPOILED).any())
        for key, values in read_npz(folder / "nats.npz").items()
        if values.dtype.kind == "f"
    )


def run(params: Params, stage: str, name: str) -> dict[str, bytes]:
    """Run a stage; what it wrote."""
    for file in OUTPUTS[stage]:
        (Layout.of(params).run_dir(name).path / file).unlink(missing_ok=True)
    call_stage(stage, params, name)
    return {
        file: (Layout.of(params).run_dir(name).path / file).read_bytes() for file in OUTPUTS[stage]
    }


@pytest.fixture
def copied(finished: Params, tmp_path: Path) -> Params:
    """The finished project, to be changed; no work of it is kept."""
    for part in ("fingerprints", "data", "made", "cvae", "ddpm", "rbm", "copy"):
        shutil.copytree(
            Layout.of(finished).runs / part,
            tmp_path / "runs" / "quick" / part,
            ignore=shutil.ignore_patterns("pictures"),
        )
    return replace(finished, root=tmp_path)


# ---------------------------------------------------------------------- changes

Change = Callable[[Params, str, pytest.MonkeyPatch], Params]
"""``(params, entry, patch) -> params`` with one thing changed, in them, in a file or in this
process.
"""


def block(**changes: Any) -> Change:
    """Other values in the entry's block; mappings are merged."""

    def change(params: Params, name: str, patch: pytest.MonkeyPatch) -> Params:
        entry = params.entries[name]
        merged = {
            key: {**getattr(entry, key), **value} if isinstance(value, dict) else value
            for key, value in changes.items()
        }
        return replace(params, entries={**params.entries, name: replace(entry, **merged)})

    return change


def protocol(**changes: int) -> Change:
    return lambda params, name, patch: replace(params, protocol=replace(params.protocol, **changes))


def code(stage: str) -> Change:
    def change(params: Params, name: str, patch: pytest.MonkeyPatch) -> Params:
        write_json(Layout.of(params).fingerprint(name, stage), {"hash": "of other sources"})
        return params

    return change


def weights(params: Params, name: str, patch: pytest.MonkeyPatch) -> Params:
    """Other weights of the same model."""
    path = Layout.of(params).run_dir(name).weights
    model = checkpoint.load(path)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.mul_(0.9)
    checkpoint.save(model, path, entry=params.entries[name])
    return params


def images(params: Params, name: str, patch: pytest.MonkeyPatch) -> Params:
    """The prepared images of each split in reverse."""
    path = Layout.of(params).data(params.entries[name].dataset)
    write_npz(path, {key: values[::-1] for key, values in read_npz(path).items()})
    return params


def threads(params: Params, name: str, patch: pytest.MonkeyPatch) -> Params:
    return replace(params, compute=Compute(threads=2))


def kind(params: Params, name: str, patch: pytest.MonkeyPatch) -> Params:
    patch.setattr(processor, "_instructions", lambda: "OTHER")
    return params


def other_device(params: Params, name: str, patch: pytest.MonkeyPatch) -> Params:
    """As if it were a GPU; the bits are this processor's."""
    identity = device.identity
    patch.setattr(device, "identity", lambda *arguments: identity(*arguments) | {"device": "cuda"})
    return params


def native_bfloat16(params: Params, name: str, patch: pytest.MonkeyPatch) -> Params:
    """A processor that differs in nothing but in what ``auto`` is."""
    patch.setattr(precision, "_cpu_computes_bfloat16", lambda: True)
    return params


AS_IT_IS = block()


@dataclass(frozen=True)
class Case:
    """What is changed of which stage, and with what else the work was begun."""

    stage: str
    entry: str
    what: str
    change: Change
    begun: Change = AS_IT_IS

    def __str__(self) -> str:
        return f"{self.stage}-{self.entry}-{self.what}"


AUTO_TRAIN, AUTO_SAMPLE = (
    block(train={"arithmetic": {"cpu": {"precision": "auto"}}}),
    block(sample={"precision": "auto"}),
)
LOSS = TRAIN["optim"]["loss"]  # type: ignore[index]
CASES = [
    *(
        Case("train", "made", what, change)
        for what, change in {
            "code": code("train"),
            "model": block(model="twin"),
            "seed": block(seed=9),
            "arch": block(arch={"hidden": [11]}),
            "learning rate": block(train={"optim": {"loss": {**LOSS, "lr": 0.03}}}),
            "average": block(train={"ema": 0.3}),
            "layout": block(train={"arithmetic": {"cpu": {"channels_last": True}}}),
            "data": images,
            "threads": threads,
            "kind": kind,
            "device": other_device,
        }.items()
    ),
    Case("train", "made", "precision", native_bfloat16, AUTO_TRAIN),
    *(
        Case("sample", "ddpm", what, change)
        for what, change in {
            "code": code("sample"),
            "weights": weights,
            "sampler": block(sample={"ddim_steps": 3}),
            "seed": block(seed=9),
            "chunk": protocol(sample_chunk=8),
            "threads": threads,
            "kind": kind,
            "device": other_device,
        }.items()
    ),
    Case("sample", "ddpm", "precision", native_bfloat16, AUTO_SAMPLE),
    Case(
        "sample", "copy", "samples", protocol(samples=19)
    ),  # drawn in one go, so that each depends on the number
    *(
        Case("score_likelihood", "rbm", what, change)
        for what, change in {
            "code": code("score_likelihood"),
            "weights": weights,
            "data": images,
            "chains": block(score={"chains": 25}),
            "temperatures": block(score={"temperatures": 41}),
            "seed": block(seed=9),
            "images": protocol(**likelihood_images({**IMAGES, 1: 290})),
            "threads": threads,
            "kind": kind,
            "device": other_device,
        }.items()
    ),
    *(
        Case("score_likelihood", "cvae", what, change)
        for what, change in {
            "weights": weights,
            "data": images,
            "draws": block(score={"draws": 2}),
            "images of one pass": protocol(**likelihood_images({**IMAGES, 1: 290})),
            "images of many passes": protocol(**likelihood_images({**IMAGES, 10: 25})),
            "what many passes are": protocol(**likelihood_images({1: 300, 31: 24, 200: 8})),
            "what very many passes are": protocol(**likelihood_images({1: 300, 10: 24, 30: 8})),
        }.items()
    ),
    Case(
        "score_likelihood",
        "cvae",
        "images of very many passes",
        protocol(**likelihood_images({1: 300, 10: 24, 30: 9})),
        protocol(**likelihood_images({1: 300, 10: 24, 30: 8})),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_work_begun_for_something_else_is_never_used(
    copied: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    """A run beside the spoiled work of what was there before gives the bits of a run from
    nothing.
    """
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: False)
    monkeypatch.setattr(processor, "_instructions", lambda: "THIS")
    install_models(tmp_path / "site", monkeypatch)
    begun = case.begun(copied, case.entry, monkeypatch)
    with spoiling():
        run(begun, case.stage, case.entry)
    changed = case.change(begun, case.entry, monkeypatch)
    found = run(changed, case.stage, case.entry)
    assert not is_spoiled(changed, case.stage, case.entry)
    assert len(list(Layout.of(copied).unfinished.iterdir())) == 2, (
        "the former work stays, for whoever goes back to it"
    )
    shutil.rmtree(Layout.of(copied).unfinished)
    assert run(changed, case.stage, case.entry) == found


@pytest.mark.parametrize(("stage", "name"), sorted({(case.stage, case.entry) for case in CASES}))
def test_work_begun_for_the_same_is_used(copied: Params, stage: str, name: str) -> None:
    """So spoiled work shows: without this the test above could not fail."""
    with spoiling():
        run(copied, stage, name)
    run(copied, stage, name)
    assert is_spoiled(copied, stage, name)


def test_more_samples_go_on_from_the_chunks_that_are_there(copied: Params) -> None:
    """The number of samples is no part of a chunk, so that 31 images begin with the 27 that were
    drawn for 23.
    """
    run(copied, "sample", "ddpm")
    (folder,) = Layout.of(copied).unfinished.iterdir()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert kept.keys() == {"0.npz", "1.npz", "2.npz"}
    more = replace(copied, protocol=replace(copied.protocol, samples=31))
    found = run(more, "sample", "ddpm")
    assert (
        kept.items()
        <= {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}.items()
    )
    shutil.rmtree(Layout.of(copied).unfinished)
    assert run(more, "sample", "ddpm") == found


@pytest.mark.parametrize("stage", STAGES)
def test_an_entry_of_another_profile_is_other_work_though_the_names_run_together(
    copied: Params, stage: str
) -> None:
    """Entry ``x-made`` of profile ``quick`` and entry ``made`` of profile ``quick-x``: their
    randomness is their names'.
    """
    entry = ENTRIES["made"]
    one = replace(copied, entries={"x-made": replace(entry, name="x-made")})
    other = replace(copied, profile="quick-x", entries={"made": entry})
    for params, name in ((one, "x-made"), (other, "made")):
        Layout.of(params).data("binary_mnist").parent.mkdir(parents=True, exist_ok=True)
        if not Layout.of(params).data("binary_mnist").exists():
            shutil.copy(
                Layout.of(copied).data("binary_mnist"), Layout.of(params).data("binary_mnist")
            )
        write_json(Layout.of(params).fingerprint(name, stage), {"hash": "the same"})
        if stage != "train":
            Layout.of(params).run_dir(name).path.mkdir(parents=True)
            shutil.copy(
                Layout.of(copied).run_dir("made").weights, Layout.of(params).run_dir(name).weights
            )
    with spoiling():
        run(one, stage, "x-made")
    run(other, stage, "made")
    assert not is_spoiled(other, stage, "made")
