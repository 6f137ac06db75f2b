"""Hooks by which the pipeline and the pictures ask a model about options that only it understands:
their defaults, every model's, and that they are asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from genbench.base import DataSpec, GenerativeModel, Likelihood, Step, Traceable
from genbench.config.params import Entry
from genbench.errors import UserError
from genbench.hardware.compute import Compute
from genbench.models.ebm import EBM
from genbench.models.rbm import RBM
from genbench.pictures.sampling_process import trace
from genbench.pipeline import validate
from genbench.registry import model_class, model_names
from tests import contract


class Countdown(GenerativeModel):
    """Frames count down from ``start`` to black; ``tint`` changes the last one alone."""

    likelihood = Likelihood.ESTIMATE
    family = "toy"
    tiny_specs = ()

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def frames(
        self, n: int, y: Tensor | None = None, *, rng: Generator, start: int = 3
    ) -> Iterator[Tensor]:
        """``start`` images, each one level darker."""
        for level in reversed(range(start)):
            yield torch.full((n, 1, self.spec.height, self.spec.width), level, dtype=torch.uint8)

    def sample(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        rng: Generator,
        start: int = 3,
        tint: int = 0,
    ) -> Tensor:
        """The last frame."""
        *_, last = self.frames(n, y, rng=rng, start=start)
        return last + tint

    def prepare_likelihood(self, *, rng: Generator, chains: int = 4) -> dict[str, float]:
        """Nothing."""
        return {}

    def log_likelihood(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, draws: int = 1
    ) -> Tensor:
        """Zero."""
        return torch.zeros(len(x), dtype=torch.float64)


class FromFive(Countdown):
    """Shown from five on, whatever it starts from."""

    def trace_options(self, **options: Any) -> dict[str, Any]:
        return {**super().trace_options(**options), "start": 5}


SPEC = DataSpec(2, 3, 8)


def test_a_step_refuses_its_fields_former_name() -> None:
    loss = torch.zeros(())
    assert Step(loss, aux=3).aux == 3
    assert Step(loss).aux is None
    with pytest.raises(TypeError, match="carry is now called 'aux'"):
        Step(loss, carry=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("preparing", "scoring", "message"),
    [
        ({"chains": 0}, {}, "chains: must be at least 1, got 0"),
        ({}, {"draws": 0}, "draws: must be at least 1, got 0"),
        ({"chains": 2, "rate": 0.0}, {"draws": 3}, None),
        ({}, {}, None),
    ],
)
def test_counts_of_the_score_are_positive_by_default(
    preparing: dict[str, Any], scoring: dict[str, Any], message: str | None
) -> None:
    model = Countdown(SPEC)
    if message is None:
        model.check_likelihood_options(preparing, scoring)
        return
    with pytest.raises(UserError, match=f"^{message}"):
        model.check_likelihood_options(preparing, scoring)


def test_the_passes_of_a_score_are_asked_for() -> None:
    model = Countdown(SPEC)

    def refuse(**options: Any) -> int:
        raise UserError(f"asked for {options}")

    model.likelihood_passes = refuse  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"asked for \{'draws': 2\}"):
        model.check_likelihood_options({"chains": 1}, {"draws": 2})


@pytest.mark.parametrize("cls", [EBM, RBM])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chains": 5}, "chains: 5 can never count as the 10 of ess_floor"),
        ({"ess_floor": 9.0}, "ess_floor: must be at least 10"),
        ({"temperatures": 0}, "temperatures: must be at least 1, got 0"),
        ({"chains": 10, "temperatures": 1, "ess_floor": 10.0}, None),
    ],
)
def test_energy_models_refuse_what_their_annealing_cannot_take(
    cls: type[GenerativeModel], options: dict[str, Any], message: str | None
) -> None:
    (case, *_) = contract.cases(cls.__name__.lower(), cls)
    model = case.build()
    if message is None:
        model.check_likelihood_options(options, {})
        return
    with pytest.raises(UserError, match=f"^{message}"):
        model.check_likelihood_options(options, {})


def test_the_process_is_shown_with_the_options_that_frames_takes() -> None:
    model = Countdown(SPEC)
    assert model.trace_options(start=4, tint=2) == {"start": 4}
    assert model.trace_options() == {}
    shown = trace(model, 2, rng=contract.rng(), sampler={"start": 4, "tint": 2})
    assert shown[:, 0, 0, 0, 0].tolist() == [3, 2, 1, 0]


def test_a_model_says_where_the_process_begins() -> None:
    shown = trace(FromFive(SPEC), 2, rng=contract.rng(), sampler={"start": 2, "tint": 2})
    assert shown[:, 0, 0, 0, 0].tolist() == [4, 3, 2, 1, 0]


def test_chains_that_go_on_are_shown_from_their_beginning() -> None:
    (case, *_) = contract.cases("ebm", EBM)
    model = case.build()
    going_on = {"sampler": "grid", "start": "buffer", "burn_in": 3}
    assert model.trace_options(**going_on) == {"sampler": "grid"}
    for start in ({}, {"start": "noise"}):
        from_noise = {"sampler": "grid", "burn_in": 3, **start}
        assert model.trace_options(**from_noise) == from_noise


def test_a_model_that_shows_no_process_has_no_options_of_it() -> None:
    (case, *_) = contract.cases("dcgan", model_class("dcgan"))
    assert case.build().trace_options(anything=3) == {}


@pytest.mark.parametrize("name", model_names())
def test_each_model_takes_its_defaults(name: str) -> None:
    for case in contract.cases(name, model_class(name)):
        model = case.build()
        model.check_likelihood_options({}, {})
        defaults = {
            key: parameter.default
            for key, parameter in inspect.signature(model.sample).parameters.items()
            if key not in ("n", "y", "rng")
        }
        shown = model.trace_options(**defaults)
        if isinstance(model, Traceable):
            assert set(shown) <= set(inspect.signature(model.frames).parameters)
            assert all(shown[key] == defaults[key] for key in shown)
        else:
            assert shown == {}


def test_an_entry_is_refused_where_its_model_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Entry("toy", "toy", "mnist", 0, {}, {}, {"start": 2}, {"chains": 7, "draws": 2})
    model, asked = Countdown(SPEC), []

    def refuse(preparing: Any, scoring: Any) -> None:
        asked.append((dict(preparing), dict(scoring)))
        raise UserError("chains: an unlucky number")

    model.check_likelihood_options = refuse  # type: ignore[method-assign]
    monkeypatch.setattr(validate, "build", lambda *_: model)
    monkeypatch.setattr(validate.TrainOptions, "of", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"^entries\.toy\.score\.chains: an unlucky number"):
        validate.check_entry(entry, Compute())
    assert asked == [({"chains": 7}, {"draws": 2})]
