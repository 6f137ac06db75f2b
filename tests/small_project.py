"""A project of tiny models on a few hundred real digits, through whose stages it is seen whether
what lies between the proven parts is right.

Nothing in it has a value that another one could pass for: splits differ in size, samples are no
multiple of the chunk, likelihoods take every second test image or so, training has options unlike
the defaults, and entries differ in seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Generator, Tensor, nn

from genbench.base import Conditioning, DataSpec, GenerativeModel, Likelihood, Step
from genbench.config.layout import Layout
from genbench.config.params import Entry, Params
from genbench.data.splits import EXCERPT, Dataset
from genbench.files import write_json, write_npz
from genbench.hardware.compute import Compute
from genbench.models.cvae import CVAE
from genbench.models.ddpm import DDPM
from genbench.models.hinge_gan import HingeGAN
from genbench.models.made import MADE
from genbench.models.rbm import RBM
from genbench.models.train_copy import TrainCopy
from genbench.pipeline.stage_runner import call_stage
from tests.params_factory import protocol

__all__ = [
    "ENTRIES",
    "IMAGES",
    "METRICS",
    "PROTOCOL",
    "SPECS",
    "STAGES",
    "TRAIN",
    "Call",
    "Spy",
    "Twin",
    "cut",
    "finish",
    "install_models",
    "project",
    "stage_settings",
    "trained",
    "untrained",
    "with_spy",
]

SPECS = {"mnist": DataSpec(28, 28, 256, 10), "binary_mnist": DataSpec(28, 28, 2)}
SIZES = {"train": 320, "valid": 90, "test": 610}
IMAGES = {1: 300, 10: 24, 200: 8}
"""Network passes per image -> test images of a likelihood."""
PROTOCOL = protocol(samples=23, sample_chunk=9, images=IMAGES, references=77)
METRICS = (
    "fid",
    "inception_score",
    "kid",
    "precision_recall",
    "density_coverage",
    "label_fidelity",
    "class_shares",
)
STAGES = ("train", "sample", "score_likelihood")
"""Stages of an entry that resume."""
OPTIM = {
    "lr": 0.02,
    "betas": [0.8, 0.95],
    "weight_decay": 0.3,
    "warmup": 0.2,
    "final_lr": 0.3,
    "clip": 5.0,
}
TRAIN = {
    "steps": 9,
    "batch_size": 16,
    "optim": {"loss": OPTIM},
    "ema": 0.4,
    "validations": 3,
    "validate_images": 37,
}


def _entry(
    name: str,
    model: str,
    dataset: str,
    seed: int,
    arch: dict[str, Any],
    train: dict[str, Any],
    **blocks: dict[str, Any],
) -> Entry:
    return Entry(
        name, model, dataset, seed, arch, train, blocks.get("sample", {}), blocks.get("score", {})
    )


_DDPM = {
    "timesteps": 12,
    "beta_end": 0.5,
    "widths": [16],
    "blocks": 1,
    "patch": 4,
    "label_dropout": 0.2,
    "conditional": True,
}
_GAN = {"latent": 4, "widths": [4, 8], "hidden": 8, "conditional": True}

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        _entry("made", "made", "binary_mnist", 3, {"hidden": [12]}, TRAIN),
        _entry("made-s4", "made", "binary_mnist", 4, {"hidden": [12]}, TRAIN),
        _entry(
            "cvae",
            "cvae",
            "mnist",
            1,
            {"latent": 3, "widths": [4], "hidden": 8, "blocks": 0, "mixtures": 1},
            TRAIN,
            score={"draws": 3},
        ),
        _entry(
            "ddpm",
            "ddpm",
            "mnist",
            2,
            _DDPM,
            TRAIN,
            sample={"ddim_steps": 4, "guidance": 0.7, "clip": True},
            score={"terms": 3},
        ),
        _entry(
            "rbm",
            "rbm",
            "binary_mnist",
            5,
            {"hidden": 6, "persistent_chains": 16, "burn_in": 12},
            TRAIN,
            sample={"burn_in": 15},
            score={"chains": 24, "temperatures": 40},
        ),
        _entry(
            "gan",
            "hinge_gan",
            "mnist",
            0,
            _GAN,
            {**TRAIN, "steps": 2, "optim": {"disc": OPTIM, "gen": OPTIM}},
        ),
        _entry("copy", "train_copy", "mnist", 0, {"size": 29}, {}),
    )
}


def cut(data: Dataset) -> Dataset:
    """The first images of each split."""
    parts = {}
    for split, n in SIZES.items():
        labels = getattr(data, f"{split}_y")
        parts |= {
            f"{split}_x": getattr(data, f"{split}_x")[:n],
            f"{split}_y": None if labels is None else labels[:n],
        }
    return replace(data, **parts)


def project(root: Path, *datasets: Dataset) -> Params:
    """The project in a folder, with prepared data and fingerprints; nothing is trained yet."""
    params = Params(root, "quick", ENTRIES, tuple(SPECS), METRICS, PROTOCOL, Compute(threads=1))
    for data in datasets:
        arrays = dict(EXCERPT)
        for split in SIZES:
            x, y = (getattr(cut(data), f"{split}_{axis}") for axis in "xy")
            arrays[f"{split}_x"] = x[:, 0].numpy()
            if y is not None:
                arrays[f"{split}_y"] = y.numpy().astype(np.uint8)
        write_npz(Layout.of(params).data(data.name), arrays)
    for name in [*ENTRIES, "spy"]:
        for stage in STAGES:
            write_json(Layout.of(params).fingerprint(name, stage), {"hash": f"{stage} of {name}"})
    return params


def finish(params: Params) -> Params:
    """Run all stages of all entries."""
    with stage_settings():
        for dataset in params.datasets:
            call_stage("features", params, dataset)
        for name in params.entries:
            for stage in (*STAGES, "score_samples", "pictures", "probe"):
                call_stage(stage, params, name)
    return params


@contextlib.contextmanager
def stage_settings() -> Iterator[None]:
    """Undo what a stage sets for its process."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(deterministic)


