"""WaveNet: its layers as dilated convolutions, and its receptive field."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from genbench.base import DataSpec
from genbench.models.wavenet import WaveNet

SPEC = DataSpec(5, 6, 2)


def model_of(**options: object) -> WaveNet:
    torch.manual_seed(0)
    return WaveNet(SPEC, **{"channels": 6, "skip": 8} | options).double()  # type: ignore[arg-type]


def test_a_layer_is_a_dilated_convolution_with_a_gate() -> None:
    for layer in model_of()._layers():
        h = torch.randn(2, SPEC.dims, 6, dtype=torch.float64)
        weight = torch.stack(layer.inner.weight.chunk(2, 1), 2)  # (2C, C, 2): the tap a dilation before, then the own one
        inner = F.conv1d(F.pad(h.mT, (layer.dilation, 0)), weight, layer.inner.bias, dilation=layer.dilation).mT
        a, b = inner.chunk(2, -1)
        residual, skip = layer.outer(a.tanh() * b.sigmoid()).split([6, 8], -1)
        for got, expected in zip(layer(h, None), (h + residual, skip), strict=True):
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("dilations", [None, [1, 6, 12, 12], [29]])
def test_the_receptive_field_is_what_it_says_and_covers_the_image(dilations: list[int] | None) -> None:
    model = model_of(dilations=dilations)
    assert model.receptive_field() >= SPEC.dims
    x = torch.zeros(1, 1, SPEC.height, SPEC.width, dtype=torch.uint8)
    changed = x.clone()
    changed[..., 0, 0] = 1
    moved = (model.logits(x) != model.logits(changed))[0, :, 0]
    assert not moved[0] and moved[1]
    sums = {0}
    for dilation in [layer.dilation for layer in model._layers()]:
        sums |= {total + dilation for total in sums}
    assert moved.nonzero()[:, 0].tolist() == sorted(total + 1 for total in sums if total + 1 < SPEC.dims)


@pytest.mark.parametrize("dilations", [[1, 2, 4, 8, 12], []])
def test_a_receptive_field_that_does_not_cover_the_image(dilations: list[int]) -> None:
    with pytest.raises(ValueError, match=rf"dilations: .* see {1 + sum(dilations)} pixels .* the image has 30"):
        model_of(dilations=dilations)


def test_a_dilation_that_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="dilations: must be positive"):
        model_of(dilations=[0, 40])
