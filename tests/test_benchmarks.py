"""The plain versions of the benchmarks are the same networks, and rows of the comparison of
settings are told from each other.
"""

from __future__ import annotations

import pytest
import torch
from torch import Generator, nn

from benchmarks import autoregressive
from benchmarks.settings import alike, with_resolved_precision
from genbench.base import DataSpec
from genbench.hardware.precision import resolve
from genbench.models.gated_pixel_cnn import GatedPixelCNN
from genbench.models.pixel_transformer import PixelTransformer

SPEC = DataSpec(9, 8, 2)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoregressive, "SPEC", SPEC)


def images() -> torch.Tensor:
    return torch.randint(
        0, 2, (5, 1, 9, 8), dtype=torch.uint8, generator=Generator().manual_seed(0)
    )


@torch.no_grad()
def test_plain_transformer() -> None:
    torch.manual_seed(0)
    ours = PixelTransformer(SPEC, width=12, layers=2, heads=3).double()
    plain = autoregressive.PlainTransformer(SPEC, width=12, layers=2, heads=3).double()
    state = {name.removeprefix("transformer."): value for name, value in ours.state_dict().items()}
    plain.load_state_dict({**state, "mask": plain.mask})
    torch.testing.assert_close(plain.logits(images()), ours.logits(images()))


@torch.no_grad()
def test_plain_gated_pixel_cnn() -> None:
    torch.manual_seed(0)
    channels, layers = 6, 3
    ours = GatedPixelCNN(SPEC, channels=channels, layers=layers, hidden=10, positions=True)
    plain = autoregressive.PlainGatedPixelCNN(SPEC, channels=channels, layers=layers, hidden=10)
    nn.init.normal_(ours.positions)
    plain.positions.copy_(ours.positions)
    plain.first_vertical.weight[:, :, :3] = ours.first_vertical.weight
    plain.first_vertical.bias.copy_(ours.first_vertical.bias)
    plain.first_horizontal.weight[..., :3] = ours.first_horizontal.weight
    plain.first_horizontal.bias.copy_(ours.first_horizontal.bias)
    for i, layer in enumerate(ours.layers):
        plain.vertical[i].weight[:, :, :2] = layer.vertical.weight
        plain.vertical[i].bias.copy_(layer.vertical.bias)
        seen, left, own = layer.horizontal.weight[:, :, 0, 0].split(
            [2 * channels, channels, channels], 1
        )
        plain.across[i].weight.copy_(seen[..., None, None])
        plain.across[i].bias.copy_(layer.horizontal.bias)
        plain.horizontal[i].weight[..., 0, 0] = left
        plain.horizontal[i].weight[..., 0, 1] = own
        plain.horizontal[i].bias.zero_()
        plain.outer[i].load_state_dict(layer.outer.state_dict())
    plain.last.load_state_dict(ours.last.state_dict())
    plain.out.load_state_dict(ours.out.state_dict())
    torch.testing.assert_close(plain.logits(images()), ours.logits(images()), rtol=1e-4, atol=1e-5)


def test_rows_say_what_auto_was_and_are_like_it() -> None:
    block = {
        "train": {"arithmetic": {"cpu": {"precision": "auto", "channels_last": True}}},
        "sample": {"precision": "auto"},
        "arch": {},
    }
    rows = [{**block, "sample": {"precision": name}} for name in ("bfloat16", "float32")]
    assert all(alike(row, block) for row in rows)
    assert not alike(rows[0], rows[1])
    assert not alike({**block, "sample": {"precision": "auto", "ddim_steps": 5}}, block)
    assert not alike({**block, "arch": {"width": 1}}, block)
    kept = with_resolved_precision(block)
    assert kept["train"]["arithmetic"]["cpu"] == {
        "precision": resolve("auto", "cpu"),
        "channels_last": True,
    }
