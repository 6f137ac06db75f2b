"""The contract, on every model found, at each of its tiny shapes, without labels and with them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from genbench import registry
from genbench.base import DataSpec, GenerativeModel
from genbench.families.autoregressive import Autoregressive
from tests import contract
from tests.contract import Case


def _cases() -> list[Case]:
    return [
        case
        for name in registry.model_names()
        for case in contract.cases(name, registry.model_class(name))
    ]


@functools.cache
def _trained(index: int) -> GenerativeModel:
    return contract.train(contract.start(CASES[index].build()))


CASES = _cases()


@dataclass(frozen=True)
class Trained:
    """A case and a private copy of its trained model."""

    case: Case
    model: GenerativeModel


@pytest.fixture(params=range(len(CASES)), ids=[str(case) for case in CASES])
def trained(request: pytest.FixtureRequest) -> Trained:
    """Each case, trained once for all tests."""
    return Trained(CASES[request.param], copy.deepcopy(_trained(request.param)))


def test_phases(trained: Trained) -> None:
    contract.check_phases(contract.start(trained.case.build()))
    contract.check_phases(trained.model, settled=True)


def test_training_improves_score(trained: Trained) -> None:
    contract.check_training_improves_score(trained.case, trained.model)


def test_randomness_is_the_argument(trained: Trained) -> None:
    contract.check_seeded(trained.model)
    contract.check_depends_on_rng(contract.start(trained.case.build()))


def test_no_hidden_state(trained: Trained) -> None:
    contract.check_no_hidden_state(trained.model)


def test_batch_mates(trained: Trained) -> None:
    contract.check_batch_mates(trained.model)


def test_checkpoint(trained: Trained, tmp_path: Path) -> None:
    contract.check_checkpoint(trained.case, trained.model, tmp_path / "weights.safetensors")


def test_samples_are_images(trained: Trained) -> None:
    contract.check_sample_form(trained.model)


def test_probabilities_sum_to_one(trained: Trained) -> None:
    contract.check_mass(trained.model)


def test_samples_follow_the_score(trained: Trained) -> None:
    contract.check_samples(trained.model)


def test_labels_matter(trained: Trained) -> None:
    contract.check_labels_matter(trained.model)


def test_more_draws_tighten_the_bound(trained: Trained) -> None:
    contract.check_more_draws_tighten(trained.model)


def test_bad_input(trained: Trained) -> None:
    contract.check_bad_input(trained.case, trained.model)


CAPABILITIES = {
    "latent": contract.check_latent,
    "encoder": contract.check_encoder,
    "diagnosed": contract.check_diagnosed,
    "traceable": contract.check_traceable,
    "inpaintable": contract.check_inpaintable,
}


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_capabilities(trained: Trained, capability: str) -> None:
    CAPABILITIES[capability](trained.model)


def test_autoregressive_steps_and_causality(trained: Trained) -> None:
    if not isinstance(trained.model, Autoregressive):
        pytest.skip("it is not autoregressive")
    x = contract.every_image(trained.case.spec)
    y = contract.labels_of(trained.model, len(x))
    everywhere = list(range(trained.case.spec.dims))
    contract.check_cached(trained.model, x, y, tolerance=1e-4)
    contract.check_cached(trained.model.double(), x, y, tolerance=1e-10)
    contract.check_causality(trained.model, x, y, positions=everywhere, tolerance=1e-11)


def _full_size() -> Iterator[Case]:
    """Autoregressive models at 28x28: the options of their tiny shapes, and their defaults, at the
    levels of the two data sets.
    """
    for name in registry.model_names():
        cls = registry.model_class(name)
        if issubclass(cls, Autoregressive):
            for spec, arch in cls.tiny_specs:
                yield Case(name, cls, DataSpec(28, 28, 2 if spec.levels == 2 else 256), arch)
            yield Case(name, cls, DataSpec(28, 28, 2), {})


@pytest.mark.parametrize("case", list(_full_size()), ids=str)
def test_autoregressive_at_full_size(case: Case) -> None:
    model = contract.start(case.build(), data=False).eval()
    x = torch.randint(
        0, case.spec.levels, (2, 1, 28, 28), dtype=torch.uint8, generator=contract.rng(1)
    )
    contract.check_cached(model, x, None, tolerance=1e-4)
    contract.check_cached(model.double(), x, None, tolerance=1e-10)
    contract.check_causality(model, x, None, positions=[0, 1, 27, 28, 29, 391], tolerance=1e-11)
