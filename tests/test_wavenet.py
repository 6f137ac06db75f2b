"""WaveNet: its layers as dilated convolutions, and its receptive field."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from genbench import weights
from genbench.base import DataSpec
from genbench.config.params import Entry
from genbench.errors import UserError
from genbench.models.wavenet import WaveNet

SPEC = DataSpec(5, 6, 2)


def model_of(**options: object) -> WaveNet:
    torch.manual_seed(0)
    return WaveNet(SPEC, **{"channels": 6, "skip": 8} | options).double()  # type: ignore[arg-type]


def test_a_layer_is_a_dilated_convolution_with_a_gate() -> None:
    for layer in model_of()._layers():
        h = torch.randn(2, SPEC.dims, 6, dtype=torch.float64)
        weight = torch.stack(
            layer.inner.weight.chunk(2, 1), 2
        )  # (2C, C, 2): the tap a dilation before, then the own one
        inner = F.conv1d(
            F.pad(h.mT, (layer.dilation, 0)), weight, layer.inner.bias, dilation=layer.dilation
        ).mT
        a, b = inner.chunk(2, -1)
        *residual, skip = layer.outer(a.tanh() * b.sigmoid()).split(
            [8] if layer.last else [6, 8], -1
        )
        for got, expected in zip(layer(h, None), (sum(residual, h), skip), strict=True):
            torch.testing.assert_close(got, expected)


def test_the_last_layer_alone_has_no_residual_path() -> None:
    shapes = [tuple(layer.outer.weight.shape) for layer in model_of(dilations=[1] * 29)._layers()]
    assert shapes == [(14, 6)] * 28 + [(8, 6)]


def test_weights_with_a_residual_map_in_the_last_layer_are_refused(tmp_path: Path) -> None:
    """As those are that versions before wrote."""
    arch = {"channels": 6, "skip": 8, "dilations": [1] * 29}
    model = WaveNet(SPEC, **arch)
    model._layers()[-1].outer = nn.Linear(6, 14)
    entry = Entry("wavenet", "wavenet", "mnist", 0, arch, {}, {}, {})
    weights.save(model, tmp_path / "weights.safetensors", entry=entry)
    with pytest.raises(
        UserError,
        match=r"another architecture of WaveNet .*: layers.28.outer.bias has shape \(14,\) instead "
        r"of \(8,\); layers.28.outer.weight has shape \(14, 6\) .*Train the entry again",
    ):
        weights.load(tmp_path)


@pytest.mark.parametrize("dilations", [None, [1, 1, 1, 1, 1, 1, 6, 6, 12], [1, 2, 4, 8, 14, 500]])
def test_the_receptive_field_is_what_it_says_and_covers_the_image(
    dilations: list[int] | None,
) -> None:
    model = model_of(dilations=dilations)
    assert model.receptive_field() >= SPEC.dims
    x = torch.zeros(1, 1, SPEC.height, SPEC.width, dtype=torch.uint8)
    changed = x.clone()
    changed[..., 0, 0] = 1
    moved = (model.logits(x) != model.logits(changed))[0, :, 0]
    assert moved.tolist() == [False] + [True] * (SPEC.dims - 1)


@pytest.mark.parametrize(
    ("dilations", "missed"), [([1, 2, 4, 8, 12], 28), ([29], 1), ([1, 6, 12, 12], 2)]
)
def test_a_receptive_field_that_does_not_cover_the_image(dilations: list[int], missed: int) -> None:
    with pytest.raises(
        ValueError,
        match=(
            rf"dilations: .* do not cover the 30 pixels of the image: no layers add up to "
            rf"{missed}, "
        ),
    ):
        model_of(dilations=dilations)


@pytest.mark.parametrize("dilations", [[0, 40], []])
def test_dilations_that_make_no_sense(dilations: list[int]) -> None:
    with pytest.raises(ValueError, match="dilations: must be one or more positive numbers"):
        model_of(dilations=dilations)


def test_an_image_of_one_pixel() -> None:
    assert WaveNet(DataSpec(1, 1, 2)).logits(torch.zeros(2, 1, 1, 1, dtype=torch.uint8)).shape == (
        2,
        1,
        1,
    )
