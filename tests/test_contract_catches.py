"""The contract tests catch what they are for: right models pass every check, models broken in one
place fail the check of that place.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from genbench import registry
from genbench.base import GenerativeModel, Likelihood, Phase, Step
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


# ------------------------------------------------------------ broken on purpose: scores and samples


class LeakyMask(ToyFVBN):
    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return (x.flatten(1).to(self.bias) @ self.weight.tril(0).T + self.biases(len(x), y))[
            ..., None
        ]


class UnnormalisedByAThousandth(ToyFVBN):
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().log_likelihood(x, y, rng=rng) + 1e-3


class ScoreInFloat32(ToyFVBN):
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().log_likelihood(x, y, rng=rng).float()


class Thresholded(ToyFVBN):
    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        x = torch.bernoulli(torch.full((n, 1, 3, 3), 0.5), generator=rng).byte()
        for i in range(9):
            x.view(n, -1)[:, i] = self.logits(x, y)[:, i, 0] > 0
        return x


class Sharpened(ToyFVBN):
    """Sampling at temperature 0.8, by default."""

    def step(self, x: Tensor, i: int, cache: Tensor) -> tuple[Tensor, Tensor]:
        params, cache = super().step(x, i, cache)
        return params / 0.8, cache


class SampleOfOneLabel(ToyFVBN):
    """All images of a batch get the label of the first."""

    def init_cache(self, n: int, y: Tensor | None = None) -> Tensor:
        return super().init_cache(n, None if y is None else y[:1].expand(n))


class LabelsIgnored(ToyFVBN):
    def biases(self, n: int, y: Tensor | None) -> Tensor:
        return self.bias.mean(0).expand(n, -1)


class SampledFromANarrowPrior(ToyVAE):
    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return 0.7 * super().prior(n, y, rng=rng)


class ReconstructionAsScore(ToyVAE):
    def log_weight(self, x: Tensor, y: Tensor | None, rng: Generator) -> Tensor:
        return self.head.log_prob(self.params(self.posterior(x, y)[0], y), x.flatten(1)).sum(1)


class HalfTheKL(ToyVAE):
    """A bound that still sums to less than 1 may be wrong: its weights must be unbiased."""

    def log_likelihood(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, draws: int = 1
    ) -> Tensor:
        return super().log_likelihood(x, y, rng=rng, draws=draws) - 0.2


class LooserWithDraws(ToyVAE):
    def log_likelihood(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, draws: int = 1
    ) -> Tensor:
        return torch.stack([self.log_weight(x, y, rng).double() for _ in range(draws)]).amin(0)


class PriorForgotten(ToyVQ):
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        k = self.codes(x)[1]
        return self.head.log_prob(self.dec(self.book[k])[..., None].double(), x.flatten(1)).sum(1)


class MissingCodes(ToyVQ):
    """Scores by the frequencies of all codes, samples the first two only."""

    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return torch.randint(2, (n, 1), generator=rng)


class WrongLogZ(ToyRBM):
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().log_likelihood(x, y, rng=rng) + 0.2


class ShortChain(ToyRBM):
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return next(self.frames(n, y, rng=rng))


# ---------------------------------------------------- broken on purpose: randomness, state, batches


class GlobalNoise(ToyVAE):
    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return torch.randn(n, self.latent)


class FixedSeed(ToyFVBN):
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().sample(n, y, rng=contract.rng(0))


class Reseeds(ToyFVBN):
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        torch.manual_seed(0)
        return super().sample(n, y, rng=rng)


class CacheOnTheModule(ToyFVBN):
    def step(self, x: Tensor, i: int, cache: Tensor) -> tuple[Tensor, Tensor]:
        self.cache = cache
        return super().step(x, i, cache)


class WritesIntoLabels(ToyFVBN):
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        x = super().sample(n, y, rng=rng)
        if y is not None:
            y.zero_()
        return x


class BatchMean(ToyFVBN):
    """Normalises over the batch, in eval mode too."""

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        logits = super().logits(x, y)
        return logits - 0.1 * logits.mean(0)


class ForgetsOnSaving(ToyFVBN):
    """Part of what it learned is in a plain attribute."""

    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        self.offset = x.float().mean((0, 1)).flatten()

    def biases(self, n: int, y: Tensor | None) -> Tensor:
        return super().biases(n, y) + getattr(self, "offset", torch.zeros(self.spec.dims))


class UncheckedInput(ToyFVBN):
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return self.head.log_prob(self.logits(x, y).double(), self._pixels(x)).sum(1)


# ----------------------------------------------------------- broken on purpose: phases and training


class ForgottenParameter(ToyFVBN):
    def phases(self) -> Sequence[Phase]:
        return [Phase("loss", [self.weight], self.training_loss)]


class SharedParameter(ToyGAN):
    def phases(self) -> Sequence[Phase]:
        disc, gen = super().phases()
        return [disc, Phase("gen", [*gen.params, *disc.params], self.gen_loss)]


class UnreachedParameter(ToyFVBN):
    def __init__(self, spec: Any, *, conditional: bool = False) -> None:
        super().__init__(spec, conditional=conditional)
        self.unused = nn.Parameter(torch.zeros(3))


class WrongSign(ToyFVBN):
    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        return Step(-super().training_loss(x, y, rng=rng, progress=progress).loss)


class LossPerImage(ToyFVBN):
    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        return Step(-self.log_likelihood(x, y, rng=rng))


# -------------------------------------------------------- broken on purpose: cache and capabilities


class LateCache(ToyFVBN):
    """Forgets the first pixel."""

    def step(self, x: Tensor, i: int, cache: Tensor) -> tuple[Tensor, Tensor]:
        return super().step(x, i, cache) if i != 1 else (cache[:, i, None], cache)


class LooksAhead(ToyFVBN):
    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().logits(x, y) + 0.01 * x.flatten(1)[:, -1, None, None]


class DecodesGlobally(ToyVAE):
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().decode(z, y, rng=Generator().manual_seed(int(torch.randint(99, ()))))


class EncodesAnotherShape(ToyVAE):
    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().encode(x, y, rng=rng)[:, :1]


class DiagnosesByChance(ToyVAE):
    def diagnostics(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> dict[str, float]:
        return {"active_units": float(torch.rand(()))}


class DiagnosesNothing(ToyVAE):
    def diagnostics(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> dict[str, float]:
        return {"active_units": float("nan")}


class StopsEarly(ToyRBM):
    def frames(
        self, n: int, y: Tensor | None = None, *, rng: Generator, burn_in: int = 20
    ) -> Iterator[Tensor]:
        yield from super().frames(n, y, rng=rng, burn_in=burn_in)

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        *_, last = super().frames(n, y, rng=rng, burn_in=200)
        return last


class RedrawsTheKnown(ToyFVBN):
    def complete(
        self, x: Tensor, mask: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> Tensor:
        return self.sample(len(x), y, rng=rng)


class PastesOverASample(ToyFVBN):
    """Keeps the known part, but draws the rest as if nothing were known."""

    def complete(
        self, x: Tensor, mask: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> Tensor:
        return torch.where(mask, x, self.sample(len(x), y, rng=rng))


BROKEN: list[tuple[type[GenerativeModel], bool, Callable[[GenerativeModel], None], str]] = [
    (LeakyMask, False, contract.check_mass, "sum to"),
    (UnnormalisedByAThousandth, False, contract.check_mass, "sum to 1.001"),
    (ScoreInFloat32, False, contract.check_mass, "must be torch.float64"),
    (Thresholded, False, contract.check_samples, "do not follow"),
    (Sharpened, False, contract.check_samples, "do not follow"),
    (SampleOfOneLabel, True, contract.check_samples, "do not follow .* label"),
    (LabelsIgnored, True, contract.check_labels_matter, "the same distribution"),
    (SampledFromANarrowPrior, False, contract.check_samples, "do not follow"),
    (ReconstructionAsScore, False, contract.check_mass, "sum to"),
    (HalfTheKL, False, contract.check_mass, "sum to 0.8"),
    (LooserWithDraws, False, contract.check_more_draws_tighten, "below that of 1"),
    (PriorForgotten, False, contract.check_mass, "sum to"),
    (MissingCodes, False, contract.check_samples, "do not follow"),
    (WrongLogZ, False, contract.check_mass, "sum to 1.2"),
    (ShortChain, False, contract.check_samples, "do not follow"),
    (GlobalNoise, False, contract.check_seeded, "global generator"),
    (FixedSeed, False, contract.check_depends_on_rng, "does not depend on rng"),
    (Reseeds, False, contract.check_seeded, "global generator"),
    (CacheOnTheModule, False, contract.check_no_hidden_state, "new attributes"),
    (WritesIntoLabels, True, contract.check_no_hidden_state, "overwrote an argument"),
    (BatchMean, False, contract.check_batch_mates, "batch mates"),
    (DecodesGlobally, False, contract.check_latent, "the same rng gave other bits"),
    (EncodesAnotherShape, False, contract.check_encoder, "other shapes"),
    (DiagnosesByChance, False, contract.check_diagnosed, "then"),
    (DiagnosesNothing, False, contract.check_diagnosed, "finite|then"),
    (StopsEarly, False, contract.check_traceable, "not the sample"),
    (RedrawsTheKnown, False, contract.check_inpaintable, "changes what is known"),
    (PastesOverASample, False, contract.check_inpaintable, r"do not follow P\(rest"),
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
        (ForgottenParameter, r"in no phase: \['bias'\]"),
        (SharedParameter, "two phases"),
        (UnreachedParameter, r"no gradient reaches \['unused'\]"),
        (LossPerImage, "one finite number"),
    ],
)
def test_broken_phases_fail(cls: type[GenerativeModel], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        contract.check_phases(contract.start(next(contract.cases("toy", cls)).build()))


def test_a_loss_of_the_wrong_sign_fails() -> None:
    case = _case(WrongSign, False)
    with pytest.raises(AssertionError, match="before training"):
        contract.check_training_improves_score(case, _trained(WrongSign, False))


def test_state_outside_the_checkpoint_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "model_class", lambda name: ForgetsOnSaving)
    with pytest.raises(AssertionError, match="differ after loading"):
        contract.check_checkpoint(
            _case(ForgetsOnSaving, False),
            _trained(ForgetsOnSaving, False),
            tmp_path / "weights.safetensors",
        )


def test_unchecked_input_fails() -> None:
    with pytest.raises(AssertionError, match=r"accepts a wrong|must begin with"):
        contract.check_bad_input(_case(UncheckedInput, False), _trained(UncheckedInput, False))


@pytest.mark.parametrize("cls", [LateCache, LeakyMask, LooksAhead])
def test_broken_caches_and_masks_fail(cls: type[ToyFVBN]) -> None:
    model = contract.start(_case(cls, False).build()).eval().double()
    assert isinstance(model, ToyFVBN) and model.likelihood is Likelihood.EXACT
    x = contract.every_image(model.spec)
    with pytest.raises(AssertionError, match="differs from the full pass"):
        contract.check_cached(model, x, None, tolerance=1e-10)
    if cls is not LateCache:
        with pytest.raises(AssertionError, match="drawn before"):
            contract.check_causality(model, x, None, positions=list(range(9)), tolerance=1e-11)
