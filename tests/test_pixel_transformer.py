"""The transformer against torch's own layer, shared against repeated keys, and sizes that do not
fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from genbench.base import DataSpec
from genbench.models.pixel_transformer import PixelTransformer
from genbench.nn import attention
from genbench.nn.transformer import Transformer, TransformerCache


def transformer(*, multi_query: bool, **options: Any) -> Transformer:
    torch.manual_seed(0)
    return Transformer(12, layers=2, heads=3, multi_query=multi_query, **options).double()


@pytest.mark.parametrize(
    ("name", "activation"),
    [("gelu", nn.functional.gelu), ("relu_squared", lambda h: h.clamp_min(0) ** 2)],
)
def test_it_is_torchs_encoder_layer_under_a_causal_mask(
    name: str, activation: Callable[[Tensor], Tensor]
) -> None:
    model = transformer(multi_query=False, activation=name)
    h = torch.randn(2, 7, 12, dtype=torch.float64)
    expected = h
    mask = nn.Transformer.generate_square_subsequent_mask(7).double()
    for block in model.all_blocks():
        layer = nn.TransformerEncoderLayer(
            12, 3, 48, 0.0, activation, norm_first=True, batch_first=True
        ).double()
        with torch.no_grad():
            attention = layer.self_attn
            cast("nn.Parameter", attention.in_proj_weight).copy_(block.project.weight)
            cast("nn.Parameter", attention.in_proj_bias).zero_()
        attention.out_proj.load_state_dict(block.merge.state_dict())
        layer.linear1, layer.linear2, layer.norm1, layer.norm2 = (
            block.up,
            block.down,
            block.norm_attend,
            block.norm_forward,
        )
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


@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("multi_query", [True, False])
def test_one_token_at_a_time_is_the_whole_sequence(multi_query: bool, qk_norm: bool) -> None:
    model = transformer(multi_query=multi_query, qk_norm=qk_norm)
    h = torch.randn(2, 7, 12, dtype=torch.float64)
    cache = TransformerCache(model, 2, 7)
    steps = torch.stack([cache.step(h[:, i], i) for i in range(7)], 1)
    torch.testing.assert_close(steps, model(h), rtol=1e-12, atol=1e-12)


def test_normalised_queries_and_keys_are_those_of_unit_mean_square() -> None:
    model = transformer(multi_query=True, qk_norm=True)
    block = model.all_blocks()[0]
    with torch.no_grad():
        cast("nn.Parameter", block.norm_query.weight).normal_()
    h = 5 * torch.randn(2, 7, 12, dtype=torch.float64)
    raw = block.project(block.norm_attend(h))
    q = raw[..., :12].unflatten(-1, (3, 4))
    k = raw[..., 12:16]
    found_q, found_k, found_v = block.split(h)
    # to the epsilon that keeps a vector of zeros finite
    expected = q / q.square().mean(-1, keepdim=True).sqrt() * block.norm_query.weight
    torch.testing.assert_close(found_q, expected, rtol=1e-5, atol=1e-5)
    expected = k / k.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(found_k[..., 0, :], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(found_v[..., 0, :], raw[..., 16:])


def test_a_label_map_adds_a_vector_to_each_step() -> None:
    torch.manual_seed(0)
    spec = DataSpec(3, 4, 2, 3)
    model = PixelTransformer(spec, width=8, layers=1, conditional=True, label_maps=True).double()
    maps = torch.randn(3, 12, 8, dtype=torch.float64)
    x, y = torch.randint(0, 2, (2, 1, 3, 4), dtype=torch.uint8), torch.tensor([2, 0])
    before = model.sequence(x, y)
    with torch.no_grad():
        assert model.sequence.label_maps is not None
        model.sequence.label_maps.table.weight.copy_(maps.flatten(1))
    torch.testing.assert_close(model.sequence(x, y), before + maps[y])
    whole, cache = model.logits(x, y), model.init_cache(2, y)
    for i in range(spec.dims):
        out, cache = model.step(x, i, cache)
        torch.testing.assert_close(out, whole[:, i])


def test_options_that_are_not_known() -> None:
    with pytest.raises(ValueError, match=r"^activation: unknown 'relu'; did you mean"):
        PixelTransformer(DataSpec(4, 4, 2), activation="relu")
    with pytest.raises(ValueError, match=r"^label_maps: only with conditional: true"):
        PixelTransformer(DataSpec(4, 4, 2), label_maps=True)


def test_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"^heads: must divide width = 10, got 3"):
        PixelTransformer(DataSpec(4, 4, 2), width=10, heads=3)
    with pytest.raises(ValueError, match=r"^layers: must be at least 1, got 0"):
        PixelTransformer(DataSpec(4, 4, 2), layers=0)


@pytest.mark.processor
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_attention_in_blocks_is_the_librarys(
    key_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_ROWS", 5)
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(2, heads, 13, 3, dtype=torch.float64, requires_grad=True)
        for heads in (4, key_heads, key_heads)
    )
    groups = 4 // key_heads
    expected = nn.functional.scaled_dot_product_attention(
        q, k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1), is_causal=True
    )
    torch.testing.assert_close(attention._Blocks.apply(q, k, v), expected)
    assert torch.autograd.gradcheck(attention._Blocks.apply, (q, k, v))


@pytest.mark.processor
@pytest.mark.parametrize(("sharpness", "tolerance"), [(1, 0.01), (8, 0.04)])
def test_attention_in_bfloat16_is_exact_to_its_precision(
    sharpness: float, tolerance: float
) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, 300, 16) for heads in (4, 1, 1))
    q = q * sharpness
    slope = torch.randn(2, 4, 300, 16)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        inputs = [x.detach().to(dtype).requires_grad_() for x in (q, k, v)]
        out = attention.causal_attention(*inputs)
        out.backward(slope.to(dtype))
        results.append([out, *(x.grad for x in inputs)])
    for exact, rounded in zip(*results, strict=True):
        assert exact is not None and rounded is not None
        assert (rounded.float() - exact).norm() < tolerance * exact.norm()


def test_large_draws_are_made_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = PixelTransformer(DataSpec(3, 3, 2), width=8, layers=1, heads=2).eval()
    sizes: list[int] = []
    init_cache = model.init_cache
    monkeypatch.setattr(model, "images_at_once", lambda: 3)
    monkeypatch.setattr(model, "init_cache", lambda n, y=None: sizes.append(n) or init_cache(n, y))
    x = model.sample(7, rng=torch.Generator().manual_seed(0))
    known = torch.tensor([[True] * 3, [True] * 3, [False] * 3])
    done = model.complete(x, known, rng=torch.Generator().manual_seed(1))
    assert sizes == [3, 3, 1] * 2
    assert torch.equal(done[:, :, :2], x[:, :, :2])
    with pytest.raises(ValueError, match="n: at most 3 images can be drawn at once, got 4"):
        next(model.frames(4, rng=torch.Generator()))


def test_the_memory_of_keys_and_values_bounds_the_block() -> None:
    large = PixelTransformer(DataSpec(28, 28, 2), width=256, layers=4, heads=8, multi_query=False)
    # 2 GiB over 4 blocks, keys and values, 256 numbers of 4 bytes for each of 784 pixels.
    assert large.images_at_once() == 334
    assert PixelTransformer(DataSpec(28, 28, 2), width=64, layers=2).images_at_once() == 500
