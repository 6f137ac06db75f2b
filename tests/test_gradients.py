"""What the first steps of training reach: every parameter that can have an effect, and each label.

Small shapes of all models in double precision, the nonlinearities smooth, so that what has no
gradient has none by its place in the network, and not since a ReLU is shut; and what a norm or a
softmax takes back has one of rounding alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genbench.base import Conditioning, DataSpec, GenerativeModel
from genbench.nn.masked import MaskedConv2d, MaskedLinear
from genbench.registry import model_class
from tests import contract
from tests.contract import rng
from tests.options import SMALL

CLASSES = 5
_WITHOUT_EFFECT = {
    ("glow", "lower"): "a triangle of zeros and a diagonal of ones are no parameters of the matrix",
    ("glow", "upper"): "a triangle of zeros and a diagonal that has its own parameters",
}
"""By model and the end of a parameter's name: why some of it never gets a gradient."""
_ROUNDING = 1e-13
"""In double precision: a gradient below is none. The smallest that was seen otherwise is 1e-11."""
_START_WITHOUT_EFFECT = ("ddpm", "ddpm_vlb", "flow_matching")
"""Their last layer starts at zero, so that in the very first step nothing before it has a
gradient.
"""


def build(name: str, conditional: bool) -> tuple[GenerativeModel, Tensor, Tensor | None]:
    """A fresh model, and images with every class among them."""
    spec, arch = SMALL[name]
    cls, spec = model_class(name), replace(spec, classes=CLASSES)
    options: dict[str, Any] = dict(arch)
    if conditional and cls.conditioning is Conditioning.OPTIONAL:
        options["conditional"] = True
    if conditional and "label_dropout" in inspect.signature(cls).parameters:
        options["label_dropout"] = 0.5  # else nothing stands for a hidden label
    torch.manual_seed(0)
    model = cls(spec, **options)
    x = torch.randint(
        0, spec.levels, (250, 1, spec.height, spec.width), dtype=torch.uint8, generator=rng(2)
    )
    y = torch.arange(250) % CLASSES if model.conditional else None
    model.init_from_data(x, y, rng=rng(1))
    return model.train(), x, y


def gradients(model: GenerativeModel, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
    """For each parameter the sum of its absolute gradients over some batches of every phase."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    sums = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for seed in range(3):
        for phase in model.phases():
            model.zero_grad(set_to_none=True)
            phase.loss(x, y, rng=rng(3 + seed), progress=0.5).loss.backward()
            for parameter in phase.params:
                if parameter.grad is not None:
                    sums[names[id(parameter)]] += parameter.grad.abs()
    return sums


def effective(model: GenerativeModel, name: str, values: Tensor) -> Tensor:
    """The entries of a parameter that its mask lets through, those of a convolution summed over its
    kernel: an image may be smaller than that.
    """
    module = model.get_submodule(name.rpartition(".")[0])
    if isinstance(module, MaskedLinear) and name.endswith("weight"):
        return values[module.masks.any(0)]
    if isinstance(module, MaskedConv2d) and name.endswith("weight") and module.reach == 0:
        return values[:0]
    return values.flatten(2).sum(2) if values.ndim > 2 else values


def conditioned() -> list[tuple[str, bool]]:
    """Each model without labels and with them, as far as it takes them."""
    return [
        (name, conditional)
        for name in SMALL
        for conditional in (False, True)
        if model_class(name).conditioning
        in (
            Conditioning.OPTIONAL,
            Conditioning.REQUIRED if conditional else Conditioning.NONE,
        )
    ]


@pytest.fixture
def smooth_and_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Softplus for what has a kink, and double precision for single."""

    def smooth(x: Tensor, *args: object, **options: object) -> Tensor:
        return F.softplus(x)

    for owner in (torch, torch.Tensor, F):
        monkeypatch.setattr(owner, "relu", smooth)
    monkeypatch.setattr(F, "leaky_relu", smooth)
    for module in (nn.ReLU, nn.LeakyReLU):
        monkeypatch.setattr(module, "forward", lambda self, x: F.softplus(x))
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    single = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(single)


def without_effect(model: GenerativeModel, x: Tensor, y: Tensor | None) -> dict[str, str]:
    """How many entries of each parameter have no effect, of those where some have none."""
    shares = {}
    for name, values in gradients(model.double(), x, y).items():
        found = effective(model, name, values)
        assert found.dtype == torch.float64, name
        dead = int((found < _ROUNDING).sum())
        if dead:
            shares[name] = f"{dead} of {found.numel()}"
    return shares


@pytest.mark.usefixtures("smooth_and_double")
@pytest.mark.parametrize(("name", "conditional"), conditioned())
def test_no_parameter_is_without_effect(name: str, conditional: bool) -> None:
    model, x, y = build(name, conditional)
    contract.start(model, data=False)
    excused = tuple(end for model_, end in _WITHOUT_EFFECT if model_ == name)
    found = without_effect(model, x, y)
    assert {key: share for key, share in found.items() if not key.endswith(excused or "?")} == {}


@pytest.mark.usefixtures("smooth_and_double")
def test_a_bias_that_a_softmax_takes_back_would_be_found() -> None:
    model, x, y = build("flow_matching", False)
    attention = model.get_submodule("network.attention")
    channels = attention.qkv.in_channels  # type: ignore[union-attr]
    attention.qkv = nn.Conv2d(channels, 3 * channels, 1)  # type: ignore[arg-type, operator]
    contract.start(model, data=False)
    keys = without_effect(model, x, y)
    assert keys == {"network.attention.qkv.bias": f"{channels} of {3 * channels}"}


@pytest.mark.parametrize("name", [name for name, conditional in conditioned() if conditional])
def test_each_label_gets_a_gradient_in_the_first_step(name: str) -> None:
    """Also where the tables start at zero, and what they are added to does not."""
    model, x, y = build(name, True)
    if name in _START_WITHOUT_EFFECT:
        contract.start(model, data=False)
    found = gradients(model, x, y)
    tables = [
        f"{key}.weight"
        for key, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings in (CLASSES, CLASSES + 1)
    ]
    assert tables
    for table in tables:
        assert (found[table][:CLASSES].sum(1) > 0).all(), table


def test_a_table_that_nothing_reads_would_be_found() -> None:
    class Spare(model_class("made")):  # type: ignore[misc]
        def __init__(self, spec: DataSpec) -> None:
            super().__init__(spec, hidden=[8])
            self.spare = nn.Linear(2, 2)

        def _masked_logits(self, x: Tensor, y: Tensor | None, mask: int) -> Tensor:
            half = self.spare(torch.ones(2))[1]
            return super()._masked_logits(x, y, mask) + half

    torch.manual_seed(0)
    x = torch.randint(0, 2, (50, 1, 3, 3), dtype=torch.uint8, generator=rng(2))
    found = gradients(Spare(DataSpec(3, 3, 2)), x, None)
    assert (found["spare.bias"] == 0).tolist() == [True, False]
