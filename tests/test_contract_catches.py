"""The contract tests catch what they are for: right models pass every check, models broken in one
place fail the check of that place.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from genbench import registry
from genbench.base import GenerativeModel, Likelihood
from tests import broken_toys as broken
from tests import contract
from tests.contract import Case
from tests.toys import ToyFVBN, ToyGAN, ToyRBM, ToyVAE, ToyVQ


class ToyDiagnosed(ToyVAE):
    def diagnostics(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> dict[str, float]:
        with torch.no_grad():
            return {"latent_size": float(self.posterior(x, y)[0].abs().mean())}


RIGHT = [
    case
    for cls in (ToyFVBN, ToyVAE, ToyDiagnosed, ToyVQ, ToyRBM, ToyGAN)
    for case in contract.cases(cls.__name__, cls)
]


@functools.cache
def _trained(cls: type[GenerativeModel], conditional: bool) -> GenerativeModel:
    return contract.train(contract.start(_case(cls, conditional).build()))


def _case(cls: type[GenerativeModel], conditional: bool) -> Case:
    return next(
        case
        for case in contract.cases(cls.__name__, cls)
        if ("conditional" in case.arch) == conditional
    )


CHECKS = (
    contract.check_seeded,
    contract.check_no_hidden_state,
    contract.check_batch_mates,
    contract.check_mass,
    contract.check_sample_form,
    contract.check_samples,
    contract.check_labels_matter,
    contract.check_more_draws_tighten,
    contract.check_latent,
    contract.check_encoder,
    contract.check_diagnosed,
    contract.check_traceable,
    contract.check_inpaintable,
)
"""Those that take a trained model and nothing else."""


@functools.cache
def _trained_case(index: int) -> GenerativeModel:
    return contract.train(contract.start(RIGHT[index].build()))


@pytest.fixture(params=range(len(RIGHT)), ids=[str(case) for case in RIGHT])
def right(request: pytest.FixtureRequest) -> tuple[Case, GenerativeModel]:
    """Each case of a right model, and a copy of the model that it was trained to."""
    return RIGHT[request.param], copy.deepcopy(_trained_case(request.param))


@pytest.mark.parametrize("case", RIGHT, ids=str)
def test_right_models_pass_untrained(case: Case) -> None:
    contract.check_phases(contract.start(case.build()))
    contract.check_depends_on_rng(contract.start(case.build()))


def test_right_models_improve(right: tuple[Case, GenerativeModel]) -> None:
    contract.check_training_improves_score(*right)


def test_right_models_refuse_bad_input(right: tuple[Case, GenerativeModel]) -> None:
    contract.check_bad_input(*right)


def test_right_models_are_saved_and_loaded(
    right: tuple[Case, GenerativeModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "model_class", lambda name: right[0].cls)
    contract.check_checkpoint(*right, tmp_path / "weights.safetensors")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_right_models_pass(
    right: tuple[Case, GenerativeModel], check: Callable[[GenerativeModel], None]
) -> None:
    check(right[1])


def test_each_check_applies_to_a_right_model() -> None:
    """A check that skipped everywhere would say nothing of the models that it lets pass."""
    models = [_trained_case(i) for i in range(len(RIGHT))]
    idle = [check.__name__ for check in CHECKS if all(_skips(check, model) for model in models)]
    assert idle == []


def _skips(check: Callable[[GenerativeModel], None], model: GenerativeModel) -> bool:
    try:
        check(copy.deepcopy(model))
    except pytest.skip.Exception:
        return True
    return False


BROKEN: list[tuple[type[GenerativeModel], bool, Callable[[GenerativeModel], None], str]] = [
    (broken.LeakyMask, False, contract.check_mass, "sum to"),
    (broken.UnnormalisedByAThousandth, False, contract.check_mass, "sum to 1.001"),
    (broken.ScoreInFloat32, False, contract.check_mass, "must be torch.float64"),
    (broken.Thresholded, False, contract.check_samples, "do not follow"),
    (broken.Sharpened, False, contract.check_samples, "do not follow"),
    (broken.SampleOfOneLabel, True, contract.check_samples, "do not follow .* label"),
    (broken.LabelsIgnored, True, contract.check_labels_matter, "the same distribution"),
    (broken.SampledFromANarrowPrior, False, contract.check_samples, "do not follow"),
    (broken.ReconstructionAsScore, False, contract.check_mass, "sum to"),
    (broken.HalfTheKL, False, contract.check_mass, "sum to 0.8"),
    (broken.LooserWithDraws, False, contract.check_more_draws_tighten, "below that of 1"),
    (broken.PriorForgotten, False, contract.check_mass, "sum to"),
    (broken.MissingCodes, False, contract.check_samples, "do not follow"),
    (broken.WrongLogZ, False, contract.check_mass, "sum to 1.2"),
    (broken.ShortChain, False, contract.check_samples, "do not follow"),
    (broken.GlobalNoise, False, contract.check_seeded, "global generator"),
    (broken.FixedSeed, False, contract.check_depends_on_rng, "does not depend on rng"),
    (broken.Reseeds, False, contract.check_seeded, "global generator"),
    (broken.CacheOnTheModule, False, contract.check_no_hidden_state, "new attributes"),
    (broken.WritesIntoLabels, True, contract.check_no_hidden_state, "overwrote an argument"),
    (broken.BatchMean, False, contract.check_batch_mates, "batch mates"),
    (broken.DecodesGlobally, False, contract.check_latent, "the same rng gave other bits"),
    (broken.EncodesAnotherShape, False, contract.check_encoder, "other shapes"),
    (broken.DiagnosesByChance, False, contract.check_diagnosed, "then"),
    (broken.DiagnosesNothing, False, contract.check_diagnosed, "finite|then"),
    (broken.StopsEarly, False, contract.check_traceable, "not the sample"),
    (broken.RedrawsTheKnown, False, contract.check_inpaintable, "changes what is known"),
    (broken.PastesOverASample, False, contract.check_inpaintable, r"do not follow P\(rest"),
]


@pytest.mark.parametrize(
    ("cls", "conditional", "check", "message"), BROKEN, ids=[cls.__name__ for cls, *_ in BROKEN]
)
def test_broken_models_fail(
    cls: type[GenerativeModel],
    conditional: bool,
    check: Callable[[GenerativeModel], None],
    message: str,
) -> None:
    with pytest.raises(AssertionError, match=message):
        check(contract.train(contract.start(_case(cls, conditional).build())))


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (broken.ForgottenParameter, r"in no phase: \['bias'\]"),
        (broken.SharedParameter, "two phases"),
        (broken.UnreachedParameter, r"no gradient reaches \['unused'\]"),
        (broken.LossPerImage, "one finite number"),
    ],
)
def test_broken_phases_fail(cls: type[GenerativeModel], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        contract.check_phases(contract.start(next(contract.cases("toy", cls)).build()))


def test_a_loss_of_the_wrong_sign_fails() -> None:
    case = _case(broken.WrongSign, False)
    with pytest.raises(AssertionError, match="before training"):
        contract.check_training_improves_score(case, _trained(broken.WrongSign, False))


def test_state_outside_the_checkpoint_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "model_class", lambda name: broken.ForgetsOnSaving)
    with pytest.raises(AssertionError, match="differ after loading"):
        contract.check_checkpoint(
            _case(broken.ForgetsOnSaving, False),
            _trained(broken.ForgetsOnSaving, False),
            tmp_path / "weights.safetensors",
        )


def test_unchecked_input_fails() -> None:
    with pytest.raises(AssertionError, match=r"accepts a wrong|must begin with"):
        contract.check_bad_input(
            _case(broken.UncheckedInput, False), _trained(broken.UncheckedInput, False)
        )


@pytest.mark.parametrize("cls", [broken.LateCache, broken.LeakyMask, broken.LooksAhead])
def test_broken_caches_and_masks_fail(cls: type[ToyFVBN]) -> None:
    model = contract.start(_case(cls, False).build()).eval().double()
    assert isinstance(model, ToyFVBN) and model.likelihood is Likelihood.EXACT
    x = contract.every_image(model.spec)
    with pytest.raises(AssertionError, match="differs from the full pass"):
        contract.check_cached(model, x, None, tolerance=1e-10)
    if cls is not broken.LateCache:
        with pytest.raises(AssertionError, match="drawn before"):
            contract.check_causality(model, x, None, positions=list(range(9)), tolerance=1e-11)
