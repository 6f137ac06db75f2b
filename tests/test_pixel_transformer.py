"""The transformer against torch's own layer, shared against repeated keys, and sizes that do not fit."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import nn

from genbench.base import DataSpec
from genbench.models.pixel_transformer import PixelTransformer
from genbench.nn.transformer import Transformer, TransformerCache


def transformer(*, multi_query: bool) -> Transformer:
    torch.manual_seed(0)
    return Transformer(12, layers=2, heads=3, multi_query=multi_query).double()


def test_it_is_torchs_encoder_layer_under_a_causal_mask() -> None:
    model = transformer(multi_query=False)
    h = torch.randn(2, 7, 12, dtype=torch.float64)
    expected = h
    mask = nn.Transformer.generate_square_subsequent_mask(7).double()
    for block in model.all_blocks():

        def gelu(x: torch.Tensor) -> torch.Tensor:
            return nn.functional.gelu(x, approximate="tanh")

        layer = nn.TransformerEncoderLayer(12, 3, 48, 0.0, gelu, norm_first=True, batch_first=True).double()
        with torch.no_grad():
            attention = layer.self_attn
            cast("nn.Parameter", attention.in_proj_weight).copy_(block.project.weight)
            cast("nn.Parameter", attention.in_proj_bias).zero_()
        attention.out_proj.load_state_dict(block.merge.state_dict())
        layer.linear1, layer.linear2, layer.norm1, layer.norm2 = block.up, block.down, block.norm_attend, block.norm_forward
        expected = layer(expected, src_mask=mask)
    torch.testing.assert_close(model(h), model.norm(expected))


def test_shared_keys_are_the_same_keys_for_every_head() -> None:
    shared, own = transformer(multi_query=True), transformer(multi_query=False)
    state = shared.state_dict()
    for name in [key for key in state if key.endswith("project.weight")]:
        q, k, v = state[name].split([12, 4, 4])
        state[name] = torch.cat([q, k.repeat(3, 1), v.repeat(3, 1)])
    own.load_state_dict(state)
    h = torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(shared(h), own(h))


@pytest.mark.parametrize("multi_query", [True, False])
def test_one_token_at_a_time_is_the_whole_sequence(multi_query: bool) -> None:
    model = transformer(multi_query=multi_query)
    h = torch.randn(2, 7, 12, dtype=torch.float64)
    cache = TransformerCache(model, 2, 7)
    steps = torch.stack([cache.step(h[:, i], i) for i in range(7)], 1)
    torch.testing.assert_close(steps, model(h), rtol=1e-12, atol=1e-12)


def test_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"^heads: must divide width = 10, got 3"):
        PixelTransformer(DataSpec(4, 4, 2), width=10, heads=3)
    with pytest.raises(ValueError, match=r"^layers: must be at least 1, got 0"):
        PixelTransformer(DataSpec(4, 4, 2), layers=0)
