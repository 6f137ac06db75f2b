"""Fixtures of all tests: the real data, a small project to run stages in, and defaults that keep a
test run quiet and repeatable.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch
import yaml
from threadpoolctl import threadpool_limits

from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.data import splits
from genbench.data.download import prepare
from genbench.data.mirror import mirror
from genbench.errors import UserError
from genbench.files import write_npz
from genbench.results import entry as reading
from tests.invented_results import Bench, everything, fake_class
from tests.params_factory import dump, written_entry, written_protocol

# A shell that starts the tests in the background has SIGINT ignored, which the processes that are
# sent it here would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = {"train": 300, "valid": 100, "test": 100}
"""Images per split of the project's data."""


_LONG = (
    "pipeline_smoke",
    "contract",
    "fingerprints",
    "processor",
    "resume",
    "cli_run",
    "cli_errors",
    "profiles",
    "diffusion",
    "quick_settings",
)
"""Files that take longest, the longest first: `make test` gives whole files to its processes, and
one that began last would be waited for.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    place = {f"test_{name}": i for i, name in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Several threads on tiny tensors cost more than they bring, and change the last bits; several
    processes of tests with several threads each wait for one another.
    """
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")


@pytest.fixture(autouse=True)
def _global_state() -> Iterator[None]:
    """Undo what a stage sets for its process: threads, deterministic algorithms, default type."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_default_dtype(torch.float32)


def _real(dataset: str) -> dict[str, np.ndarray]:
    place = mirror()
    try:
        return prepare(dataset, raw=REPOSITORY / "data" / "raw", mirror=place)
    except UserError as error:
        if place:  # a mirror that was asked for and does not work is a failure
            raise
        pytest.skip(
            f"no {dataset}: GENBENCH_MIRROR is not set and the download failed "
            f"({str(error).splitlines()[0]})"
        )


def _dataset(name: str, folder: Path) -> splits.Dataset:
    path = folder / f"{name}.npz"
    write_npz(path, _real(name))
    try:
        return splits.load(path, name)
    finally:
        path.unlink()


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> splits.Dataset:
    """The real MNIST, or a skip with the reason when there is neither mirror nor network."""
    return _dataset("mnist", tmp_path_factory.mktemp("mnist"))


@pytest.fixture(scope="session")
def binary_mnist(tmp_path_factory: pytest.TempPathFactory) -> splits.Dataset:
    """The real static binarization, or a skip as for ``mnist``."""
    return _dataset("binary_mnist", tmp_path_factory.mktemp("binary_mnist"))


def _small(dataset: splits.Dataset) -> dict[str, np.ndarray]:
    """The first images of each split, in the layout of ``data.prepare``."""
    arrays = dict(splits.EXCERPT)
    for split, n in SMALL.items():
        arrays[f"{split}_x"] = getattr(dataset, f"{split}_x")[:n, 0].numpy()
        labels = getattr(dataset, f"{split}_y")
        if labels is not None:
            arrays[f"{split}_y"] = labels[:n].numpy().astype(np.uint8)
    return arrays


@pytest.fixture
def project(tmp_path: Path, mnist: splits.Dataset, binary_mnist: splits.Dataset) -> Path:
    """The root of a project with the entries of ``smoke`` as its default profile, five steps each,
    on 300/100/100 real images.

    The data is prepared, nothing else is; ``params`` is the same project, loaded.
    """
    raw = yaml.safe_load((REPOSITORY / "profiles" / "smoke" / "params.yaml").read_text())
    raw |= {
        "root": ".",
        "profile": "quick",
        "params_file": "params.yaml",
        "compute": {"device": "cpu", "threads": 1},
    }
    images = {1: 20, 10: 4, 200: 2}
    raw["protocol"] = written_protocol(samples=20, sample_chunk=10, images=images, references=100)
    smoke = load_params("smoke", root=REPOSITORY)
    raw["entries"] = {name: written_entry(entry) for name, entry in smoke.entries.items()}
    raw["defaults"] = {}
    for entry in raw["entries"].values():
        if entry["train"].get("steps", 0) > 5:
            entry["train"] |= {"steps": 5}
        if entry["model"] in ("train_copy", "partial_copy"):
            entry["arch"] |= {"size": 100}  # the default is more than there are
    (tmp_path / "params.yaml").write_text(dump(raw))
    (tmp_path / "dvc.yaml").write_bytes((REPOSITORY / "dvc.yaml").read_bytes())
    (tmp_path / "profiles").mkdir()
    for dataset in (mnist, binary_mnist):
        write_npz(tmp_path / "runs" / "quick" / "data" / f"{dataset.name}.npz", _small(dataset))
    return tmp_path


@pytest.fixture
def params(project: Path) -> Params:
    """The parameters of ``project``."""
    return load_params("quick", root=project)


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    mnist: splits.Dataset,
    binary_mnist: splits.Dataset,
) -> Params:
    """The project of tests/small_project.py after all of its stages, to be read; a test that
    changes something takes a copy.
    """
    from tests import small_project

    return small_project.finish(
        small_project.project(tmp_path_factory.mktemp("finished"), mnist, binary_mnist)
    )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A project whose results are invented, without any yet."""
    monkeypatch.setattr(reading, "model_class", fake_class)
    return Bench(tmp_path)


@pytest.fixture(scope="session")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A written report with one of everything; tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "model_class", fake_class)
        bench = everything(Bench(tmp_path_factory.mktemp("full_report")))
        bench.write()
    return bench


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised MLflow database without runs; making one takes seconds."""
    from mlflow import MlflowClient  # takes a second, and few tests need it

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
