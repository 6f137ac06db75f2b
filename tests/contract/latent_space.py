"""Latents, encoders, and diagnostics of what a model has learned."""

from __future__ import annotations

import math

import pytest
import torch

from genbench.base import Diagnosed, Encoder, GenerativeModel, Latent
from tests.contract.images import data_for, labels_of, rng, toy_data
from tests.contract.sampling import assert_images

__all__ = ["check_diagnosed", "check_encoder", "check_latent"]


@torch.no_grad()
def check_latent(model: GenerativeModel) -> None:
    """prior gives seeded latents (n, ...), decode turns them into images by rng alone."""
    if not isinstance(model, Latent):
        pytest.skip("it has no latent space")
    y = labels_of(model, 6)
    z, again, other = (model.prior(6, y, rng=rng(seed)) for seed in (1, 1, 2))
    assert len(z) == 6 and torch.equal(z, again) and not torch.equal(z, other), (
        "prior must give (n, ...) latents that depend on rng alone"
    )
    x = model.decode(z, y, rng=rng(3))
    assert_images(model, x, 6, "decoded latents")
    assert torch.equal(x, model.decode(z.clone(), y, rng=rng(3))), (
        "decode: the same rng gave other bits"
    )


@torch.no_grad()
def check_encoder(model: GenerativeModel) -> None:
    """encode gives latents of the form of prior's, by rng alone, each from its own image."""
    if not isinstance(model, Encoder):
        pytest.skip("it has no encoder")
    x, y = toy_data(model.spec)[0][:6], labels_of(model, 6)
    z = model.encode(x, y, rng=rng(1))
    assert torch.equal(z, model.encode(x, y, rng=rng(1))), "encode: the same rng gave other bits"
    company = model.encode(torch.cat([x[:3], toy_data(model.spec)[0][6:9]]), y, rng=rng(1))
    torch.testing.assert_close(
        z[:3], company[:3], atol=1e-5, rtol=1e-5, msg=lambda m: f"encode: batch mates matter: {m}"
    )
    if isinstance(model, Latent):
        assert z.shape == model.prior(6, y, rng=rng(1)).shape, (
            "encode and prior give latents of other shapes"
        )
        assert_images(model, model.decode(z, y, rng=rng(2)), 6, "reconstructions")


def check_diagnosed(model: GenerativeModel) -> None:
    """diagnostics gives finite numbers by rng alone, of any number of images."""
    if not isinstance(model, Diagnosed):
        pytest.skip("it gives no diagnostics")
    x, y = data_for(model)
    found, again = (model.diagnostics(x, y, rng=rng(1)) for _ in range(2))
    assert found and found == again, f"diagnostics: {found}, then {again}"
    assert all(math.isfinite(value) for value in found.values()), (
        f"diagnostics must be finite, got {found}"
    )
    assert set(model.diagnostics(x[:1], None if y is None else y[:1], rng=rng(1))) == set(found)
