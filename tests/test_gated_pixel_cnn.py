"""The gated PixelCNN: what each pixel sees, and the same function written with full kernels and
masks.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from genbench.base import DataSpec
from genbench.models import gated_pixel_cnn
from genbench.models.gated_pixel_cnn import GatedPixelCNN
from genbench.nn.gate import gate

SPEC = DataSpec(12, 14, 2)


def model_of(spec: DataSpec = SPEC, **options: Any) -> GatedPixelCNN:
    torch.manual_seed(0)
    arch = {"channels": 6, "layers": 2, "hidden": 8} | options
    model = GatedPixelCNN(spec, **arch).double()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.4)
    return model


def images(n: int = 2) -> Tensor:
    return torch.randint(
        0,
        2,
        (n, 1, SPEC.height, SPEC.width),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(1),
    )


@pytest.mark.parametrize(
    ("layers", "kernel", "dilations", "reach"),
    [(1, 3, [1], 4), (2, 3, [1], 5), (1, 5, [1], 5), (2, 3, [3, 4], 10), (3, 3, [2, 1], 8)],
)
def test_every_earlier_pixel_of_the_window_and_no_other_reaches_a_pixel(
    layers: int, kernel: int, dilations: list[int], reach: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wide, so that no pixel finds all ReLUs shut.
    model = model_of(layers=layers, kernel=kernel, dilations=dilations, channels=16, hidden=64)
    rows, columns = model.window()
    assert rows == columns == reach
    pixels = torch.randn(1, 1, SPEC.height, SPEC.width, dtype=torch.float64, requires_grad=True)
    monkeypatch.setattr(model, "_input", lambda x: pixels)
    out = model.logits(images(1))[0, :, 0]
    place = torch.arange(SPEC.dims)
    r, c = place // SPEC.width, place % SPEC.width
    for i in range(SPEC.dims):
        (slope,) = torch.autograd.grad(out[i], pixels, retain_graph=True)
        inside = (place < i) & (r[i] - r <= rows) & ((c - c[i]).abs() <= columns)
        assert torch.equal(slope.flatten() != 0, inside), i


def _masked(x: Tensor, weight: Tensor, rows: int, columns: int) -> Tensor:
    """A centred convolution of full size whose kernel holds ``weight`` in its upper ``rows`` and
    left ``columns``, zeros elsewhere.
    """
    reach = max(weight.shape[2], weight.shape[3])
    full = weight.new_zeros(*weight.shape[:2], 2 * reach + 1, 2 * reach + 1)
    top, left = reach + 1 - rows, reach - columns
    full[:, :, top : top + weight.shape[2], left : left + weight.shape[3]] = weight
    return F.conv2d(x, full, padding=reach)


def test_it_is_what_masks_on_full_kernels_give() -> None:
    model, x = model_of(), images()
    pixels = 2.0 * x.double() - 1
    bias = [layer.bias[:, None, None] for layer in (model.first_vertical, model.first_horizontal)]  # type: ignore[index]
    v = _masked(pixels, model.first_vertical.weight, 4, 3) + bias[0]
    h = _masked(pixels, model.first_horizontal.weight, 1, 3) + bias[1]
    for layer in model._layers():
        seen = _masked(v, layer.vertical.weight, 2, 1) + layer.vertical.bias[:, None, None]  # type: ignore[index]
        reads, left = layer.horizontal.weight[:, :12], layer.horizontal.weight[:, 12:]
        # (2C, C, 1, 2): the pixel on the left, then the own place
        taps = torch.stack(left.split(6, 1), 3)[..., 0]
        both = F.conv2d(seen, reads, layer.horizontal.bias) + _masked(h, taps, 1, 1)
        a, b = both.chunk(2, 1)
        h = h + layer.outer(a.tanh() * b.sigmoid())
        a, b = seen.chunk(2, 1)
        v = a.tanh() * b.sigmoid()
    expected = model.out(model.last(h.relu()).relu()).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.logits(x), expected, rtol=1e-12, atol=1e-12)


def test_no_gate_is_computed_that_nothing_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One per layer for the horizontal stack, and one between two layers for the vertical one."""
    calls: list[int] = []
    monkeypatch.setattr(
        gated_pixel_cnn, "gate", lambda x, dim: (calls.append(dim), gate(x, dim))[1]
    )
    for layers in (1, 3):
        calls.clear()
        model_of(layers=layers).logits(images())
        assert len(calls) == 2 * layers - 1


def test_a_kernel_wider_than_the_image() -> None:
    model = GatedPixelCNN(DataSpec(2, 2, 2), channels=4, layers=1, kernel=7)
    assert model.logits(torch.zeros(1, 1, 2, 2, dtype=torch.uint8)).shape == (1, 4, 1)


def test_taps_that_would_skip_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^dilations: 8 in layer 1 .* see 4 to the left"):
        model_of(layers=2, dilations=[1, 8])
    assert model_of(layers=2, dilations=[3, 6]).window() == (12, 12)


def test_label_maps_have_a_value_of_their_own_at_each_place() -> None:
    spec = DataSpec(5, 4, 2, 3)
    plain = model_of(spec, conditional=True, positions=True)
    mapped = model_of(spec, conditional=True, positions=True, label_maps=True)
    maps = mapped.state_dict()["label_maps.table.weight"].view(3, 2, 6, 5, 4)
    x, y = images(2)[:, :, :5, :4], torch.tensor([2, 0])
    for row, label in enumerate(y):
        both = {k: v for k, v in mapped.state_dict().items() if not k.startswith("label_maps")}
        both["positions"] = both["positions"] + maps[label]
        plain.load_state_dict(both)
        one = slice(row, row + 1)
        torch.testing.assert_close(mapped.logits(x[one], y[one]), plain.logits(x[one], y[one]))
        torch.testing.assert_close(mapped.logits(x, y)[one], plain.logits(x[one], y[one]))


@pytest.mark.parametrize("options", [{"label_maps": True}, {"dilations": [2, 3], "layers": 3}])
def test_options_reach_the_cached_steps(options: dict[str, Any]) -> None:
    spec = DataSpec(12, 9, 2, 3)
    model = model_of(spec, conditional=True, **options)
    x, y = images(2)[..., :9], torch.tensor([2, 0])
    whole, cache = model.logits(x, y), model.init_cache(2, y)
    for i in range(spec.dims):
        out, cache = model.step(x, i, cache)
        torch.testing.assert_close(out, whole[:, i])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"kernel": 4}, "kernel"),
        ({"kernel": 1}, "kernel"),
        ({"layers": 0}, "layers"),
        ({"dilations": []}, "dilations"),
        ({"dilations": [1, 0]}, r"dilations\[1\]"),
        ({"label_maps": True}, "label_maps"),
    ],
)
def test_sizes_that_make_no_sense(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        GatedPixelCNN(SPEC, **options)
