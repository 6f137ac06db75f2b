"""Every option of every model reaches what it is for, and nothing else.

What exactly comes out is for the tests of the bounds, samplers, losses and models; here a model
that forgets to pass an option on is found.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from genbench.base import DataSpec, Diagnosed, Encoder, GenerativeModel, Latent, Likelihood
from genbench.families.autoregressive import Autoregressive
from genbench.registry import model_class
from tests import contract
from tests.contract import rng
from tests.options import BY_VALUE, CALLS, EFFECTS, SHAPES, SMALL, Arch, Shapes


def build(model: str, *options: Arch) -> GenerativeModel:
    """A model that has seen data, and none of whose layers puts out constants."""
    spec, small = SMALL[model]
    torch.manual_seed(0)
    built = model_class(model)(
        spec, **{name: value for block in (small, *options) for name, value in block.items()}
    )
    x = images(spec, 64)
    built.init_from_data(x, labels(built, 64), rng=rng(1))
    contract.start(built, data=False)
    if isinstance(
        built, Autoregressive
    ):  # they start close to their head's own start, whatever is before it
        with torch.no_grad():
            built.get_parameter("out.weight").mul_(20)
    return built.eval()


def images(spec: DataSpec, n: int) -> Tensor:
    return torch.randint(
        0, spec.levels, (n, 1, spec.height, spec.width), dtype=torch.uint8, generator=rng(2)
    )


def labels(model: GenerativeModel, n: int) -> Tensor | None:
    return torch.arange(n) % model.spec.classes if model.conditional else None


def _ais(model: GenerativeModel) -> Arch:
    """Keywords that keep an estimate of log Z short."""
    return {"chains": 20, "temperatures": 30} if model.likelihood is Likelihood.ESTIMATE else {}


def outcomes(model: GenerativeModel, n: int = 40) -> dict[str, list[Any]]:
    """What a model does with its weights, by what it is."""
    x, y = images(model.spec, n), labels(model, n)
    names = {id(p): name for name, p in model.named_parameters()}
    phases = model.phases()
    found: dict[str, list[Any]] = {
        "phases": [
            (phase.name, phase.repeats, phase.span, [names[id(p)] for p in phase.params])
            for phase in phases
        ],
        "loss": [phase.loss(x, y, rng=rng(3), progress=0.25).loss.item() for phase in phases],
        "sample": [model.sample(n, y, rng=rng(4)).tolist()],
    }
    if model.likelihood is not Likelihood.NONE:
        found["score"] = [
            model.prepare_likelihood(rng=rng(5), **_ais(model)),
            model.log_likelihood(x, y, rng=rng(6)).tolist(),
        ]
    if isinstance(model, Latent) and isinstance(model, Encoder):
        z = model.prior(n, y, rng=rng(7))
        found["latents"] = [
            model.encode(x, y, rng=rng(8)).tolist(),
            model.decode(z, y, rng=rng(9)).tolist(),
        ]
    if isinstance(model, Diagnosed):
        found["diagnostics"] = [model.diagnostics(x, y, rng=rng(10))]
    return found


def _ids(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """Model and changed options of each row of a table."""
    changes = [row[-1] if rows is CALLS else row[2] for row in rows]
    return [
        f"{row[0]}-{','.join(f'{name}={value}' for name, value in change.items())}"
        for row, change in zip(rows, changes, strict=True)
    ]


@pytest.mark.parametrize(("model", "given", "change", "expected"), SHAPES, ids=_ids(SHAPES))
def test_an_option_gives_its_tensors_their_shape(
    model: str, given: Arch, change: Arch, expected: Shapes
) -> None:
    plain, changed = (build(model, *options) for options in ((given,), (given, change)))
    before, after = (
        {name: tuple(t.shape) for name, t in m.state_dict().items()} for m in (plain, changed)
    )
    for name, shape in expected.items():
        assert after.get(name) == shape, name
        assert before.get(name) != shape, f"{name} has this shape without the option"
    x = images(changed.spec, 8)
    for phase in changed.phases():
        assert phase.loss(x, labels(changed, 8), rng=rng(3), progress=0.5).loss.isfinite()


def give_weights(source: GenerativeModel, target: GenerativeModel) -> None:
    """Equal weights for both; a bias that the target alone has is zero."""
    state = source.state_dict()
    with torch.no_grad():
        for name, tensor in target.state_dict().items():
            if name not in state:
                assert name.endswith(".bias"), name
                tensor.zero_()
    target.load_state_dict({**target.state_dict(), **state}, strict=False)


@pytest.mark.parametrize(("model", "given", "change", "expected"), EFFECTS, ids=_ids(EFFECTS))
def test_an_option_changes_what_it_is_for_and_nothing_else(
    model: str, given: Arch, change: Arch, expected: set[str]
) -> None:
    plain, changed = build(model, given), build(model, given, change)
    give_weights(plain, changed)
    before, after = outcomes(plain), outcomes(changed)
    assert {name for name in before if before[name] != after[name]} == expected


@pytest.mark.parametrize(("model", "given", "method", "call", "change"), CALLS, ids=_ids(CALLS))
def test_a_keyword_of_a_method_changes_what_it_returns(
    model: str, given: Arch, method: str, call: Arch, change: Arch
) -> None:
    built = build(model, given)
    arguments = {
        "sample": (40, labels(built, 40)),
        "log_likelihood": (images(built.spec, 40), labels(built, 40)),
        "prepare_likelihood": (),
    }[method]
    if method == "prepare_likelihood":
        call = {**_ais(built), **call}

    def result(**options: Any) -> Any:
        found = getattr(built, method)(*arguments, rng=rng(4), **options)
        return found.tolist() if isinstance(found, Tensor) else found

    assert result(**call) == result(**call)
    assert result(**call) != result(**{**call, **change})


@pytest.mark.parametrize("model", SMALL)
def test_the_tables_are_whole(model: str) -> None:
    """A new option of these models needs a line here."""
    cls = model_class(model)
    tested = {
        option for name, _, change, _ in [*SHAPES, *EFFECTS] if name == model for option in change
    }
    tested |= {option for name, option in BY_VALUE if name == model}
    assert set(inspect.signature(cls.__init__).parameters) - {"self", "spec"} == tested
    for method in ("sample", "log_likelihood", "prepare_likelihood"):
        keywords = set(inspect.signature(getattr(cls, method)).parameters) - {
            "self",
            "n",
            "x",
            "y",
            "rng",
        }
        assert keywords == {
            option
            for name, _, of, _, change in CALLS
            if (name, of) == (model, method)
            for option in change
        }, method


def test_an_energys_scale_starts_where_it_says() -> None:
    assert build("ebm", {"energy_scale": 3.0}).get_parameter("scale").item() == 3.0
    assert build("ebm").get_parameter("scale").item() == 1.0
