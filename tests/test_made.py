"""MADE: its masks by their formulas, and what several of them are: one at a time in training, the
mean of their conditionals in scoring.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from genbench.base import DataSpec
from genbench.models.made import MADE
from tests.contract import every_image, rng

SPEC, GREY = DataSpec(3, 3, 2), DataSpec(2, 2, 4)


def build(spec: DataSpec = SPEC, **options: object) -> MADE:
    torch.manual_seed(0)
    model = MADE(spec, **{"hidden": [20, 12], "masks": 4} | options).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p))
    return model


def degrees(model: MADE, mask: int) -> list[np.ndarray]:
    return [
        model.get_buffer(f"degrees_{layer}")[mask].numpy() for layer in range(len(model.layers))
    ]


def masks_by_formula(model: MADE, mask: int) -> list[np.ndarray]:
    """M_1[k, d] = [m_1(k) > d], M_l[k, j] = [m_l(k) >= m_{l-1}(j)], M_out[i, k] = [i >= m_L(k)],
    the last for each parameter of a pixel.
    """
    m, dims = degrees(model, mask), model.spec.dims
    pixels = np.arange(dims).repeat(model.head.channels)
    return [
        m[0][:, None] > np.arange(dims),
        *(high[:, None] >= low for low, high in itertools.pairwise(m)),
        pixels[:, None] >= m[-1],
    ]


@torch.no_grad()
def conditionals(model: MADE, x: Tensor, mask: int) -> np.ndarray:
    """P of each level of each pixel (B, D, levels) through one mask, float64, layer by layer."""
    h = x.flatten(1).double().numpy() / (model.spec.levels - 1)
    layers = [*model.layers, model.out]
    for number, (layer, seen) in enumerate(zip(layers, masks_by_formula(model, mask), strict=True)):
        h = h @ (layer.weight.double().numpy() * seen).T + layer.bias.double().numpy()
        h = h if number == len(layers) - 1 else np.maximum(h, 0)
    logits = h.reshape(len(x), model.spec.dims, -1)
    if model.head.channels == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], -1)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def log_p(p: np.ndarray, x: Tensor) -> np.ndarray:
    """Sum over pixels of the log of p (B, D, levels) at the image's levels."""
    return np.log(np.take_along_axis(p, x.flatten(1).long().numpy()[..., None], -1)).sum((1, 2))


CASES = [(SPEC, {"masks": 4}), (SPEC, {"masks": 1}), (GREY, {"masks": 3, "head": "categorical"})]


@pytest.mark.parametrize(("spec", "options"), CASES)
def test_masks_are_the_formulas_of_their_degrees(
    spec: DataSpec, options: dict[str, object]
) -> None:
    model = build(spec, **options)
    for mask in range(model.masks):
        for layer, expected in zip(
            [*model.layers, model.out], masks_by_formula(model, mask), strict=True
        ):
            assert len(layer.masks) == model.masks
            assert np.array_equal(layer.masks[mask].numpy(), expected)


def test_each_mask_deals_the_same_even_degrees_otherwise() -> None:
    model = build(masks=6)
    for layer, size in enumerate((20, 12)):
        dealt = [tuple(degrees(model, mask)[layer]) for mask in range(6)]
        assert len(set(dealt)) == 6
        counts = np.bincount(dealt[0], minlength=9)[1:]  # degrees 1..8
        assert all(np.array_equal(np.bincount(one, minlength=9)[1:], counts) for one in dealt)
        assert counts.sum() == size and counts.max() - counts.min() <= 1
    for layer in [*model.layers, model.out]:
        assert all(not torch.equal(a, b) for a, b in itertools.combinations(layer.masks, 2))


@pytest.mark.parametrize(("spec", "options"), CASES)
def test_scoring_takes_the_mean_of_the_masks_conditionals(
    spec: DataSpec, options: dict[str, object]
) -> None:
    """Pixel by pixel: not the mean of whole likelihoods, nor of logits, nor one mask's."""
    model, x = build(spec, **options), every_image(spec)[::3]
    each = np.stack([conditionals(model, x, mask) for mask in range(model.masks)])
    expected = log_p(each.mean(0), x)
    found = model.log_likelihood(x, rng=rng()).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    if model.masks > 1:
        wholes = np.stack([log_p(p, x) for p in each])
        assert min(np.abs(wholes - expected).max(1)) > 0.1
        assert np.abs(np.logaddexp.reduce(wholes) - np.log(model.masks) - expected).max() > 0.1
    whole = every_image(spec)
    assert np.exp(
        log_p(np.mean([conditionals(model, whole, mask) for mask in range(model.masks)], 0), whole)
    ).sum() == pytest.approx(1)


@pytest.mark.parametrize(("spec", "options"), CASES)
def test_a_training_step_takes_one_mask_of_all_at_random(
    spec: DataSpec, options: dict[str, object]
) -> None:
    model, x = build(spec, **options), every_image(spec)[::5]
    losses = np.array(
        [-log_p(conditionals(model, x, mask), x).mean() for mask in range(model.masks)]
    )
    found = np.array(
        [
            model.training_loss(x, None, rng=rng(seed), progress=0.5).loss.item()
            for seed in range(240)
        ]
    )
    taken = np.abs(found[:, None] - losses).argmin(1)
    np.testing.assert_allclose(found, losses[taken], rtol=1e-4)
    counts = np.bincount(taken, minlength=model.masks)
    expected = 240 / model.masks
    assert np.abs(counts - expected).max() <= 4.5 * np.sqrt(expected)
