"""The contract's own rules: what a DataSpec refuses, the checks at the public edge, defaults of a
model, capabilities by isinstance.
"""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from genbench.base import (
    Conditioning,
    DataSpec,
    Encoder,
    GenerativeModel,
    Inpaintable,
    Latent,
    Likelihood,
    Step,
    Traceable,
)
from tests.toys import ToyFVBN, ToyGAN, ToyRBM, ToyVAE, ToyVQ

SPEC = DataSpec(2, 3, 4, 5)


class Plain(GenerativeModel):
    """Nothing but what is required."""

    likelihood = Likelihood.NONE
    family = "toy"
    tiny_specs = ()

    def __init__(self, spec: DataSpec = SPEC) -> None:
        super().__init__(spec)
        self.weight = torch.nn.Parameter(torch.zeros(3))

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        return Step(self.weight.sum())

    def sample(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        rng: Generator,
        steps: int = 10,
        sharp: bool = False,
    ) -> Tensor:
        return torch.zeros(n, 1, 2, 3, dtype=torch.uint8)


class Labelled(Plain):
    conditioning = Conditioning.REQUIRED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3, 2), "height and width .* got 0 and 3"),
        ((3, 3, 1), r"levels must be 2\.\.256, got 1"),
        ((3, 3, 257), r"levels must be 2\.\.256, got 257"),
        ((3, 3, 2, -1), r"classes must be 0 \(no labels\) or more, got -1"),
    ],
)
def test_spec_refuses(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSpec(*arguments)


def test_unit_maps_levels_to_the_unit_interval() -> None:
    assert SPEC.unit(torch.tensor([0, 1, 2, 3], dtype=torch.uint8)).tolist() == pytest.approx(
        [0, 1 / 3, 2 / 3, 1]
    )
    assert DataSpec(1, 1, 256).unit(torch.tensor([255], dtype=torch.uint8)).dtype == torch.float32
    assert SPEC.dims == 6


def test_images_are_checked() -> None:
    model, good = Plain(), torch.full((2, 1, 2, 3), 3, dtype=torch.uint8)
    model.check_images(good)
    model.check_images(good[:0])
    for bad, message in (
        (
            good.float(),
            r"x: dtype must be torch.uint8 \(integer levels 0\.\.3\), got torch.float32",
        ),
        (good[:, 0], r"x: shape must be \(B, 1, 2, 3\), got \(2, 2, 3\)"),
        (good.transpose(2, 3), r"x: shape must be \(B, 1, 2, 3\), got \(2, 1, 3, 2\)"),
        (good + 1, r"x: levels must be 0\.\.3, got 4"),
    ):
        with pytest.raises(ValueError, match=message):
            model.check_images(bad)


def test_labels_are_checked() -> None:
    model, good = Labelled(), torch.tensor([0, 4])
    model.check_labels(2, good)
    for bad, message in (
        (None, r"y: this Labelled is conditional and needs int64 labels of shape \(2,\), got None"),
        (good.int(), "y: dtype must be torch.int64, got torch.int32"),
        (good[:1], r"y: shape must be \(2,\), got \(1,\)"),
        (good + 1, r"y: labels must be 0\.\.4, got 1\.\.5"),
        (good - 1, r"y: labels must be 0\.\.4, got -1\.\.3"),
    ):
        with pytest.raises(ValueError, match=message):
            model.check_labels(2, bad)
    Plain().check_labels(2, None)
    with pytest.raises(ValueError, match="y: this Plain is unconditional and takes no labels"):
        Plain().check_labels(2, good)


def test_counts_are_checked() -> None:
    Plain().check_count(1)
    with pytest.raises(ValueError, match="n: must be at least 1, got 0"):
        Plain().check_count(0)


def test_conditioning_is_checked_in_the_constructor() -> None:
    assert ToyFVBN(DataSpec(2, 2, 2, 3), conditional=True).conditional
    assert not ToyFVBN(DataSpec(2, 2, 2, 3)).conditional
    assert Labelled().conditional
    with pytest.raises(ValueError, match="conditional: the data set has no labels"):
        ToyFVBN(DataSpec(2, 2, 2), conditional=True)
    with pytest.raises(ValueError, match="conditional: Plain takes no labels"):
        GenerativeModel.__init__(Plain.__new__(Plain), SPEC, conditional=True)


def test_defaults_are_one_phase_and_no_likelihood() -> None:
    model = Plain()
    (phase,) = model.phases()
    assert (
        phase.name == "loss"
        and phase.params == [model.weight]
        and phase.span == (0.0, 1.0)
        and phase.repeats == 1
    )
    assert model.prepare_likelihood(rng=Generator()) == {}
    with pytest.raises(NotImplementedError, match=r"Plain has no likelihood: .* 'none'"):
        model.log_likelihood(torch.zeros(1, 1, 2, 3, dtype=torch.uint8), rng=Generator())
    assert model.device == torch.device("cpu")


def test_a_sampler_with_other_options_is_not_the_scored_one() -> None:
    assert Plain().describe_sampler() == ("ancestral", True)
    assert Plain().describe_sampler(steps=10, sharp=False) == ("ancestral", True)
    assert Plain().describe_sampler(steps=5, sharp=True) == (
        "ancestral (sharp=True, steps=5)",
        False,
    )


@pytest.mark.parametrize(
    ("model", "capabilities"),
    [
        (Plain(), set()),
        (ToyFVBN(DataSpec(2, 2, 2)), {Traceable, Inpaintable}),
        (ToyVAE(DataSpec(2, 2, 2)), {Latent, Encoder}),
        (ToyVQ(DataSpec(2, 2, 2)), {Latent}),
        (ToyRBM(DataSpec(2, 2, 2)), {Traceable}),
        (ToyGAN(DataSpec(2, 2, 2, 2)), {Latent}),
    ],
    ids=lambda v: type(v).__name__,
)
def test_capabilities_are_found_by_isinstance(
    model: GenerativeModel, capabilities: set[type]
) -> None:
    assert {
        c for c in (Latent, Encoder, Traceable, Inpaintable) if isinstance(model, c)
    } == capabilities