_CLASSES = {
    "made": MADE,
    "cvae": CVAE,
    "ddpm": DDPM,
    "rbm": RBM,
    "hinge_gan": HingeGAN,
    "train_copy": TrainCopy,
}


def untrained(entry: Entry) -> GenerativeModel:
    """The model of an entry, put together without genbench.registry."""
    return _CLASSES[entry.model](SPECS[entry.dataset], **entry.arch)


def trained(params: Params, name: str) -> GenerativeModel:
    """The model of an entry with the weights in its file, put together without genbench.weights."""
    model = untrained(ENTRIES[name])
    model.load_state_dict(safetensors.torch.load_file(Layout.of(params).run_dir(name).weights))
    return model.eval()


# ---------------------------------------------------------------------- models of another package


def install_models(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make the models below known as those of an installed package are."""
    about = folder / "small_models-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: small-models\nVersion: 1.0\n", encoding="utf-8"
    )
    points = "[genbench.models]\nspy = tests.small_project:Spy\ntwin = tests.small_project:Twin\n"
    (about / "entry_points.txt").write_text(points, encoding="utf-8")
    patch.syspath_prepend(folder)


class Twin(MADE):
    """Takes the options of MADE and is another model."""

    def __init__(self, spec: DataSpec, *, hidden: list[int]) -> None:
        super().__init__(spec, hidden=hidden)
        with torch.no_grad():
            self.out.bias.add_(1.0)


class Call(NamedTuple):
    """What a model was asked, and under which circumstances."""

    method: str
    x: Tensor | None
    y: list[int] | None
    seed: int
    options: dict[str, Any]
    precision: torch.dtype
    training: bool
    gradients: bool
    threads: int


class Spy(GenerativeModel):
    """Notes down every call; its score is a bound that gets tighter with draws, its normaliser is
    an estimate.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.LOWER_BOUND
    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    family: ClassVar[str] = "test"
    sampler_name: ClassVar[str] = "spying"
    tiny_specs = ()
    calls: ClassVar[list[Call]] = []

    def __init__(self, spec: DataSpec, *, conditional: bool = False) -> None:
        super().__init__(spec, conditional=conditional)
        self.layer = nn.Linear(spec.dims, 1)

    def _note(
        self, method: str, x: Tensor | None, y: Tensor | None, rng: Generator, **options: Any
    ) -> None:
        precision = self.layer(torch.zeros(1, self.spec.dims)).dtype
        labels = None if y is None else y.tolist()
        circumstances = precision, self.training, torch.is_grad_enabled(), torch.get_num_threads()
        Spy.calls.append(
            Call(
                method,
                None if x is None else x.clone(),
                labels,
                rng.initial_seed(),
                options,
                *circumstances,
            )
        )

    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        self._note("init_from_data", x, y, rng)

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        self._note("training_loss", x, y, rng, progress=progress)
        return Step(self.layer(self.spec.unit(x).flatten(1)).float().square().mean())

    def sample(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        rng: Generator,
        temperature: float = 1.0,
        steps: int = 4,
        precision: str = "float32",
    ) -> Tensor:
        given = {"n": n, "temperature": temperature, "steps": steps, "precision": precision}
        self._note("sample", None, y, rng, **given)
        return torch.randint(
            0, self.spec.levels, (n, 1, self.spec.height, self.spec.width), generator=rng
        ).to(torch.uint8)

    def prepare_likelihood(self, *, rng: Generator, chains: int = 5) -> dict[str, float]:
        self._note("prepare_likelihood", None, None, rng, chains=chains)
        return {"log_z": 1.5, "log_z_stderr": 0.25}

    def log_likelihood(
        self,
        x: Tensor,
        y: Tensor | None = None,
        *,
        rng: Generator,
        draws: int = 1,
        scale: float = 1.0,
    ) -> Tensor:
        self._note("log_likelihood", x, y, rng, draws=draws, scale=scale)
        label = torch.zeros(len(x)) if y is None else y
        return -scale * (self.spec.unit(x).double().sum((1, 2, 3)) + label / draws)

    def diagnostics(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> dict[str, float]:
        self._note("diagnostics", x, y, rng)
        return {"noise": float(torch.rand((), generator=rng))}


SPY = Entry(
    "spy",
    "spy",
    "mnist",
    6,
    {"conditional": True},
    TRAIN,
    {"temperature": 0.5},
    {"draws": 2, "scale": 0.5, "chains": 7},
)


def with_spy(params: Params, **blocks: Any) -> Params:
    """The project with an entry of :class:`Spy`, some of whose blocks are others."""
    return replace(params, entries={**params.entries, "spy": replace(SPY, **blocks)})
